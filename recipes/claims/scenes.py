"""Scenes of the claims: things of 8 kinds, each scene in one drawing lineage, as a frozen classifier sees them.

    OUT/scenes/train-noto.pt     scenes of one part in one lineage, as the frozen classifier sees them
    OUT/rounds/noto-train.pt     what the round that holds noto out trains on: the other lineages, in fewer dimensions
    OUT/rounds/noto-test.pt      what it measures: noto alone, ...

The host sees a scene coarsely, squeezed into 224 x 224; the auxiliary features of a region come from the one of two
larger sizes that fits it. Both come from one ImageNet classifier, so a difference between them is one of resolution.

Legend: M things, R regions, P cells, C features. Boxes are xyxy in shares of the picture's sides.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.random import Generator
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from fo1.data.pictures import PicturePack
from fo1.data.scenes import Scene, SceneGenerator
from fo1.formats.beside import written_beside
from fo1.geometry import Boxes, box_iou
from fo1.models import FO1ForConditionalGeneration
from fo1.models.configuration import LightEncoderConfig
from fo1.models.light_encoder import LightEncoder
from fo1.pipeline.loading import packaged_folder
from fo1.proposals.base import rank_and_dedupe

LINEAGES = ("noto", "fluent", "fxemoji", "emojione", "twemoji")
"""Each is held out in one round; noto-v1 belongs to noto, flat and 3-D to fluent."""
PARTS = {"base": 250, "train": 300, "check": 25, "test": 80}
"""Scenes of a lineage: for the host's own training, for the arms', to choose rates on, to measure."""
KINDS = 8
SIDE = 224
"""Pixels of the picture that the host sees."""
SIDES = (320, 512)
"""Long sides at which the auxiliary encoder sees it."""
CELLS = 14
"""Cells of its map per side, 16 pixels each."""
GRID = 6
"""Cells per side of the grid whose features stand for the auxiliary map."""
JITTERS = (0.1, 0.2, 0.3)
PROPOSED = {"base": 0, "train": 24, "check": 24, "test": 300}
OTHERS = 4

CELL_WIDTH, REGION_WIDTH = 256, 1456
"""Axes that are kept of a cell of the host's map and of a region (all), largest spread of what is trained on first."""

Kind = Literal["true", "jitter", "other", "proposal", "grid"]
CODES: dict[Kind, int] = {"true": 0, "jitter": 1, "other": 4, "proposal": 5, "grid": 6}
"""Kind of a region; 1 to 3 are true boxes moved by `JITTERS`, in this order."""


@dataclass(frozen=True, eq=False)
class Seen:
    """A scene as it is kept.

    Attributes:
        cells: (P, C) half, the host's map, rows first: that of stride 16 beside that of stride 32.
        objects: (M, 4) float32 true boxes.
        names: (M) what they are.
        boxes: (R, 4) float32 regions.
        codes: (R,) of `CODES`.
        features: (R, C) half, pooled from the auxiliary maps.
    """

    cells: Tensor
    objects: Boxes
    names: tuple[str, ...]
    boxes: Boxes
    codes: np.ndarray
    features: Tensor

    def of_kind(self, kind: Kind, level: int = 0) -> np.ndarray:
        """Return the places of the regions of a kind; jitters come in levels."""
        return np.flatnonzero(self.codes == CODES[kind] + level)


class FewKinds(SceneGenerator):
    """Scenes of two or three kinds, one to three things each."""

    def _cast(self, rng: Generator) -> list[tuple[str, int | str]]:
        kinds = rng.choice(len(self._slugs), int(rng.integers(2, 4)), replace=False)
        cast: list[tuple[str, int | str]] = []
        for kind in kinds:
            slug = self._slugs[int(kind)]
            cast += [(slug, self._choose(rng, slug)) for _ in range(int(rng.integers(1, 4)))]
        return [cast[int(i)] for i in rng.permutation(len(cast))]


