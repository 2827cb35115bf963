"""From scores to what is told: the rules that every way of detecting shares, with torch or without.

Legend: N regions, K queries.
"""

from numbers import Real

import numpy as np
import numpy.typing as npt

from fo1.errors import InputError
from fo1.geometry import Boxes, nms

LABEL_OVERLAP = 0.5
"""Above this IoU with a better detection of the same label, a proposed box is a copy of it."""

LABEL_CONTAINMENT = 0.85
"""Above this share of the smaller box, a proposed box and a better one of its label are one thing:
a part of it, or a box around it and its surroundings."""


def check_threshold(threshold: object) -> None:
    """Check the least score of a detection.

    Raises:
        InputError: it is no number from 0 to 1.
    """
    if not isinstance(threshold, Real):
        raise InputError(f"threshold is {threshold!r}; give a number from 0 to 1")
    value = float(threshold)
    if not (0 <= value <= 1):  # NaN fails as well
        raise InputError(f"threshold is {value:g}; give a number from 0 to 1")


def fuse(
    match: npt.NDArray[np.float32], proposal_scores: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Return (N, K) scores of proposed boxes from match probabilities (N, K) and the proposals' own (N,).

    Source: the usual rule of detectors that judge box and class apart (FCOS, arXiv 1904.01355).
    """
    return np.sqrt(match * proposal_scores[:, None])


def best_first(
    boxes: Boxes,
    scores: npt.NDArray[np.float32],
    least: float,
    *,
    proposed: bool,
    overlap: float = LABEL_OVERLAP,
    containment: float = LABEL_CONTAINMENT,
) -> npt.NDArray[np.int64]:
    """Return the regions that reach a score, best first.

    Args:
        boxes: (N, 4) xyxy.
        scores: (N,).
        least: score that a detection has at least.
        proposed: whether copies of a better box are left out; boxes that the caller gave all stay.
        overlap: in place of `LABEL_OVERLAP`.
        containment: in place of `LABEL_CONTAINMENT`.
    """
    kept = np.flatnonzero(scores >= least)
    kept = kept[np.argsort(-scores[kept], kind="stable")]
    return kept[nms(boxes[kept], scores[kept], overlap, containment)] if proposed else kept
