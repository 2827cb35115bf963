"""From what a caller gives, boxes, masks or points, to the regions of a scene.

Legend: N regions, P points.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from fo1.errors import InputError
from fo1.formats.masks import as_masks
from fo1.geometry import Size, as_points, box_area, check_boxes
from fo1.masks import Masks
from fo1.pipeline.request import GIVEN
from fo1.proposals.callables import as_proposals, is_supervision
from fo1.results import Proposals


def given_regions(boxes: Any, masks: Any, size: Size) -> tuple[Proposals, Masks | None]:
    """Return the regions that a caller gives, checked: their boxes with scores, and their masks if there are any.

    Args:
        boxes: (N, 4) xyxy pixels, `Proposals` or `supervision.Detections`; None for the boxes around the masks.
        masks: whatever `as_masks` takes; None where boxes count as a whole.
        size: (height, width) of the picture.

    Raises:
        BoxError: boxes are malformed or outside the picture.
        InputError: masks are malformed, or not one a box.
    """
    read = None if masks is None else as_masks(masks, size)
    if boxes is None:
        boxes = Masks((), size).boxes() if read is None else read.boxes()
    if isinstance(boxes, Proposals) or is_supervision(boxes):
        given = as_proposals(boxes, GIVEN)
        found = replace(given, boxes=check_boxes(given.boxes, size))
    else:
        checked = check_boxes(boxes, size)
        found = Proposals(checked, np.ones(len(checked), np.float32), GIVEN)
    if read is not None and len(read) != len(found):
        raise InputError(f"got {len(found)} boxes but {len(read)} masks; give one mask a box")
    found.boxes.flags.writeable = found.scores.flags.writeable = False
    return found, read


def boxes_at(points: npt.ArrayLike, proposals: Proposals, size: Size) -> Proposals:
    """Return, for each point, the smallest proposed box that holds it; of equal ones the best.

    Args:
        points: (P, 2) x and y, pixels of the picture.
        proposals: boxes to choose from.
        size: (height, width) of the picture.

    Raises:
        InputError: points are malformed or outside the picture, or no box holds one.
    """
    places = as_points(points, size)
    if not len(places):
        return Proposals.empty(proposals.source)
    boxes = proposals.boxes
    order = np.lexsort((-proposals.scores, box_area(boxes)))
    x, y = places[:, :1], places[:, 1:]
    holds = (boxes[:, 0] <= x) & (x <= boxes[:, 2]) & (boxes[:, 1] <= y) & (y <= boxes[:, 3])
    holds = holds[:, order]
    alone = np.flatnonzero(~holds.any(axis=1))
    if alone.size:
        row = int(alone[0])
        raise InputError(
            f"points row {row}: none of {len(boxes)} proposed boxes holds ({places[row, 0]:g}, {places[row, 1]:g}); "
            "give a box or a mask instead, or a higher limit"
        )
    chosen = order[holds.argmax(axis=1)]
    return proposals.select(chosen)
