"""Boxes from colour and texture alone: no weights, no classes, but many boxes.

Source: Uijlings et al., Selective Search for Object Recognition, IJCV 2013; OpenCV's version.
"""

from __future__ import annotations

from types import ModuleType

import numpy as np
from PIL import Image

from fo1.errors import MissingExtraError
from fo1.geometry import as_boxes, scale_boxes, xywh_to_xyxy
from fo1.proposals.base import DEFAULT_LIMIT, check_limit, rank_and_dedupe
from fo1.results import Proposals

LONG_SIDE = 500
"""Pixels to which the picture's long side is brought."""


class SelectiveSearchProposer:
    """Merges similar neighbouring segments and proposes the box of every merger, large ones first.

    Scores only say the rank: 1 for the first box, towards 0 for the last.

    Args:
        limit: the most boxes per picture.

    Raises:
        InputError: the limit is below 1.
        MissingExtraError: OpenCV with its contributed modules is not installed.
    """

    name = "selective-search"

    def __init__(self, limit: int = DEFAULT_LIMIT) -> None:
        self.limit = check_limit(limit)
        self._segmentation = _segmentation_module()

    def propose(self, image: Image.Image) -> Proposals:
        """Return at most `limit` boxes; the whole picture if nothing was found."""
        ratio = LONG_SIDE / max(image.size)
        width, height = (max(1, round(side * ratio)) for side in image.size)
        small = image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
        search = self._segmentation.createSelectiveSearchSegmentation()
        search.setBaseImage(np.asarray(small)[..., ::-1].copy())
        search.switchToSelectiveSearchFast()
        found = xywh_to_xyxy(as_boxes(search.process()))
        # OpenCV shuffles its ranking with a generator that cannot be seeded.
        order = np.lexsort((*found.T, -np.prod(found[:, 2:] - found[:, :2], axis=1)))
        size = (image.height, image.width)
        boxes = scale_boxes(found[order], (height, width), size)
        scores = np.linspace(1, 0, len(boxes), endpoint=False, dtype=np.float32)
        return rank_and_dedupe(boxes, scores, size, self.name, limit=self.limit)


def _segmentation_module() -> ModuleType:
    """Return OpenCV's segmentation functions."""
    try:
        from cv2.ximgproc import segmentation  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingExtraError(
            "selective search", "opencv-contrib-python-headless", "opencv"
        ) from error
    return segmentation
