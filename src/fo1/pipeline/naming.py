"""Verbs answered by choosing from a list of names, for models that have one and a score head.

The embedded model's language model is small; a name from the list says more than its sentences.
"""

import numpy as np

from fo1.layout import query_branch
from fo1.parsing import parse_answer, plain_text
from fo1.pipeline.engine import Engine
from fo1.pipeline.request import EncodedScene, Outcome, Request
from fo1.pipeline.selection import (
    NO_REGIONS,
    as_detections,
    best_regions,
    final_scores,
    score_kind,
)
from fo1.prompts import Task
from fo1.results import Detections, RegionText
from fo1.tags import OBJECTS_CLOSE, region_token


def answers_by_names(engine: Engine, request: Request) -> bool:
    """Return whether a request is answered here: short texts, by models that have a list of names."""
    brief = request.task is Task.DESCRIBE and request.detail == "brief"
    return engine.vocabulary is not None and (brief or request.task in (Task.GROUND, Task.SIMILAR))


def describe(scene: EncodedScene, regions: tuple[int, ...]) -> Outcome:
    """Return the best name of each of the regions."""
    names, fit = scene.engine.name_fit(scene.tensors, regions)
    best = fit.argmax(1) if regions else ()
    texts = [RegionText(region, names[name]) for region, name in zip(regions, best, strict=True)]
    return Outcome(
        detections=Detections.empty(scene.image_size),
        texts=tuple(texts),
        problems=() if regions else (NO_REGIONS,),
    )


def ground(scene: EncodedScene, request: Request) -> Outcome:
    """Return what stands out in the picture: the best name of each region that is sure of it."""
    names, fit = scene.engine.name_fit(scene.tensors, range(len(scene)))
    best = fit.argmax(1) if len(scene) else np.zeros(0, np.int64)
    match = np.take_along_axis(fit, best[:, None], 1)
    scores = final_scores(scene, match)[:, 0]
    kept = best_regions(scene, scores, request.least_score())
    labels = [names[best[region]] for region in kept]
    listed = [
        query_branch(label)
        + "".join(region_token(r) for r, own in zip(kept, labels, strict=True) if own == label)
        + OBJECTS_CLOSE
        for label in dict.fromkeys(labels)
    ]
    answer = parse_answer(", ".join(listed), len(scene))
    return Outcome(
        detections=as_detections(scene, labels, kept, scores[kept], match[kept, 0]),
        answer=answer,
        text=plain_text(answer.text) or None,
        scored_by=score_kind(scene),
    )


def similar(scene: EncodedScene, request: Request) -> Outcome:
    """Return the other regions that one name fits as well as the region asked about.

    Two regions are alike with the probability that the name that suits both best fits both.
    """
    assert request.regions is not None
    (asked,) = request.regions
    names, fit = scene.engine.name_fit(scene.tensors, range(len(scene)))
    both = fit * fit[asked]
    best = both.argmax(1)
    match = np.sqrt(np.take_along_axis(both, best[:, None], 1))
    scores = final_scores(scene, match)[:, 0]
    scores[asked] = 1  # so that its own copies go
    kept = best_regions(scene, scores, request.least_score())
    kept = kept[kept != asked]
    labels = [names[best[region]] for region in kept]
    found = as_detections(scene, labels, kept, scores[kept], match[kept, 0])
    return Outcome(detections=found, scored_by=score_kind(scene))
