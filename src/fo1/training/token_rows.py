"""New rows of a vocabulary that learn while all others stay as they are, bit for bit.

    ids --embedding--> rows of old tokens as they are, rows of new tokens from here
    states --vocabulary head--> logits of old tokens as they are, those of new tokens from here

Training the whole matrix with masked gradients would cost an optimiser state for every token of the vocabulary.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fo1.models.modeling import FO1ForConditionalGeneration


class TokenRows(nn.Module):
    """The rows of some tokens of a model, apart from its matrices.

    Args:
        model: whose rows are taken over; they are used in their place from now on.
        tokens: ids of the tokens.
    """

    def __init__(self, model: FO1ForConditionalGeneration, tokens: Sequence[int]):
        super().__init__()
        table, head = model.get_input_embeddings(), model.get_output_embeddings()
        self.tokens: Tensor
        self.register_buffer("tokens", torch.tensor(sorted(tokens)), persistent=False)
        self.read = nn.Parameter(_rows(table, self.tokens))
        tied = head.weight is table.weight
        self.write = None if tied else nn.Parameter(_rows(head, self.tokens))
        self._hooks = [
            table.register_forward_hook(self._embed),
            head.register_forward_hook(self._project),
        ]

    def _embed(self, _module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        ids = inputs[0]
        tokens = self.tokens.to(ids.device)
        place = torch.searchsorted(tokens, ids).clamp(max=len(tokens) - 1)
        mine = tokens[place] == ids
        return torch.where(mine[..., None], self.read[place].to(output.dtype), output)

    def _project(self, _module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        states = inputs[0]
        rows = self.read if self.write is None else self.write
        own = states @ rows.to(states.dtype).T
        return output.index_copy(-1, self.tokens.to(output.device), own.to(output.dtype))

    @torch.no_grad()
    def merge_into(self, model: FO1ForConditionalGeneration) -> None:
        """Write the rows where they belong and be used no longer."""
        for hook in self._hooks:
            hook.remove()
        _write(model.get_input_embeddings(), self.tokens, self.read)
        if self.write is not None:
            _write(model.get_output_embeddings(), self.tokens, self.write)


def attach(model: FO1ForConditionalGeneration, tokens: Sequence[int]) -> None:
    """Give a model rows of its own for some tokens; they are its submodule `token_rows`."""
    model.add_module("token_rows", TokenRows(model, tokens))


def detach(model: FO1ForConditionalGeneration) -> None:
    """Write a model's own rows into its matrices, if it has any."""
    rows = getattr(model, "token_rows", None)
    if isinstance(rows, TokenRows):
        rows.merge_into(model)
        del model.token_rows


def _rows(module: Any, tokens: Tensor) -> Tensor:
    return module.weight.detach()[tokens.to(module.weight.device)].clone().float()


def _write(module: Any, tokens: Tensor, rows: Tensor) -> None:
    module.weight[tokens.to(module.weight.device)] = rows.to(module.weight)
