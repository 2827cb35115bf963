"""Prefix: pictures and regions as the language model left them, so that each question costs its own tokens alone.

    prompt up to the question --host once--> Prefix --fork--> cache of one question --host--> its own tokens

A prefix is never written to: whoever continues it works on a fork, which shares its tensors. Positions are explicit,
since hosts keep those of their last call.

Branches behind a prefix share one pass under a mask. Layers with linear attention know no mask: there every branch is a
row of its own behind its own fork, rows of equal length together, so that nothing is padded.

Legend: B rows, P tokens of the prefix, N regions placed in it, T tokens behind it, D language width.
"""

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from fo1.models.encoding import PictureEncoding, RegionEmbeddings
from fo1.models.pointing import Pointables
from fo1.models.scoring import Branches, branch_mask

if TYPE_CHECKING:
    from fo1.models.modeling import FO1ForConditionalGeneration


@dataclass(frozen=True, eq=False)
class Prefix:
    """What one sequence left behind.

    Attributes:
        ids: (P,) its tokens.
        region_states: (N, D) last hidden states at its region placeholders, in order.
        cache: keys and values of every layer, or its state.
        axes: along which the family counts positions, without rows and tokens.
        next_position: where what continues it stands first.
        pointables: what index tokens behind it point at; None for a model without a pointer.
    """

    ids: Tensor
    region_states: Tensor
    cache: Any
    axes: tuple[int, ...]
    next_position: int
    pointables: Pointables | None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def num_bytes(self) -> int:
        """Memory that it takes."""
        tensors = [self.ids, self.region_states]
        tensors += [self.pointables.tokens, self.pointables.keys] if self.pointables else []
        for layer in self.cache.layers:
            for value in vars(layer).values():
                values = value.values() if isinstance(value, dict) else [value]
                tensors += [one for one in values if isinstance(one, Tensor)]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    def fork(self, rows: int = 1) -> DynamicCache:
        """Return a cache that may be written to, for several rows that all continue this prefix."""
        cache = copy.copy(self.cache)
        # Plain layers replace their tensors when they grow; others may write into them.
        cache.layers = [
            copy.copy(layer) if type(layer) is DynamicLayer else _clone(layer)
            for layer in self.cache.layers
        ]
        for layer in cache.layers if rows > 1 else ():
            if hasattr(layer, "conv_states"):
                _repeat_states(layer, rows)
            if isinstance(layer, DynamicLayer):
                layer.batch_repeat_interleave(rows)
        return cache

    def positions(self, steps: Tensor) -> Tensor:
        """Return positions (..., B, T) of tokens that stand some steps (B, T) behind the prefix."""
        return (self.next_position + steps).expand(*self.axes, *steps.shape)


@torch.no_grad()
def read_prefix(
    model: "FO1ForConditionalGeneration",
    prefix_ids: Tensor,
    encoding: PictureEncoding | None = None,
    regions: RegionEmbeddings | None = None,
    region_index: Tensor | None = None,
    before: Prefix | None = None,
    **inputs: Any,
) -> Prefix:
    """Return what the language model makes of pictures and regions, for any number of questions to continue.

    No gradient passes it.

    Args:
        model: reads it.
        prefix_ids: (1, P).
        encoding: as in the model's `forward`.
        regions: as in `forward`.
        region_index: as in `forward`.
        before: a prefix without regions that this one goes on from; it holds the pictures then.
        inputs: as in `forward`.

    Raises:
        ValueError: layers of the host would not see all of it, or the prefix before has regions.
    """
    if before is not None and len(before.region_states):
        raise ValueError(
            f"the prefix before has {len(before.region_states)} regions, which would be forgotten; "
            "read pictures first and all regions behind them"
        )
    model.check_attention(prefix_ids.shape[1] + (len(before) if before else 0))
    if before is None:
        cache = DynamicCache(config=model.config.get_text_config(decoder=True))
        host = model.host_inputs(prefix_ids, None, None, encoding, regions, region_index, inputs)
        ids = prefix_ids[0]
    else:
        cache = before.fork()
        ids = torch.cat([before.ids, prefix_ids[0]])
        mask = torch.ones_like(prefix_ids)
        host = continued_inputs(model, before, prefix_ids, mask, regions, region_index)
    output = model.vlm.base_model(**host, past_key_values=cache, use_cache=True)
    states, positions = output.last_hidden_state, host["position_ids"]
    pointables = model.pointables(prefix_ids, host["inputs_embeds"])
    placed = prefix_ids[0] == model.config.region_placeholder_id
    return Prefix(
        ids=ids,
        region_states=states[0, placed.to(states.device)],
        cache=cache,
        axes=tuple(positions.shape[:-2]),
        next_position=int(positions.amax()) + 1,
        pointables=pointables[0] if pointables else None,
    )


