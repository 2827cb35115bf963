"""Scenes that lack what a model should use, to see what it scores without it.

A figure means little alone: names can be guessed from their frequency, expressions from their
words, and a box from knowing what is somewhere in the picture. Nothing of the model is changed;
only the values that it made of a picture are.
"""

from dataclasses import replace

import numpy as np
import torch

from fo1.models.encoding import RegionEmbeddings
from fo1.pipeline import Scene


def text_only(scene: Scene) -> Scene:
    """Return the scene with picture and region features zeroed and without class evidence.

    What is left is the question and how many regions there are.
    """
    tensors = scene.tensors
    host = tensors.encoding.host
    blank = replace(host, tokens=tuple(torch.zeros_like(tokens) for tokens in host.tokens))
    regions = RegionEmbeddings(
        features=torch.zeros_like(tensors.regions.features),
        embeddings=torch.zeros_like(tensors.regions.embeddings),
        evidence=(),
    )
    encoding = replace(tensors.encoding, host=blank)
    return replace(scene, tensors=replace(tensors, encoding=encoding, regions=regions))


def shuffled(scene: Scene, rng: np.random.Generator) -> Scene:
    """Return the scene with its region embeddings dealt anew among its boxes.

    The model still knows what is in the picture, but not where.
    """
    tensors = scene.tensors
    order = torch.from_numpy(rng.permutation(len(scene)))
    order = order.to(tensors.regions.embeddings.device)
    regions = RegionEmbeddings(
        features=tensors.regions.features[order],
        embeddings=tensors.regions.embeddings[order],
        evidence=tuple(source[order] for source in tensors.regions.evidence),
    )
    return replace(scene, tensors=replace(tensors, regions=regions))
