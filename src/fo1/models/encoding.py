"""What the model computes of pictures and boxes, as values.

Legend: N regions of all pictures, C region features, D language width.
"""

from dataclasses import dataclass, replace

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
    """

    features: Tensor
    embeddings: Tensor
    evidence: tuple[Tensor, ...]
