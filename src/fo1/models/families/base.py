"""What model and processor need to know about a kind of host VLM.

The text is not among it: every host reads the chat of `fo1.layout`. Markers that its vocabulary lacks are added when
it is taken on (`fo1.models.assembly`).
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers.utils.generic import ModelOutput

from fo1.models.region_encoder import HostMaps


@dataclass(frozen=True, slots=True)
class HostFeatures:
    """One pass of the host's vision encoder over all pictures of a batch.

    Attributes:
        outputs: what the host's `get_image_features` returned, without the encoder's own layers.
        tokens: per picture (T_i, D), what the language model reads in place of the image.
        maps: per picture the maps for the region encoder.
    """

    outputs: ModelOutput
    tokens: tuple[Tensor, ...]
    maps: tuple[HostMaps, ...]

    def for_host(self) -> ModelOutput:
        """Return a fresh `mm_encoder_outputs` entry; the host may change what it is given."""
        outputs = copy.copy(self.outputs)
        outputs.pooler_output = self.tokens
        return outputs

    @classmethod
    def join(cls, parts: Sequence["HostFeatures"]) -> "HostFeatures":
        """Return the features of several passes as if one pass had seen all their pictures."""
        if len(parts) == 1:
            return parts[0]
        outputs = copy.copy(parts[0].outputs)
        for name in set(outputs) - {"pooler_output"}:  # `for_host` takes that from the tokens
            outputs[name] = _join([part.outputs[name] for part in parts])
        return cls(
            outputs=outputs,
            tokens=tuple(tokens for part in parts for tokens in part.tokens),
            maps=tuple(maps for part in parts for maps in part.maps),
        )


class VLMFamily(Protocol):
    """One kind of host, keyed on `config.model_type`."""

    @property
    def model_type(self) -> str:
        """The host's `config.model_type`."""
        ...

    @property
    def image_inputs(self) -> tuple[str, ...]:
        """Names of the picture inputs that the family's processor makes and `encode_images` reads."""
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
        """Return an image processor that also knows what `frames` and `token_counts` need of the host.

        Raises:
            InputError: it makes pictures of a kind that this host cannot read.
        """
        ...

    def frames(self, image_processor: Any, pictures: Mapping[str, Any]) -> list[tuple[int, int]]:
        """Return (width, height) in pixels of each picture as the host sees it.

        Args:
            image_processor: one that fits the host.
            pictures: what it returned.
        """
        ...

    def token_counts(self, image_processor: Any, pictures: Mapping[str, Any]) -> list[int]:
        """Return how many tokens each picture takes in a prompt; arguments as in `frames`."""
        ...

    def encode_images(self, vlm: Any, inputs: Mapping[str, Any]) -> HostFeatures:
        """Return tokens and maps from one run of the host's own vision encoder."""
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


def _join(values: Sequence[Any]) -> Any:
    """Return flattened tensors end to end; lists of tensors, one per layer, item by item."""
    if isinstance(values[0], Tensor):
        return torch.cat(list(values))
    return type(values[0])(_join(items) for items in zip(*values, strict=True))
