"""What the model computes of pictures and boxes, as values.

Legend: N regions of all pictures, C region features, D language width.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fo1.models.families import HostFeatures


@dataclass(frozen=True, slots=True)
class PictureEncoding:
    """Everything that depends on the pictures alone; computed once, asked often.

    Attributes:
        host: the host's vision features, image projector applied.
        levels: per picture the host maps (C, H_l, W_l) that boxes are pooled from.
        auxiliary: per picture the auxiliary encoder's maps.
    """

    host: HostFeatures
    levels: tuple[tuple[Tensor, ...], ...]
    auxiliary: tuple[tuple[Tensor, ...], ...]

    def for_boxes(self) -> "PictureEncoding":
        """Return what boxes are encoded from, and nothing else."""
        frames = tuple(one.without_maps() for one in self.host.maps)
        return PictureEncoding(HostFeatures((), frames), self.levels, self.auxiliary)

    @property
    def num_bytes(self) -> int:
        """Memory that the maps of `for_boxes` take."""
        maps = [*self.levels, *self.auxiliary]
        return sum(one.numel() * one.element_size() for own in maps for one in own)

    def without_maps(self) -> "PictureEncoding":
        """Return what is left to ask with when the regions are encoded; the maps hold most of the memory."""
        return PictureEncoding(host=replace(self.host, maps=()), levels=(), auxiliary=())


@dataclass(frozen=True, slots=True)
class RegionEmbeddings:
    """Regions of all pictures, in order.

    Attributes:
        features: (N, C) float32 before the projector.
        embeddings: (N, D) after it.
        evidence: per source (N, E_s) class probabilities, empty where the auxiliary encoder reads out none.
        familiar: (N,) how much they look like what the model learned from; None where the encoder does not tell.
    """

    features: Tensor
    embeddings: Tensor
    evidence: tuple[Tensor, ...]
    familiar: Tensor | None = None

    def select(self, rows: Sequence[int]) -> "RegionEmbeddings":
        """Return some of the regions, in the order of `rows`."""
        index = torch.tensor(list(rows), dtype=torch.long, device=self.embeddings.device)
        return RegionEmbeddings(
            self.features[index],
            self.embeddings[index],
            tuple(source[index] for source in self.evidence),
            None if self.familiar is None else self.familiar[index],
        )

    @classmethod
    def join(cls, parts: Sequence["RegionEmbeddings"]) -> "RegionEmbeddings":
        """Return the regions of several pictures, one after the other."""
        familiar = [part.familiar for part in parts if part.familiar is not None]
        return cls(
            torch.cat([part.features for part in parts]),
            torch.cat([part.embeddings for part in parts]),
            tuple(map(torch.cat, zip(*(part.evidence for part in parts), strict=True))),
            torch.cat(familiar) if len(familiar) == len(parts) else None,
        )
