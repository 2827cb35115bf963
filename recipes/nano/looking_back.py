"""What a language model learns first from text, as the first state of one that has never read any.

Lists are written by copying: what was named before an opened list is found again among the regions. A small decoder of
random weights does not find that in a thousand steps, because reading the name and pointing at what looks like it help
only together. Here both are there from the first step on, crudely, and training changes them as it likes:

    layer 1         copies what stands two and three tokens before: in an opened list, the last pieces of the name
    query and key   of the pointer are one function, so that what was copied points at what looks like it

Induction heads: arXiv 2209.11895. Legend: D width of the model, S size of a head.
"""

from typing import Any

import torch
from torch import Tensor

STEPS = (2, 3)
"""Tokens between an opened list and the pieces that are copied there."""
FASTEST = 4
"""Rotary frequencies that tell neighbours apart."""
SHARPNESS = 40.0
WRITTEN = 0.3
"""Size of what is copied, several times that of an embedding."""


@torch.no_grad()
def look_back(model: Any) -> None:
    """Set the first layer of a model's decoder, and the query of its pointer.

    Args:
        model: with a pointer, whose decoder has biases in its queries and keys, as Qwen's have, and as many query
            heads to a key as there are `STEPS`.

    Raises:
        ValueError: it has not.
    """
    text = model.config.get_text_config()
    width, heads, keys = text.hidden_size, text.num_attention_heads, text.num_key_value_heads
    if heads != keys * len(STEPS):
        raise ValueError(
            f"{heads} heads share {keys} keys; {len(STEPS)} heads to a key can look back"
        )
    size = width // heads
    layer = model.vlm.get_decoder().layers[0]
    attention = layer.self_attn
    layer.mlp.down_proj.weight.mul_(0.1)
    basis = torch.linalg.qr(torch.randn(width, width))[0].T  # rows are orthonormal
    for head in range(heads):
        key, step = divmod(head, len(STEPS))
        space = basis[key * size : (key + 1) * size]  # (S, D), each key's own
        _see(attention, head, key, STEPS[step], size, text.rope_parameters["rope_theta"])
        _rows(attention.v_proj.weight, key, size).copy_(space)
        attention.o_proj.weight[:, head * size : (head + 1) * size] = WRITTEN * space.T
    attention.v_proj.bias.zero_()
    model.pointer.query.load_state_dict(model.pointer.key.state_dict())


def _see(attention: Any, head: int, key: int, steps: int, size: int, base: float) -> None:
    """Let a head see the token some steps before, whatever it is: query and key are constant, positions do the rest."""
    angle = steps * base ** (-torch.arange(FASTEST) * 2 / size)
    half = size // 2
    asked, shown = torch.zeros(size), torch.zeros(size)
    shown[:FASTEST] = SHARPNESS**0.5
    asked[:FASTEST] = SHARPNESS**0.5 * angle.cos()
    asked[half : half + FASTEST] = -(SHARPNESS**0.5) * angle.sin()
    for layer, number, bias in ((attention.q_proj, head, asked), (attention.k_proj, key, shown)):
        _rows(layer.weight, number, size).zero_()
        _rows(layer.bias, number, size).copy_(bias)


def _rows(weight: Tensor, number: int, size: int) -> Tensor:
    return weight[number * size : (number + 1) * size]
