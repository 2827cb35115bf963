"""Pointer: an index token is written by pointing at its region.

    logit(<region i> | h) = h . E[i] + query(h) . key(e_i)

A vocabulary head knows an index token by its number, but which region bears the number changes from picture to
picture: a language model has to find from what a region shows back to its number by itself, which small ones hardly
learn (docs/one_pass.md). With the second term the output vector of an index token is tied to its region's embedding, as
its input is. Keys are made of region embeddings alone, so they are known before the language model runs.

Source: pointer networks, arXiv 1506.03134, and output embeddings tied to input embeddings, arXiv 1608.05859; to point
by region embeddings is our own. Without regions in a prompt a host says what it said before.

Legend: B rows, S places, N regions placed in a row, V vocabulary, D language width, W pointer width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fo1.models.hosts import copy_host
from fo1.models.precision import KeepsPrecision, in_float32


@dataclass(frozen=True, slots=True, eq=False)
class Pointables:
    """What one row can point at.

    Attributes:
        tokens: (N,) index tokens, each once.
        keys: (N, W) float32.
    """

    tokens: Tensor
    keys: Tensor

    def join(self, more: "Pointables") -> "Pointables":
        """Return both; of an index token that is in both, the first region counts."""
        fresh = ~torch.isin(more.tokens, self.tokens)
        return Pointables(
            torch.cat([self.tokens, more.tokens[fresh]]), torch.cat([self.keys, more.keys[fresh]])
        )


class Pointer(KeepsPrecision):
    """The second term of an index token's logit.

    Args:
        hidden_size: D.
        width: W.
    """

    def __init__(self, hidden_size: int, width: int):
        super().__init__()
        self.query = nn.Sequential(
            nn.Linear(hidden_size, width), nn.GELU(), nn.Linear(width, width)
        )
        self.key = nn.Sequential(nn.Linear(hidden_size, width), nn.GELU(), nn.Linear(width, width))
        self.scale = nn.Parameter(torch.tensor(8.0))

    @in_float32
    def pointables(self, ids: Tensor, embeddings: Tensor, placeholder: int) -> Pointables:
        """Return what a sequence shows: an index token stands right before its region's placeholder.

        Args:
            ids: (T,) token ids.
            embeddings: (T, D) input embeddings, with regions in place.
            placeholder: token id of the placeholders.

        Raises:
            ValueError: a placeholder has no index token, so its region could not be named.
        """
        places = (ids == placeholder).nonzero().flatten()
        if len(places) and not places[0]:
            raise ValueError(
                "a region placeholder stands first; put the index token of its region before it"
            )
        tokens = ids[places - 1]
        earlier = torch.ones(len(tokens), len(tokens), dtype=torch.bool).tril(-1)
        again = (tokens[:, None] == tokens) & earlier.to(tokens.device)
        first = ~again.any(1)  # a region may be shown again where a question names it
        shown = embeddings[places[first].to(embeddings.device)].float()
        # Region embeddings differ in size from model to model; without a norm biases could drown them.
        keys = self.key(F.layer_norm(shown, shown.shape[-1:]))
        return Pointables(tokens[first], F.normalize(keys, dim=-1))

    @in_float32
    def forward(self, states: Tensor, pointables: Pointables) -> Tensor:
        """Return (..., N) float32: the second term of each index token's logit.

        Args:
            states: (..., D) last hidden states.
            pointables: of the row that they are of.
        """
        return self.scale * self.query(states.float()) @ pointables.keys.to(states.device).T

    def add(self, logits: Tensor, states: Tensor, pointables: Pointables) -> Tensor:
        """Return (..., V) float32 logits with that term.

        Args:
            logits: (..., V) of the vocabulary head.
            states: as in `forward`.
            pointables: as in `forward`.
        """
        found = self(states, pointables).to(logits.device)
        return logits.float().index_add(-1, pointables.tokens.to(logits.device), found)


class PointingHead(nn.Module):
    """A vocabulary head that points as well.

    Args:
        words: the host's own head.
        pointer: of the model.
        pointables: one per row. Rows that are several times as many belong to them in turn, as in a beam search.
    """

    def __init__(self, words: nn.Module, pointer: Pointer, pointables: Sequence[Pointables]):
        super().__init__()
        self.words = words
        self.pointer = pointer
        self.pointables = tuple(pointables)

    def forward(self, states: Tensor) -> Tensor:
        """Return (B, S, V) float32 logits of (B, S, D) states.

        Raises:
            ValueError: rows are not so many times as many as there are pointables.
        """
        each, left = divmod(len(states), len(self.pointables))
        if left or not each:
            raise ValueError(
                f"got {len(states)} rows, but what {len(self.pointables)} can point at"
            )
        logits = self.words(states)
        rows = [
            self.pointer.add(own, seen, self.pointables[row // each])
            for row, (own, seen) in enumerate(zip(logits, states, strict=True))
        ]
        return torch.stack(rows)


def pointing_host(vlm: Any, pointer: Pointer, pointables: Sequence[Pointables]) -> Any:
    """Return the host with another head."""
    shared = copy_host(vlm)
    shared.set_output_embeddings(PointingHead(vlm.get_output_embeddings(), pointer, pointables))
    return shared
