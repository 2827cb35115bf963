"""What the model computed of pictures and their boxes, and the sequences that the language model reads about them.

Legend: N regions of one scene.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

from PIL import Image
from torch import Tensor

from fo1.layout import scene_prefix
from fo1.models.encoding import PictureEncoding, RegionEmbeddings
from fo1.models.families import HostFeatures


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class PictureTensors:
    """What the model computed of one picture.

    Attributes:
        image: the picture, RGB; its maps are made again where they were forgotten.
        encoding: what the host's vision encoder made of it, without the maps, which only boxes need.
        inputs: the host's picture inputs without the pixels, such as the size of the patch grid.
        text: what stands for the picture in a prompt.
        frame: (width, height) in pixels of the picture as the host sees it.
    """

    image: Image.Image
    encoding: PictureEncoding
    inputs: Mapping[str, Tensor]
    text: str
    frame: tuple[int, int]


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class SceneTensors:
    """What the model computed of one picture and its boxes.

    Attributes:
        picture: which other scenes may share.
        regions: N region embeddings.
    """

    picture: PictureTensors
    regions: RegionEmbeddings

    def __len__(self) -> int:
        return len(self.regions.embeddings)


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One sequence for the language model.

    Attributes:
        prompt: with one `<image>` per picture.
        pictures: in the order of the prompt.
        placed: (picture, region of it) of each region placeholder, in the order of the prompt.
        num_regions: how many regions an answer may name, counted from 0.
        labels: what an answer will probably name, in this order.
    """

    prompt: str
    pictures: tuple[SceneTensors, ...]
    placed: tuple[tuple[int, int], ...]
    num_regions: int
    labels: tuple[str, ...] = ()

    def regions_shown(self) -> tuple[int, ...] | None:
        """Return the regions of the one picture that the row is about; None if it does not open like that."""
        if len(self.pictures) != 1 or not self.prompt.startswith(scene_prefix(self.num_regions)):
            return None
        return tuple(region for _, region in self.placed[: self.num_regions])


@dataclass(frozen=True, slots=True)
class Text:
    """A written answer.

    Attributes:
        text: region markup included, without the tokens that end it.
        complete: False if it ran into the limit on its length.
        chances: with which probability each index token in it was written, in its order.
        prompt_tokens: how many were read before it.
        new_tokens: how many it took to write.
    """

    text: str
    complete: bool = True
    chances: tuple[float, ...] = ()
    prompt_tokens: int = 0
    new_tokens: int = 0


def share_passes(rows: Sequence[Row], most: int) -> list[list[int]]:
    """Return which rows are read together: those behind one prefix, and those that share none with another.

    Args:
        rows: any.
        most: rows of one pass at most.
    """
    groups: dict[Hashable, list[int]] = {}
    for place, row in enumerate(rows):
        shown = row.regions_shown()
        key = None if shown is None else (*map(id, row.pictures), shown)
        groups.setdefault(key, []).append(place)
    alone = groups.pop(None, [])
    alone += [group[0] for group in groups.values() if len(group) == 1]
    shared = [sorted(alone), *(group for group in groups.values() if len(group) > 1)]
    return [group[start : start + most] for group in shared for start in range(0, len(group), most)]


def scene_row(scene: SceneTensors, regions: tuple[int, ...]) -> Row:
    """Return the row that opens every question about some regions of a scene."""
    placed = tuple((0, region) for region in regions)
    return Row(scene_prefix(len(regions)), (scene,), placed, len(regions))


def join_encodings(parts: Sequence[PictureEncoding]) -> PictureEncoding:
    """Return one encoding of all pictures."""
    return replace(parts[0], host=HostFeatures.join([part.host for part in parts]))
