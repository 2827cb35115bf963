"""Scenes of pictures that were asked about lately, so that the next question does not encode them again."""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field

from torch import Tensor

from fo1.pipeline import Scene
from fo1.pipeline.rows import PictureTensors, SceneTensors


@dataclass(slots=True, eq=False)
class _Picture:
    bare: Scene
    num_bytes: int
    scenes: dict[Hashable, Scene] = field(default_factory=dict)


class SceneCache:
    """The pictures that were used last, each with its scenes; one thread uses it.

    What the engine keeps of them (`pipeline.memory`) goes with them and is bounded there.

    Args:
        most_bytes: what they may take together; a picture that takes more alone is not kept.
    """

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.num_bytes = 0
        self._pictures: OrderedDict[str, _Picture] = OrderedDict()

    def __len__(self) -> int:
        return len(self._pictures)

    def picture(self, digest: str) -> Scene | None:
        """Return the scene without regions of a picture."""
        found = self._pictures.get(digest)
        if found is None:
            return None
        self._pictures.move_to_end(digest)
        return found.bare

    def scene(self, digest: str, regions: Hashable) -> Scene | None:
        """Return the scene of a picture with regions that came from there."""
        found = self._pictures.get(digest)
        return None if found is None else found.scenes.get(regions)

    def keep(self, digest: str, regions: Hashable, bare: Scene, scene: Scene) -> None:
        """Keep a scene, and its picture without regions; what was used longest ago goes."""
        found = self._pictures.get(digest)
        if found is None:
            found = self._pictures[digest] = _Picture(bare, picture_bytes(bare.tensors.picture))
            self.num_bytes += found.num_bytes
        self._pictures.move_to_end(digest)
        if regions not in found.scenes:
            found.scenes[regions] = scene
            size = region_bytes(scene.tensors)
            found.num_bytes += size
            self.num_bytes += size
        while self.num_bytes > self.most_bytes:
            _, gone = self._pictures.popitem(last=False)
            self.num_bytes -= gone.num_bytes


def picture_bytes(picture: PictureTensors) -> int:
    """Return the memory of a picture and of what the model computed of it alone."""
    width, height = picture.image.size
    host = picture.encoding.host
    deep = [one for layers in host.deep for one in layers]
    return 3 * width * height + _bytes(*host.tokens, *deep, *picture.inputs.values())


def region_bytes(scene: SceneTensors) -> int:
    """Return the memory of a scene's regions."""
    regions = scene.regions
    familiar = [] if regions.familiar is None else [regions.familiar]
    return _bytes(regions.features, regions.embeddings, *regions.evidence, *familiar)


def _bytes(*tensors: Tensor) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