def continued_inputs(
    model: "FO1ForConditionalGeneration",
    prefix: Prefix,
    input_ids: Tensor,
    attention_mask: Tensor,
    regions: RegionEmbeddings | None = None,
    region_index: Tensor | None = None,
) -> dict[str, Any]:
    """Return what the host's forward takes of rows that go on behind a prefix, besides a fork of its cache.

    Args:
        model: reads them.
        prefix: what stands before every row.
        input_ids: (B, T), left-padded.
        attention_mask: (B, T).
        regions: as in the model's `forward`, of the placeholders in these rows.
        region_index: as in `forward`.
    """
    before = torch.ones_like(prefix.ids).expand(len(input_ids), -1)
    return {
        "inputs_embeds": model.fuse(input_ids, regions, region_index),
        "attention_mask": torch.cat([before, attention_mask], dim=1),
        "position_ids": prefix.positions((attention_mask.cumsum(-1) - 1).clamp(min=0)),
    }


@torch.no_grad()
def continue_prefix(
    model: "FO1ForConditionalGeneration", prefix: Prefix, branches: Branches
) -> tuple[Tensor, Tensor]:
    """Return last hidden states and input embeddings (1, T, D) of branches behind a prefix.

    Equal to those of one run per branch, up to rounding. No gradient passes it.

    Args:
        model: reads them.
        prefix: as `read_prefix` returned it; unchanged.
        branches: of one row, not padded.

    Raises:
        ValueError: layers of the host would not see all of it.
    """
    model.check_attention(len(prefix) + branches.longest)
    embeddings = model.fuse(branches.ids, None)
    if model.recurrent:
        return _tails(model, prefix, branches, embeddings), embeddings
    seen = torch.ones_like(prefix.ids)[None]
    output = model.vlm.base_model(
        inputs_embeds=embeddings,
        attention_mask=branch_mask(seen, branches.owner)[:, :, len(prefix) :],
        position_ids=prefix.positions(branches.steps()),
        past_key_values=prefix.fork(),
        use_cache=True,
    )
    return output.last_hidden_state, embeddings


def _tails(
    model: "FO1ForConditionalGeneration", prefix: Prefix, branches: Branches, embeddings: Tensor
) -> Tensor:
    """Return the last hidden states (1, T, D) of branches, each behind a fork of its own."""
    owner = branches.owner[0]
    lengths = torch.bincount(owner)
    states = torch.zeros_like(embeddings)
    for length in lengths.unique().tolist():
        chosen = (lengths == length).nonzero().flatten()
        places = torch.stack([(owner == branch).nonzero().flatten() for branch in chosen.tolist()])
        rows = len(chosen)
        steps = torch.arange(length, device=places.device).expand(rows, -1)
        output = model.vlm.base_model(
            inputs_embeds=embeddings[0, places],
            attention_mask=prefix.ids.new_ones(rows, len(prefix) + length),
            position_ids=prefix.positions(steps),
            past_key_values=prefix.fork(rows),
            use_cache=True,
        )
        states[0, places] = output.last_hidden_state
    return states


def _clone(layer: Any) -> Any:
    """Return a layer's copy with tensors of its own."""

    def own(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: own(one) for key, one in value.items()}
        return value.clone() if isinstance(value, Tensor) else value

    clone = copy.copy(layer)
    for name, value in vars(layer).items():
        setattr(clone, name, own(value))
    return clone


def _repeat_states(layer: Any, rows: int) -> None:
    """Give every row the state of the one row that a layer with linear attention has seen."""
    for states in (layer.conv_states, layer.recurrent_states):
        for place, state in states.items():
            states[place] = None if state is None else state.repeat_interleave(rows, dim=0)
