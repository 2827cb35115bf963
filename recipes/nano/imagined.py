"""Region features of photographs that were never seen: real drawn regions moved towards a class that the encoders know.

The classifier is linear in the pooled features, so its own weights say in which direction a class lies. A drawn region
that is moved that way keeps its texture, position and size but looks to the classifier like the class; the detector's
evidence is drawn to match. Nothing but weights and names is used: no photograph, no label of a photograph.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from fo1.lexicon import Lexicon
from fo1.models.light_encoder import LightEncoder

SOURCES = ("imagenet", "coco")


@dataclass(frozen=True, slots=True)
class Imagined:
    """A class that a region is to look like: its number in each source, -1 where the source lacks it."""

    imagenet: int
    coco: int
    names: tuple[str, ...]  # its own first, then broader ones


class Imagination:
    """Chooses classes and moves features.

    Args:
        encoder: with the pretrained weights.
        lexicon: names of the classes.
        covariance: (H, H) of the classifier's pooled head features over drawn regions; H is the head's width.
    """

    def __init__(self, encoder: LightEncoder, lexicon: Lexicon, covariance: Tensor):
        self.lexicon = lexicon
        self.feature_width, self.head = encoder.feature_width, encoder.head_width
        layer = encoder.classifier.classifier
        weight = layer.weight.detach().float()
        self.weight, self.bias = weight, layer.bias.detach().float()
        centred = weight - weight.mean(0)
        spread = centred @ covariance
        self.directions = torch.stack(
            [d / d.norm(dim=-1, keepdim=True) for d in (centred, spread)]
        )  # (2, classes, H)
        own = lexicon.terms("imagenet")
        detected = lexicon.terms("coco")
        under = [lexicon.classes(name, "imagenet") for name in lexicon.names("coco")]
        coco_of = {index: number for number, indices in enumerate(under) for index in indices}
        self.classes = [Imagined(i, coco_of.get(i, -1), names) for i, names in enumerate(own)]
        self.detectable = [
            [Imagined(i, number, detected[number]) for i in indices]
            or [Imagined(-1, number, detected[number])]
            for number, indices in enumerate(under)
        ]
        self.members = lru_cache(maxsize=None)(self._members)

    def choose(self, rng: np.random.Generator) -> Imagined:
        """Return a class: one that the detector knows in half of the cases."""
        if rng.random() < 0.5:
            options = self.detectable[rng.integers(len(self.detectable))]
            return options[rng.integers(len(options))]
        return self.classes[rng.integers(len(self.classes))]

    def is_a(self, kind: Imagined, name: str) -> bool:
        """Return whether a name is true of a class."""
        imagenet, coco = self.members(name)
        return kind.imagenet in imagenet or kind.coco in coco or name in kind.names

    def _members(self, name: str) -> tuple[frozenset[int], frozenset[int]]:
        return tuple(frozenset(self.lexicon.classes(name, source)) for source in SOURCES)

    def move(
        self, raw: Tensor, kinds: list[Imagined | None], share: np.ndarray, rng: np.random.Generator
    ) -> Tensor:
        """Return (N, F + detector classes) raw features in which region i looks like `kinds[i]`.

        Args:
            raw: (N, F + detector classes) as `LightEncoder.pool_raw` made them.
            kinds: what each region shows; None for clutter.
            share: (N,) how much of the thing the region holds, 0 to 1.
            rng: source of chance.
        """
        raw = raw.clone()
        finer = self.feature_width - self.head
        # Low-level features of another region: with its own they would show the drawing under a photograph's name.
        raw[:, :finer] = raw[torch.from_numpy(rng.permutation(len(raw))), :finer]
        head = raw[:, finer : self.feature_width]
        detected = raw[:, self.feature_width :]
        detected.mul_(0.3)
        count, classes = len(raw), detected.shape[1]
        if classes:
            noise = rng.random((count, 2)) ** 4 * 0.25
            for column in range(2):
                detected[np.arange(count), rng.integers(classes, size=count)] = torch.from_numpy(
                    noise[:, column]
                ).float()
        logits = head @ self.weight.T + self.bias
        for i, kind in enumerate(kinds):
            target = -1 if kind is None else kind.imagenet
            margin = rng.normal(2.0, 2.0) - 4 * (1 - share[i])
            if target < 0:
                if rng.random() < 0.5:
                    continue
                target, margin = int(rng.integers(len(self.weight))), rng.normal(-1.5, 1.0)
            mix = rng.random()
            direction = mix * self.directions[0, target] + (1 - mix) * self.directions[1, target]
            others = logits[i].clone()
            others[target] = -torch.inf
            gain = float((self.weight[target] - self.weight[int(others.argmax())]) @ direction)
            need = margin - float(logits[i, target] - others.max())
            if need > 0 and gain > 1e-3:
                head[i] = (head[i] + need / gain * direction).clamp(min=0)
        for i, kind in enumerate(kinds):
            if classes and kind is not None and kind.coco >= 0 and rng.random() < 0.8:
                detected[i, kind.coco] = float(rng.uniform(0.08, 0.75) * min(1.0, share[i] * 1.2))
        return raw
