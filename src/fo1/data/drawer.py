"""Drawer: sample i of a run, as a function of i.

mixture -> record -> regions (seeded by record and variant) -> language (seeded by i) -> Sample
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from fo1.data.mixture import Mixture
from fo1.data.negatives import Vocabulary
from fo1.data.sample import Sample
from fo1.data.sampling import Sampling, draw
from fo1.data.schema import Record
from fo1.data.storage import open_picture

Features = Callable[[str, Sample], Tensor | None]
"""Returns (N, C) what a frozen auxiliary encoder says of a sample's regions, which the text names."""


@dataclass(frozen=True, slots=True, eq=False)
class Drawer:
    """Draws samples.

    Args:
        mixture: which record stands at which index.
        settings: how records become samples.
        seed: of everything that is drawn.
        vocabulary: by source, for negatives.
        features: of frozen encoders, computed once; needs `settings.variants`.
    """

    mixture: Mixture
    settings: Sampling
    seed: int
    vocabulary: Mapping[str, Vocabulary]
    features: Features | None = None

    def sample(self, index: int) -> Sample:
        """Return sample `index`.

        Raises:
            ImageError: its picture cannot be read; names the record.
        """
        place = self.mixture.draw(self.seed, index)
        source = self.mixture.sources[place.source]
        record: Record = source.records[place.record]
        rng = np.random.default_rng([self.seed, index])
        variant = index if self.settings.variants is None else place.epoch % self.settings.variants
        name = f"{source.name}/{record.key}/{variant}"
        digest = hashlib.sha256(f"{self.seed}/{name}".encode()).digest()
        regions_rng = np.random.default_rng(int.from_bytes(digest[:8], "big"))
        sample = draw(
            record,
            self.settings,
            rng,
            lambda number: open_picture(record, number),
            self.vocabulary[source.name],
            regions_rng,
        )
        if self.features is None or not sample.num_regions:
            return sample
        return replace(sample, features=self.features(f"{name}/{_what(sample)}", sample))


def _what(sample: Sample) -> str:
    """Return a text that differs where sizes or boxes do, so that features made with other settings are not taken."""
    digest = hashlib.sha256()
    for image, boxes in zip(sample.images, sample.boxes, strict=True):
        digest.update(f"{image.size}{boxes.shape}".encode())
        digest.update(np.ascontiguousarray(boxes, np.float32).tobytes())
    return digest.hexdigest()[:16]
