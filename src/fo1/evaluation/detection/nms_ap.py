"""NMS-AP: average precision after rival names on one object were reduced to one.

Plain AP judges each name on its own, so a detector that calls one box "red car", "blue car" and
"green car" loses little. Here every true box keeps only the best scored of the detections that lie
on it, whatever their names; what lies on no true box stays.

Source: om-ai-lab/OVDEval, eval.py, and arXiv 2308.13177. It suppresses around the true boxes, not
around the best detections as ordinary NMS does, and so do we. The order of equal scores is that of
the file there; here the wrong name wins, so that naming everything with one score earns nothing.

Legend: D detections and G true boxes of one picture.
"""

from dataclasses import replace

import numpy as np

from fo1.evaluation.detection.pool import Pool, Whole
from fo1.evaluation.metrics.boxes import overlaps
from fo1.evaluation.metrics.estimates import Bools, Floats

NMS_IOU = 0.5


def survivors(boxes: Floats, labels: Whole, scores: Floats, truth: Floats, names: Whole) -> Bools:
    """Return (D,) which detections of a picture are left.

    Of the detections whose IoU with a true box is above 0.5 the best scored is kept; the others go,
    unless they are the best of another true box. Of equal scores the first is one whose name fits
    no true box that it lies on; if all fit one, the one that fits best.

    Args:
        boxes: (D, 4) xyxy.
        labels: (D,) their names, as numbers.
        scores: (D,) of them.
        truth: (G, 4) xyxy.
        names: (G,) their names, as numbers.
    """
    overlap = overlaps(boxes, truth)
    near = overlap > NMS_IOU
    own = labels[:, None] == names[None, :]
    fits = (near & own).any(1)
    kept, gone = np.zeros((2, len(boxes)), bool)
    for column in range(len(truth)):
        rivals = np.flatnonzero(near[:, column])
        order = np.lexsort(  # the last key counts first
            (
                labels[rivals],
                kept[rivals],
                -overlap[rivals, column],
                ~own[rivals, column],
                fits[rivals],
                -scores[rivals],
            )
        )
        kept[rivals[order[:1]]] = True
        gone[rivals[order[1:]]] = True
    return kept | ~gone


def suppress(pool: Pool) -> Pool:
    """Return a pool without the detections that do not survive in their pictures."""
    index = {name: place for place, name in enumerate(pool.names)}
    kept = np.ones(len(pool.labels), bool)
    edges = np.searchsorted(pool.pictures, np.arange(len(pool.truths) + 1))
    for truth, first, last in zip(pool.truths, edges[:-1], edges[1:], strict=True):
        own = slice(first, last)
        names = np.array([index[label] for label in truth.labels], np.int64)
        kept[own] = survivors(
            pool.boxes[own], pool.labels[own], pool.scores[own], truth.boxes, names
        )
    return _only(pool, kept)


def with_truth(pool: Pool) -> Pool:
    """Return a pool of the names that have a true box; the others have no AP, but take time."""
    known = {label for truth in pool.truths for label in truth.labels}
    chosen = [place for place, name in enumerate(pool.names) if name in known]
    place = np.full(len(pool.names), -1)
    place[chosen] = np.arange(len(chosen))
    fewer = replace(pool, names=tuple(pool.names[one] for one in chosen), labels=place[pool.labels])
    return _only(fewer, fewer.labels >= 0)


def _only(pool: Pool, kept: Bools) -> Pool:
    return replace(
        pool,
        boxes=pool.boxes[kept],
        labels=pool.labels[kept],
        pictures=pool.pictures[kept],
        scores=pool.scores[kept],
        evidence={kind: values[kept] for kind, values in pool.evidence.items()},
    )
