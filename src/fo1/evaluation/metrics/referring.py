"""Which boxes an answer names, and how well they fit those that are meant.

Legend: M boxes that are meant, D boxes that are named.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fo1.evaluation.example import Example
from fo1.evaluation.prediction import Prediction, Said
from fo1.geometry import Boxes, box_area, box_iou
from fo1.parsing import parse_answer

Overlaps = npt.NDArray[np.floating]
"""(M, D) how much each box that is meant and each that is named are one; IoU if not said."""

HIT_IOU = 0.5
"""From this IoU a named box is the one that is meant."""


def named_regions(prediction: Prediction, number: int) -> list[int]:
    """Return the regions that an answer names, each once, in its order.

    What a model wrote is read without its labels: one expression was asked, and expressions are
    seldom repeated word by word.
    """
    said = prediction.said[number]
    if not said.written:
        return list(dict.fromkeys(said.regions.tolist()))
    answers = [parse_answer(text, len(prediction.boxes)) for text in said.written]
    groundings = [one for answer in answers for one in answer.groundings]
    return list(dict.fromkeys(region for one in groundings for region in one.regions))


def best_region(prediction: Prediction, number: int) -> list[int]:
    """Return the region with the highest score, the first of equal ones; none if none is named."""
    said = prediction.said[number]
    return said.regions[np.argsort(-said.scores, kind="stable")[:1]].tolist()


def boxes_of(prediction: Prediction, regions: Iterable[int]) -> Boxes:
    """Return the boxes (D, 4) of regions; one that does not exist is empty, so it is never right."""
    rows = np.array(list(regions), np.int64)
    known = (rows >= 0) & (rows < len(prediction.boxes))
    boxes = np.zeros((len(rows), 4), np.float32)
    boxes[known] = prediction.boxes[rows[known]]
    return boxes


def naming(
    example: Example[Any], prediction: Prediction, regions: Sequence[Sequence[int]]
) -> Prediction:
    """Return who names these regions of a prediction, for each request; what failed stays so."""
    if prediction.error is not None:
        return prediction
    said = [Said.found([("", region) for region in each]) for each in regions]
    size = prediction.image_size
    return Prediction.made(example, prediction.boxes, *said, image_size=size)


def largest(prediction: Prediction) -> list[int]:
    """Return the largest region, the first of equal ones; none if there is none."""
    areas = box_area(prediction.boxes.astype(np.float32))
    return [int(areas.argmax())] if len(areas) else []


def best_pairs(overlaps: Overlaps, least: float = HIT_IOU) -> list[tuple[int, int]]:
    """Return (meant, named) pairs, one to one, the largest overlaps first, down to the least.

    Source: henghuiding/gRefCOCO, mdetr/datasets/refexp.py.

    Example:
        >>> best_pairs(np.array([[0.6, 0.9], [0.5, 0.8]]))
        [(0, 1), (1, 0)]
    """
    left = np.array(overlaps, float)
    pairs: list[tuple[int, int]] = []
    while left.size and left.max() >= least:
        row, column = divmod(int(left.argmax()), left.shape[1])
        pairs.append((row, column))
        left[row], left[:, column] = -np.inf, -np.inf
    return pairs


def count_in_order(overlaps: Overlaps, least: float) -> int:
    """Return how many boxes are found when each, in its order, takes the best that is still free.

    Source: IDEA-Research/RexSeek, rexseek/metric/recall_precision_densityf1.py.

    Example:
        >>> count_in_order(np.array([[0.6, 0.9], [0.0, 0.8]]), 0.5)
        1
    """
    free = np.ones(overlaps.shape[1], bool)
    for row in overlaps:
        candidates = np.where(free, row, -1.0)
        if free.any() and candidates.max() >= least:
            free[candidates.argmax()] = False
    return int((~free).sum())


def density_f1(found: int, due: int, said: int) -> tuple[float, float, float]:
    """Return precision, recall and DensityF1 of one expression: F1 times min(1, due / said).

    Source: IDEA-Research/RexSeek, rexseek/metric/recall_precision_densityf1.py.

    Args:
        found: boxes that are named and meant.
        due: boxes that are meant, 1 or more.
        said: boxes that are named.

    Example:
        >>> density_f1(2, 2, 4)
        (0.5, 1.0, 0.3333333333333333)
    """
    if not found:
        return 0.0, 0.0, 0.0
    return found / said, found / due, 2 * found / (said + due) * min(1.0, due / said)


def generalised_iou(boxes: Boxes, others: Boxes) -> npt.NDArray[np.float64]:
    """Return (N, M) IoU minus the share of the hull of both that neither covers, in -1 to 1.

    Source: Rezatofighi et al., Generalized Intersection over Union, CVPR 2019.
    """
    iou = box_iou(boxes, others).astype(float)
    union = (box_area(boxes)[:, None] + box_area(others)[None]) / (1 + iou)
    near = np.minimum(boxes[:, None, :2], others[None, :, :2])
    far = np.maximum(boxes[:, None, 2:], others[None, :, 2:])
    hull = (far - near).astype(float).prod(-1)
    return iou - np.divide(hull - union, hull, out=np.zeros_like(iou), where=hull > 0)
