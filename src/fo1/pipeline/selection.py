"""From the scores of a scene to its detections; the rules are those of `fo1.selection`."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from fo1.pipeline.request import EncodedScene, Score
from fo1.results import Detections
from fo1.selection import best_first, fuse

NO_REGIONS = "no regions were given, so nothing can be found"
"""Problem of every answer about a picture without regions."""


def final_scores(scene: EncodedScene, match: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return (N, K) scores from match probabilities (N, K); boxes that the caller gave are not judged."""
    return fuse(match, scene.proposal_scores) if scene.proposed else match


def score_kind(scene: EncodedScene) -> Score:
    """Return what `final_scores` are."""
    return "fusion" if scene.proposed else "head"


def best_regions(
    scene: EncodedScene, scores: npt.NDArray[np.float32], least: float
) -> npt.NDArray[np.int64]:
    """Return the regions that reach a score (N,), best first; copies of a better one are left out."""
    return best_first(scene.regions, scores, least, proposed=scene.proposed)


def as_detections(
    scene: EncodedScene,
    labels: Sequence[str],
    regions: npt.NDArray[np.int64],
    scores: npt.NDArray[np.float32],
    model_scores: npt.NDArray[np.float32],
) -> Detections:
    """Return detections of regions of a scene; the proposer's scores beside them if there is one."""
    return Detections(
        boxes=scene.regions[regions],
        labels=tuple(labels),
        scores=scores,
        regions=regions,
        image_size=scene.image_size,
        proposal_scores=scene.proposal_scores[regions] if scene.proposed else None,
        model_scores=model_scores,
        masks=None if scene.masks is None else scene.masks[regions],
    )


def as_named(scene: EncodedScene, chances: Mapping[tuple[str, int], float]) -> Detections:
    """Return regions that a text named; their scores are those of the proposals.

    Args:
        scene: whose regions they are.
        chances: by (label, region) the probability with which the region's token was written.
    """
    rows = np.array([region for _, region in chances], dtype=np.int64)
    labels = [label for label, _ in chances]
    written = np.minimum(np.array(list(chances.values()), np.float32).reshape(-1), 1)
    return as_detections(scene, labels, rows, scene.proposal_scores[rows], written)
