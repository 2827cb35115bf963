"""From scores and regions to detections: one place for the rules that all verbs share."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fo1.geometry import nms
from fo1.pipeline.request import EncodedScene, Score
from fo1.results import Detections

NO_REGIONS = "no regions were given, so nothing can be found"
"""Problem of every answer about a picture without regions."""

LABEL_OVERLAP = 0.5
"""Above this IoU with a better detection of the same label, a proposed box is a copy of it."""

LABEL_CONTAINMENT = 0.85
"""Above this share of the smaller box, a proposed box and a better one of its label are one thing:
a part of it, or a box around it and its surroundings."""


def final_scores(scene: EncodedScene, match: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return (N, K) scores from match probabilities (N, K); boxes that the caller gave are not judged.

    Source: the usual rule of detectors that judge box and class apart (FCOS, arXiv 1904.01355).
    """
    return np.sqrt(match * scene.proposal_scores[:, None]) if scene.proposed else match


def score_kind(scene: EncodedScene) -> Score:
    """Return what `final_scores` are."""
    return "fusion" if scene.proposed else "head"


def best_first(
    scene: EncodedScene, scores: npt.NDArray[np.float32], least: float
) -> npt.NDArray[np.int64]:
    """Return the regions that reach a score (N,), best first; copies of a better one are left out.

    Boxes that the caller gave all stay.
    """
    kept = np.flatnonzero(scores >= least)
    kept = kept[np.argsort(-scores[kept], kind="stable")]
    if not scene.proposed:
        return kept
    return kept[nms(scene.regions[kept], scores[kept], LABEL_OVERLAP, LABEL_CONTAINMENT)]


def as_detections(
    scene: EncodedScene,
    labels: Sequence[str],
    regions: npt.NDArray[np.int64],
    scores: npt.NDArray[np.float32],
) -> Detections:
    """Return detections of regions of a scene."""
    return Detections(
        boxes=scene.regions[regions],
        labels=tuple(labels),
        scores=scores,
        regions=regions,
        image_size=scene.image_size,
    )


def as_named(scene: EncodedScene, pairs: Sequence[tuple[str, int]]) -> Detections:
    """Return regions that a text named by (label, region); their scores are those of the proposals."""
    rows = np.array([region for _, region in pairs], dtype=np.int64)
    return as_detections(scene, [label for label, _ in pairs], rows, scene.proposal_scores[rows])
