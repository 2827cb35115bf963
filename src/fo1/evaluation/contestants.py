"""Who answers: the model, and the model deprived of what it should use, to see what it scores then.

A figure means little alone: names can be guessed from their frequency, expressions from their
words, and a box from knowing what is somewhere in the picture. Nothing of the model is changed;
only the values that it made of a picture are.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import torch

from fo1.evaluation.causal import choose_pair
from fo1.evaluation.prediction import Prediction
from fo1.models.encoding import RegionEmbeddings
from fo1.pipeline import Scene
from fo1.pipeline.engine import Engine

Change: TypeAlias = Callable[[Scene, np.random.Generator, Prediction | None], Scene]
"""Takes a scene, numbers for chance, and what the model said of it, if it was asked before."""


@dataclass(frozen=True, slots=True)
class Contestant:
    """One way to ask a model.

    Attributes:
        name: as tables call it.
        change: what is done to a scene before it is asked; None for nothing.
        true_boxes: whether the regions are those of a perfect proposer.
    """

    name: str
    change: Change | None = None
    true_boxes: bool = False


def text_only(scene: Scene, *_: object) -> Scene:
    """Return the scene with picture and region features zeroed and without class evidence.

    What is left is the question, how many regions there are, and the proposals' scores.
    """
    seen = scene.tensors.picture
    encoding = replace(seen.encoding, host=seen.encoding.host.blank())
    picture = replace(seen, encoding=encoding)
    return replace(scene, tensors=replace(scene.tensors, picture=picture, regions=_zeros(scene)))


def zeroed(scene: Scene, *_: object) -> Scene:
    """Return the scene with its region embeddings zeroed; the picture stays."""
    return replace(scene, tensors=replace(scene.tensors, regions=_zeros(scene)))


def shuffled(scene: Scene, rng: np.random.Generator, *_: object) -> Scene:
    """Return the scene with its region embeddings dealt anew among its boxes.

    The model still knows what is in the picture, but not where.
    """
    return reordered(scene, rng.permutation(len(scene)))


def swapped(scene: Scene, rng: np.random.Generator, before: Prediction | None = None) -> Scene:
    """Return the scene in which two regions that were answered differently share fates.

    Which two follows from what the model said before, see `causal.choose_pair`.
    """
    pair = None if before is None else choose_pair(before, rng)
    order = np.arange(len(scene))
    if pair is not None:
        order[[pair.high, pair.low]] = pair.low, pair.high
    return reordered(scene, order)


def reordered(scene: Scene, order: np.typing.NDArray[np.int64]) -> Scene:
    """Return the scene whose box i has the region embedding of box order[i]."""
    dealt = scene.tensors.regions.select(order.tolist())
    return replace(scene, tensors=replace(scene.tensors, regions=dealt))


class Writer(Engine):
    """A model that writes every answer, also where it could score."""

    @property
    def has_score_head(self) -> bool:
        """False: what it has is not used."""
        return False


def written(scene: Scene, *_: object) -> Scene:
    """Return the scene whose answers are all written, names of regions included."""
    engine = scene.engine
    return replace(scene, engine=Writer(engine.name, engine.model, engine.processor))


def _zeros(scene: Scene) -> RegionEmbeddings:
    regions = scene.tensors.regions
    return RegionEmbeddings(
        features=torch.zeros_like(regions.features),
        embeddings=torch.zeros_like(regions.embeddings),
        evidence=(),
    )


MODEL = Contestant("model")
TEXT_ONLY = Contestant("text only", text_only)
TRUE_BOXES = Contestant("true boxes", true_boxes=True)
SHUFFLED = Contestant("region embeddings shuffled", shuffled)
SWAPPED = Contestant("two regions swapped", swapped)
ZEROED = Contestant("region embeddings zeroed", zeroed)
WRITTEN = Contestant("written by the language model", written)

FLOORS = (TEXT_ONLY, TRUE_BOXES)
"""Floors and ceilings that need the model (`--floors`)."""

CAUSES = (SWAPPED, SHUFFLED, ZEROED, TEXT_ONLY)
"""What shows whether the language model reads region tokens (`--causal`)."""
