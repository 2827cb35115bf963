"""What training on text gives a language model before it sees a region, planted into one that never saw any.

A small decoder that begins with random weights does not learn in an hour to point among a dozen regions: it has to
find two steps at once, of which none helps without the other. Language models have both from text (induction heads,
arXiv 2209.11895). Here they are the first state of the weights, and training changes them as it likes.

    layer 1, heads 0 to 2   copy what stands 1, 2, 3 tokens before, each into a subspace of its own
    layer 2, head 0         a name, two tokens before an opened list -> regions that look like it -> their index tokens
    layer 2, head 1         an index token -> the region that stands behind the same token -> what it looks like

Legend: D width of the model, S size of a head.
"""

from typing import Any

import torch
from torch import Tensor

FASTEST = 4
"""Rotary frequencies that tell neighbours apart."""
SLOWEST = 7
"""Rotary frequencies that hardly turn within a prompt, so that what matches does so at any distance."""
SHARPNESS = 40.0
WRITTEN = 0.3
"""Size of what the first layer writes, several times that of an embedding."""


@torch.no_grad()
def plant(model: Any) -> None:
    """Set the first two layers of a model's decoder; needs width 4 S and as many key heads as query heads.

    Args:
        model: whose decoder has biases in its queries and keys, as Qwen's have.
    """
    text = model.config.get_text_config()
    width, size = text.hidden_size, text.hidden_size // text.num_attention_heads
    basis = torch.linalg.qr(torch.randn(width, width))[0].T  # rows are orthonormal
    own, before = (
        basis[:size],
        basis[size:].split(size),
    )  # (S, D) each: what a token is, and what stood before it
    first, second = model.vlm.get_decoder().layers[:2]
    first.self_attn.o_proj.weight.zero_()
    first.mlp.down_proj.weight.mul_(0.1)
    for head, place in enumerate(before):
        _look_back(first.self_attn, head, head + 1, size, text.rope_parameters["rope_theta"])
        _head(first.self_attn.v_proj.weight, head, size).copy_(own)
        _columns(first.self_attn.o_proj.weight, head, size).copy_(WRITTEN * place.T)
    # What was written is read at about 1, an embedding at about 0.15; both products are to be sharp.
    _match(second.self_attn, 0, size, query=1.5 * before[1], key=13 * own)
    _match(second.self_attn, 1, size, query=13 * own, key=1.5 * before[0])
    for head, seen in ((0, before[0]), (1, 6 * own)):
        _head(second.self_attn.v_proj.weight, head, size).copy_(seen)
        _columns(second.self_attn.o_proj.weight, head, size).copy_(own.T)


def _look_back(attention: Any, head: int, steps: int, size: int, base: float) -> None:
    """Let a head see the token some steps before, whatever it is: query and key are constant, positions do the rest."""
    angle = steps * base ** (-torch.arange(FASTEST) * 2 / size)
    key, query = torch.zeros(size), torch.zeros(size)
    key[:FASTEST] = SHARPNESS**0.5
    query[:FASTEST] = SHARPNESS**0.5 * angle.cos()
    query[size // 2 : size // 2 + FASTEST] = -(SHARPNESS**0.5) * angle.sin()
    for layer, bias in ((attention.q_proj, query), (attention.k_proj, key)):
        _head(layer.weight, head, size).zero_()
        layer.bias[head * size : (head + 1) * size] = bias


def _match(attention: Any, head: int, size: int, query: Tensor, key: Tensor) -> None:
    """Let a head see tokens whose `key` rows (S, D) say what its own `query` rows say."""
    half = size // 2
    slow = [*range(half - SLOWEST, half), *range(size - SLOWEST, size)]
    for weight, rows in ((attention.q_proj.weight, query), (attention.k_proj.weight, key)):
        part = _head(weight, head, size)
        part.zero_()
        part[slow] = rows[: len(slow)]


def _head(weight: Tensor, head: int, size: int) -> Tensor:
    return weight[head * size : (head + 1) * size]


def _columns(weight: Tensor, head: int, size: int) -> Tensor:
    return weight[:, head * size : (head + 1) * size]