def kinds(pack: PicturePack) -> list[str]:
    """Return the slugs that scenes are made of: drawn in every lineage, and far apart in the list."""
    drawn: dict[str, set[str]] = {}
    for info in pack.select():
        drawn.setdefault(info.concept, set()).add(pack.lineages[info.style])
    slugs = sorted(s for s, own in drawn.items() if own >= set(LINEAGES) and s not in pack.held_out)
    return slugs[:: len(slugs) // KINDS][:KINDS]


def vocabulary() -> list[str]:
    """Return the names of the kinds."""
    pack = PicturePack.open()
    return sorted(pack.concepts[slug].name for slug in kinds(pack))


def scenes(part: str, lineage: str, folder: Path) -> list[Seen]:
    """Return the scenes of a part in one lineage; what was drawn before is read."""
    file = folder / f"{part}-{lineage}.pt"
    if not file.exists():
        _write(list(_draw(part, lineage)), file)
    return torch.load(file, weights_only=False, mmap=True)  # our own file


@dataclass(frozen=True, eq=False)
class Axes:
    """The first axes of standardised features, scaled to a mean spread of 1.

    Attributes:
        mean: (C,).
        scale: (C,).
        axes: (C, D).
    """

    mean: Tensor
    scale: Tensor
    axes: Tensor

    @classmethod
    def of(cls, features: Tensor, count: int) -> "Axes":
        """Return the axes of some features (N, C)."""
        features = features.float()
        mean, scale = features.mean(0), features.std(0) + 1e-6
        standard = (features - mean) / scale
        spreads, axes = torch.linalg.eigh(standard.T @ standard / len(standard))
        axes = axes[:, -count:].flip(1)
        return cls(mean, scale, axes / spreads[-count:].mean().sqrt())

    def __call__(self, features: Tensor) -> Tensor:
        """Return (N, D) half."""
        return ((features.float() - self.mean) / self.scale @ self.axes).half()


def of_round(part: str, held_out: str, folder: Path) -> list[Seen]:
    """Return the scenes of a part in the round that holds a lineage out: lineages take turns, tests show that one.

    Args:
        part: of `PARTS`.
        held_out: of `LINEAGES`.
        folder: of everything.
    """
    file = folder / "rounds" / f"{held_out}-{part}.pt"
    if not file.exists():
        own = [held_out] if part == "test" else [name for name in LINEAGES if name != held_out]
        each = [scenes(part, lineage, folder / "scenes") for lineage in own]
        cells, regions = _axes(held_out, folder)
        _write(
            [
                replace(scene, cells=cells(scene.cells), features=regions(scene.features))
                for turn in zip(*each, strict=True)
                for scene in turn
            ],
            file,
        )
    return torch.load(file, weights_only=False, mmap=True)  # our own file


def _axes(held_out: str, folder: Path) -> tuple[Axes, Axes]:
    """Return the axes of cells and of regions, by what is trained on in a round."""
    file = folder / "rounds" / f"{held_out}-axes.pt"
    if not file.exists():
        seen = [
            scene
            for lineage in LINEAGES
            if lineage != held_out
            for scene in scenes("train", lineage, folder / "scenes")
        ]
        cells = torch.cat([scene.cells[::7] for scene in seen])
        regions = torch.cat([scene.features[::3] for scene in seen])
        _write((Axes.of(cells, CELL_WIDTH), Axes.of(regions, REGION_WIDTH)), file)
    return torch.load(file, weights_only=False)  # our own file


def _write(value: object, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with written_beside(file) as beside:
        torch.save(value, beside)


@torch.no_grad()
def _draw(part: str, lineage: str) -> Iterator[Seen]:
    pack = PicturePack.open()
    draw = FewKinds(pack, lineages=[lineage], concepts=kinds(pack), size=(448, 640), solids=0.0)
    encoder = _encoder()
    seed = 10 * list(PARTS).index(part) + LINEAGES.index(lineage)
    for index in tqdm(range(PARTS[part]), desc=f"{part}, {lineage}"):
        yield _see(draw(seed, index), part, encoder, np.random.default_rng([seed, index]))


def _encoder() -> LightEncoder:
    """Return the packaged classifier and detector, without contrasts and without what training standardised."""
    whole = FO1ForConditionalGeneration.from_pretrained(packaged_folder(), dtype=torch.float32)
    own: LightEncoderConfig = whole.config.region_config.auxiliary_config
    encoder = LightEncoder(
        LightEncoderConfig(SIDES, own.target_side, own.imagenet_classes, own.coco_classes)
    )
    stored = whole.region_encoder.auxiliary
    encoder.classifier.load_state_dict(stored.classifier.state_dict())
    encoder.detector.load_state_dict(stored.detector.state_dict())
    return encoder.eval()


def _see(scene: Scene, part: str, encoder: LightEncoder, rng: Generator) -> Seen:
    image, size = scene.image, np.tile(scene.image.size, 2).astype(np.float32)
    _, _, fine, coarse = encoder.classifier(_pixels(image.resize((SIDE, SIDE))))
    objects = np.array([one.box for one in scene.objects], np.float32)
    boxes, codes = np.zeros((0, 4), np.float32), np.zeros(0, np.int64)
    features = torch.zeros(0, encoder.feature_width)
    if part != "base":
        maps = encoder(_pixels(image))
        boxes, codes = _regions(scene, objects, encoder.find(maps)[0], PROPOSED[part], rng)
        features = encoder.pool_raw(maps, torch.from_numpy(boxes), 7)[:, : encoder.feature_width]
    return Seen(
        cells=torch.cat([fine, F.interpolate(coarse, (CELLS, CELLS))], 1)[0].flatten(1).T.half(),
        objects=objects / size,
        names=tuple(one.name for one in scene.objects),
        boxes=boxes / size,
        codes=codes,
        features=features.half(),
    )


def _regions(
    scene: Scene,
    objects: Boxes,
    found: tuple[Tensor, Tensor],
    limit: int,
    rng: Generator,
) -> tuple[Boxes, np.ndarray]:
    """Return boxes (R, 4) in pixels and their codes."""
    width, height = scene.image.size
    sides = np.tile(objects[:, 2:] - objects[:, :2], 2)
    moved = [objects + rng.uniform(-j, j, objects.shape) * sides / 2 for j in JITTERS]
    others = [*scene.distractors, *_random_boxes(width, height, rng)]
    free = box_iou(np.float32(others), objects).max(1) < 0.2
    proposed = rank_and_dedupe(
        found[0].numpy(), found[1].numpy(), (height, width), "nanodet", limit=limit
    )
    lines = np.linspace(0, 1, GRID + 1)
    grid = [
        (lines[x] * width, lines[y] * height, lines[x + 1] * width, lines[y + 1] * height)
        for y in range(GRID)
        for x in range(GRID)
    ]
    groups: list[tuple[int, Boxes]] = [
        (CODES["true"], objects),
        *((CODES["jitter"] + level, boxes) for level, boxes in enumerate(moved)),
        (CODES["other"], np.float32(others)[free][:OTHERS]),
        (CODES["proposal"], proposed.boxes),
        (CODES["grid"], np.float32(grid)),
    ]
    boxes = np.concatenate([own for _, own in groups]).astype(np.float32)
    boxes = boxes.clip(0, np.tile(np.float32([width, height]), 2))
    return boxes, np.concatenate([np.full(len(own), code) for code, own in groups])


def _random_boxes(width: int, height: int, rng: Generator) -> list[tuple[float, ...]]:
    found = []
    for _ in range(4 * OTHERS):
        w, h = rng.uniform(0.08, 0.35, 2) * (width, height)
        x, y = rng.uniform(0, width - w), rng.uniform(0, height - h)
        found.append((x, y, x + w, y + h))
    return found


def _pixels(image: Image.Image) -> Tensor:
    """Return (1, 3, H, W) as the classifier wants it."""
    return ((torch.from_numpy(np.array(image)).float() - 127) / 128).permute(2, 0, 1)[None]
