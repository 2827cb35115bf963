"""Greedy decoding of several rows side by side, each under a grammar of its own.

    prompt --host--> logits --grammar--> a chosen token and what must follow it --host--> logits ...

What a grammar forces is fed together with the token before it, so it costs no pass. Positions are
explicit at every step: the host keeps those of its last call, and threads share it.

Legend: B rows, T prompt tokens, V vocabulary.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from fo1.grammar import Allowed, Grammar, State
from fo1.models.encoding import PictureEncoding, RegionEmbeddings
from fo1.models.modeling import FO1ForConditionalGeneration
from fo1.models.prefix import Prefix

UNBOUND = Allowed(frozenset(), only=False)


@dataclass(frozen=True, slots=True)
class Written:
    """What the model wrote in one row.

    Attributes:
        tokens: new tokens, with the one that ended the answer.
        logprobs: log probability of each under the model's own distribution, 0 where the grammar left no choice.
        finished: False when the answer was cut at the limit.
    """

    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    finished: bool


@dataclass(slots=True)
class _Row:
    """An answer in the making."""

    number: int
    grammar: Grammar | None
    state: State | None
    position: int  # where the next token stands
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    new: list[int] = field(default_factory=list)  # not fed yet

    def allowed(self) -> Allowed:
        return self.grammar.allowed(self.state) if self.grammar and self.state else UNBOUND

    def write(self, token: int, logprob: float) -> None:
        """Append a chosen token and all that must follow it."""
        self.new = [token]
        if self.grammar and self.state:
            self.state = self.grammar.advance(self.state, token)
            for forced in self.grammar.forced(self.state):
                self.state = self.grammar.advance(self.state, forced)
                self.new.append(forced)
        self.tokens += self.new
        self.logprobs += [logprob] + [0.0] * (len(self.new) - 1)


@torch.no_grad()
def decode(
    model: FO1ForConditionalGeneration,
    input_ids: Tensor,
    attention_mask: Tensor,
    grammars: Sequence[Grammar | None],
    *,
    max_new_tokens: int,
    ends: Collection[int],
    pad: int,
    encoding: PictureEncoding | None = None,
    regions: RegionEmbeddings | None = None,
    region_index: Tensor | None = None,
    prefix: Prefix | None = None,
    **inputs: Any,
) -> list[Written]:
    """Return what the model writes behind each prompt; without grammars that of greedy `generate`.

    The repetition penalty is that of the model's generation settings; other settings have no effect.

    Args:
        model: in evaluation mode.
        input_ids: (B, T), left-padded.
        attention_mask: (B, T).
        grammars: one per row, None for a row that may hold anything.
        max_new_tokens: longer answers are cut.
        ends: tokens that end an answer.
        pad: any token; it fills rows that go on with fewer tokens than others.
        encoding: as in the model's `forward`.
        regions: as in `forward`.
        region_index: as in `forward`.
        prefix: what stands before all prompts, which are its continuations then; unchanged.
        inputs: as in `forward`.

    Raises:
        ValueError: grammars and rows differ in number, a grammar ends otherwise, or the limit is below 1.
    """
    _check(input_ids, grammars, max_new_tokens, ends)
    device = input_ids.device
    if prefix is None:
        cache = DynamicCache(config=model.config.get_text_config(decoder=True))
        host = model.host_inputs(
            input_ids, attention_mask, None, encoding, regions, region_index, inputs
        )
    else:
        cache = prefix.fork(len(input_ids))
        host = model.prefix_inputs(prefix, input_ids, attention_mask, regions, region_index)
    # Padding was not written, so no penalty is due to it.
    seen = torch.where(attention_mask > 0, input_ids, input_ids[:, -1:])
    if prefix is not None:
        seen = torch.cat([prefix.ids.expand(len(seen), -1), seen], dim=1)
    mask, positions = host["attention_mask"], host["position_ids"]
    axes = tuple(positions.shape[:-2])  # a family may count along several
    # What is padding stands at the first position, so the last one is the largest.
    starts = positions.masked_fill(attention_mask == 0, 0).reshape(-1, *input_ids.shape)
    starts = starts.amax(dim=(0, 2)) + 1
    live = [
        _Row(number, grammar, grammar and grammar.start(), start)
        for number, (grammar, start) in enumerate(zip(grammars, starts.tolist(), strict=True))
    ]
    written: dict[int, Written] = {}
    penalty = model.generation_config.repetition_penalty or 1.0
    step: dict[str, Any] = {**host, **inputs}
    while True:
        output = model.vlm(**step, past_key_values=cache, use_cache=True, logits_to_keep=1)
        logits = output.logits[:, -1].float()
        _choose(live, logits, seen, penalty)
        kept: list[int] = []
        for place, row in enumerate(live):
            finished = row.tokens[-1] in ends
            if finished or len(row.tokens) >= max_new_tokens:
                cut = slice(max_new_tokens)
                written[row.number] = Written(
                    tuple(row.tokens[cut]), tuple(row.logprobs[cut]), finished
                )
            else:
                kept.append(place)
        if not kept:
            return [written[number] for number in range(len(grammars))]
        if len(kept) < len(live):
            chosen = torch.tensor(kept)  # on the CPU, since layers may lie on several devices
            cache.batch_select_indices(chosen)
            mask, seen = mask[chosen], seen[chosen]
            live = [live[place] for place in kept]
        ids, fresh, positions = (part.to(device) for part in _next(live, pad))
        mask = torch.cat([mask, fresh.to(mask.dtype)], dim=1)
        seen = torch.cat([seen, torch.where(fresh > 0, ids, seen[:, -1:])], dim=1)
        step = {
            **inputs,
            "input_ids": ids,
            "attention_mask": mask,
            "position_ids": positions.expand(*axes, *positions.shape),
        }


def _choose(live: Sequence[_Row], logits: Tensor, seen: Tensor, penalty: float) -> None:
    """Let every row write the best token that it may; `logits` are (B, V) float32, `seen` (B, S) tokens."""
    scores = logits.clone()
    if penalty != 1.0:
        # Source: CTRL, arXiv 1909.05858, section 4.1, with the sign rule of the host's library.
        seen = seen.to(scores.device)
        told = scores.gather(1, seen)
        scores.scatter_(1, seen, torch.where(told < 0, told * penalty, told / penalty))
    for place, row in enumerate(live):
        allowed = row.allowed()
        ids = torch.tensor(sorted(allowed.ids), dtype=torch.long, device=scores.device)
        if allowed.only:
            best = scores[place, ids]
            scores[place] = -torch.inf
            scores[place, ids] = best
        else:
            scores[place, ids] = -torch.inf
    tokens = scores.argmax(-1, keepdim=True)
    logprobs = logits.log_softmax(-1).gather(1, tokens)
    pairs = zip(live, tokens[:, 0].tolist(), logprobs[:, 0].tolist(), strict=True)
    for row, token, logprob in pairs:
        row.write(token, logprob)


def _next(live: Sequence[_Row], pad: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return ids, mask and positions (B, S) of the tokens not fed yet, padded on the left."""
    width = max(len(row.new) for row in live)
    ids: list[list[int]] = []
    mask: list[list[int]] = []
    positions: list[list[int]] = []
    for row in live:
        filling = width - len(row.new)
        ids.append([pad] * filling + row.new)
        mask.append([0] * filling + [1] * len(row.new))
        end = row.position + len(row.new)
        positions.append([row.position] * filling + list(range(row.position, end)))
        row.position = end
    return torch.tensor(ids), torch.tensor(mask), torch.tensor(positions)


def _check(
    input_ids: Tensor,
    grammars: Sequence[Grammar | None],
    max_new_tokens: int,
    ends: Collection[int],
) -> None:
    if len(grammars) != len(input_ids):
        raise ValueError(f"got {len(grammars)} grammars for {len(input_ids)} rows; give one each")
    if max_new_tokens < 1:
        raise ValueError(f"max_new_tokens is {max_new_tokens}, need at least 1")
    for grammar in grammars:
        if grammar and not grammar.markup.ends <= set(ends):
            raise ValueError(
                f"a grammar ends with {sorted(grammar.markup.ends)}, but decoding with {sorted(ends)}; "
                "pass the grammar's own"
            )
