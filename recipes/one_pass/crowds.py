"""Pictures with at least five things of every kind in them, and what a frozen encoder says of their regions.

Nothing here is shown to the packaged model: the drawings are those that its training draws with, the scenes are new.

Legend: N regions of a scene, C features.
"""

import io
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.random import Generator
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from fo1.data.pictures import PicturePack
from fo1.data.regions import NOBODY, draw_regions
from fo1.data.sampling import Sampling
from fo1.data.scenes import SceneGenerator
from fo1.data.schema import PictureRef, Record, TrueObject
from fo1.formats.beside import written_beside
from fo1.geometry import Boxes
from fo1.models import FO1ForConditionalGeneration, FO1Processor

CONCEPTS = 24
KINDS = 2
"""Names that are in a scene; as many that are not are asked."""
LEAST = 5
"""Things of a kind at least."""
REGIONS = Sampling(
    truth=1.0, jitter=0.1, distractors=3, proposals=False, fewer_regions=False, most_regions=64
)


class CrowdGenerator(SceneGenerator):
    """Scenes of a few kinds, each with several things, which differ in their drawing."""

    def _cast(self, rng: Generator) -> list[tuple[str, int | str]]:
        kinds = rng.choice(len(self._slugs), KINDS, replace=False)
        cast: list[tuple[str, int | str]] = []
        for kind in kinds:
            slug = self._slugs[int(kind)]
            # One or two more than needed, for some are hidden by others.
            cast += [(slug, self._choose(rng, slug)) for _ in range(int(rng.integers(6, 8)))]
        return [cast[int(i)] for i in rng.permutation(len(cast))]


@dataclass(frozen=True, eq=False)
class Crowd:
    """A scene with its regions.

    Attributes:
        encoded: the picture as JPEG.
        objects: (M, 4) float32 true boxes, xyxy pixels.
        names: (M) what they show.
        boxes: (N, 4) float32 regions, xyxy pixels.
        shows: (N,) the object that each shows, -1 for none.
        features: (N, C) of the auxiliary encoder.
    """

    encoded: bytes
    objects: Boxes
    names: tuple[str, ...]
    boxes: Boxes
    shows: np.ndarray
    features: Tensor

    @property
    def image(self) -> Image.Image:
        """The picture, RGB."""
        return Image.open(io.BytesIO(self.encoded)).convert("RGB")

    @property
    def image_size(self) -> tuple[int, int]:
        """(width, height) of the picture."""
        return Image.open(io.BytesIO(self.encoded)).size

    def members(self, name: str) -> list[int]:
        """Return the regions that show a name, rising."""
        return [r for r, thing in enumerate(self.shows) if thing >= 0 and self.names[thing] == name]

    def permuted(self, order: np.ndarray) -> "Crowd":
        """Return the same scene with some of its regions, numbered by their place in `order`."""
        return replace(
            self,
            boxes=self.boxes[order],
            shows=self.shows[order],
            features=self.features[torch.from_numpy(order)],
        )


def vocabulary() -> list[str]:
    """Return the names that scenes are made of."""
    return sorted(_generator().concepts[slug].name for slug in _generator().concepts)


def _generator() -> CrowdGenerator:
    pack = PicturePack.open()
    slugs = [slug for slug in sorted(pack.concepts) if slug not in pack.held_out]
    step = len(slugs) // CONCEPTS  # kinds far apart in the list are seldom alike
    return CrowdGenerator(pack, concepts=slugs[::step][:CONCEPTS], size=(448, 640), solids=0.0)


@torch.no_grad()
def crowds(
    count: int,
    seed: int,
    model: FO1ForConditionalGeneration,
    processor: FO1Processor,
    kept: Path,
) -> list[Crowd]:
    """Return scenes of a seed; those that were made before are read from a folder."""
    file = kept / f"crowds-{seed}-{count}.pt"
    if file.exists():
        return torch.load(file, weights_only=False)  # our own file
    draw = _generator()
    found: list[Crowd] = []
    number = 0
    with tqdm(total=count, desc=f"scenes of seed {seed}") as progress:
        while len(found) < count:
            scene = draw(seed, number)
            number += 1
            names = [one.name for one in scene.objects]
            if min(names.count(name) for name in set(names)) < LEAST or len(set(names)) < KINDS:
                continue
            found.append(_crowd(scene, [seed, number], model, processor))
            progress.update()
    kept.mkdir(parents=True, exist_ok=True)
    with written_beside(file) as part:
        torch.save(found, part)
    return found


def _crowd(
    scene, seed: list[int], model: FO1ForConditionalGeneration, processor: FO1Processor
) -> Crowd:
    size = (scene.image.height, scene.image.width)
    encoded = io.BytesIO()
    scene.image.save(encoded, "jpeg", quality=92)
    image = Image.open(encoded).convert("RGB")
    objects = tuple(TrueObject(tuple(map(float, o.box)), (o.name,)) for o in scene.objects)
    record = Record(key="crowd", pictures=(PictureRef("", size),), objects=objects)
    regions = draw_regions(record, REGIONS, np.random.default_rng(seed), [size])
    made = processor.prepare_pictures([image], [regions.boxes])
    encoder = model.region_encoder
    maps = encoder.auxiliary(made["auxiliary_pixel_values"][0][None])
    features = encoder.pool_auxiliary(maps, made["auxiliary_boxes"][0])
    shows = np.where(regions.shows == NOBODY, -1, regions.shows)
    boxes = np.array([o.box for o in objects], np.float32)
    names = tuple(o.names[0] for o in objects)
    return Crowd(encoded.getvalue(), boxes, names, regions.boxes, shows, features.half())
