"""What a graph exporter needs of a host family: passes without lists, loops over windows or asked tensors.

Most families have none yet; `get_tracing` says so.
"""

from typing import Any, Protocol

from torch import Tensor


class Tracing(Protocol):
    """A host's vision encoder and positions for one picture, in operations that a graph can hold.

    They give what the family's own adapter gives, up to rounding.
    """

    def encode_image(self, vlm: Any, pixels: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return what the language model reads in place of the picture (I, D), and the maps (C, H, W) of boxes.

        Args:
            vlm: the host.
            pixels: (1, 3, H, W), resized and normalised.
        """
        ...

    def token_grid(self, vlm: Any, pixels: Tensor) -> tuple[int, int]:
        """Return rows and columns of the picture's tokens."""
        ...

    def image_positions(self, grid: Tensor, start: int, count: int) -> tuple[Tensor, Tensor]:
        """Return positions (axes, I) of a picture's tokens, and the position of what follows it, one number.

        Args:
            grid: (2,) rows and columns of the tokens.
            start: position of the first token.
            count: I, the number of tokens.
        """
        ...
