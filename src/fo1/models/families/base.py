"""What model and processor need to know about a kind of host VLM.

The chat is not among it: every host reads that of `fo1.layout`. Markers that its vocabulary lacks are added when it is
taken on (`fo1.models.assembly`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from PIL import Image
from torch import Tensor
from transformers.utils.generic import ModelOutput

from fo1.models.region_encoder import HostMaps


@dataclass(frozen=True, slots=True)
class HostFeatures:
    """One pass of the host's vision encoder over all pictures of a batch.

    Attributes:
        tokens: per picture (T_i, D), what the language model reads in place of the image.
        maps: per picture the maps for the region encoder.
        deep: per picture and early layer of the language model (T_i, D), what that adds to the picture's tokens;
            empty for hosts whose layers add nothing.
    """

    tokens: tuple[Tensor, ...]
    maps: tuple[HostMaps, ...]
    deep: tuple[tuple[Tensor, ...], ...] = ()

    def select(self, pictures: Sequence[int]) -> "HostFeatures":
        """Return what the language model reads of some pictures, in this order."""
        deep = tuple(self.deep[picture] for picture in pictures) if self.deep else ()
        return replace(self, tokens=tuple(self.tokens[picture] for picture in pictures), deep=deep)

    def blank(self) -> "HostFeatures":
        """Return as many tokens that show nothing."""
        tokens = tuple(map(torch.zeros_like, self.tokens))
        deep = tuple(tuple(map(torch.zeros_like, layers)) for layers in self.deep)
        return replace(self, tokens=tokens, deep=deep)

    @classmethod
    def join(cls, parts: Sequence["HostFeatures"]) -> "HostFeatures":
        """Return the features of several passes as if one pass had seen all their pictures."""
        return cls(
            tokens=tuple(tokens for part in parts for tokens in part.tokens),
            maps=tuple(maps for part in parts for maps in part.maps),
            deep=tuple(deep for part in parts for deep in part.deep),
        )


class VLMFamily(Protocol):
    """One kind of host, keyed on `config.model_type`; `plain.PlainFamily` has what most of them share."""

    @property
    def model_type(self) -> str:
        """The host's `config.model_type`."""
        ...

    @property
    def image_inputs(self) -> tuple[str, ...]:
        """Names of the picture inputs that `read_pictures` makes and `encode_images` reads."""
        ...

    def map_width(self, config: Any) -> int:
        """Return the channels of one feature map."""
        ...

    def map_stride(self, config: Any) -> int:
        """Return the pixels per cell of the feature maps."""
        ...

    def token_width(self, config: Any) -> int:
        """Return the width of an image token as the vision encoder makes it."""
        ...

    def region_layers(self, config: Any) -> tuple[int, ...]:
        """Return the vision blocks whose outputs serve as feature maps, first block is 0."""
        ...

    def image_token_id(self, config: Any) -> int:
        """Return the id that marks the positions of image tokens."""
        ...

    def check_image_processor(self, image_processor: Any) -> None:
        """Check that the host's image processor shows it the whole picture.

        Raises:
            InputError: it does not, so boxes would miss what they stand for.
        """
        ...

    def fit_image_processor(self, image_processor: Any, config: Any) -> Any:
        """Return an image processor that also knows what `frames` and `texts` need of the host.

        Raises:
            InputError: it makes pictures of a kind that this host cannot read.
        """
        ...

    def read_pictures(self, image_processor: Any, images: Sequence[Image.Image]) -> dict[str, Any]:
        """Return the `image_inputs` of some pictures.

        Args:
            image_processor: one that fits the host.
            images: RGB pictures.
        """
        ...

    def frames(self, image_processor: Any, pictures: Mapping[str, Any]) -> list[tuple[int, int]]:
        """Return (width, height) in pixels of each picture as the host sees it, without padding.

        Args:
            image_processor: one that fits the host.
            pictures: from `read_pictures`.
        """
        ...

    def texts(
        self, image_processor: Any, pictures: Mapping[str, Any], image_token: str
    ) -> list[str]:
        """Return what stands for each picture in a prompt: an image token per position, and marks of the host's own.

        Args:
            image_processor: as in `frames`.
            pictures: as in `frames`.
            image_token: what the vocabulary calls one image position.
        """
        ...

    def encode_images(self, vlm: Any, inputs: Mapping[str, Any]) -> HostFeatures:
        """Return tokens and maps from one run of the host's own vision encoder."""
        ...

    def for_host(self, config: Any, features: HostFeatures) -> ModelOutput:
        """Return a fresh `mm_encoder_outputs` entry; the host may change what it is given."""
        ...

    def attention(
        self, config: Any, input_ids: Tensor, attention_mask: Tensor
    ) -> dict[str, Tensor]:
        """Return what tells the host which tokens see which, by the names of its forward.

        Args:
            config: of the host.
            input_ids: (B, T).
            attention_mask: (B, T), which tokens are no padding; or (B, 1, T, T), which keys each query sees.
        """
        ...

    def position_ids(
        self,
        vlm: Any,
        input_ids: Tensor,
        attention_mask: Tensor,
        inputs: Mapping[str, Any],
    ) -> Tensor:
        """Return the positions of a prompt, shape (..., B, T); never read from state kept on the host."""
        ...
