"""Greedy decoding of several rows side by side, each under a grammar of its own.

    prompt --host--> logits --grammar--> a chosen token and what must follow it --host--> logits ...

What a grammar forces is fed together with the token before it, so it costs no pass; so is a draft of what may come
next, of which the part is kept that the model would have written. What was fed in vain stays in the cache, hidden.
Positions are explicit at every step: the host keeps those of its last call, and threads share it.

Legend: B rows, T prompt tokens, V vocabulary.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from fo1.grammar import Allowed, Grammar, State
from fo1.models.drafting import Drafter
from fo1.models.encoding import PictureEncoding, RegionEmbeddings
from fo1.models.modeling import FO1ForConditionalGeneration
from fo1.models.prefix import Prefix, continued_inputs

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
    drafter: Drafter | None
    position: int  # where the next token stands
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    new: list[int] = field(default_factory=list)  # not fed yet
    draft: list[int] = field(default_factory=list)  # what may follow them

    def allowed(self) -> Allowed:
        return self.grammar.allowed(self.state) if self.grammar and self.state else UNBOUND

    def write(self, token: int, logprob: float) -> list[int]:
        """Append a chosen token and all that must follow it; return what was appended."""
        run = [token]
        if self.grammar and self.state:
            self.state = self.grammar.advance(self.state, token)
            for forced in self.grammar.forced(self.state):
                self.state = self.grammar.advance(self.state, forced)
                run.append(forced)
        self.tokens += run
        self.logprobs += [logprob] + [0.0] * (len(run) - 1)
        return run

    def plan(self) -> None:
        """Draft what may follow."""
        self.draft = []
        if self.drafter and self.state:
            self.draft = self.drafter.draft(self.tokens, self.state)


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
    drafters: Sequence[Drafter | None] | None = None,
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
        drafters: one per row, for fewer passes; None for a token and what it forces a pass. They change no answer,
            and are not asked where the host's layers cannot hide what was fed in vain.
        inputs: as in `forward`.

    Raises:
        ValueError: grammars or drafters and rows differ in number, a grammar ends otherwise, the limit is below 1, or
            there are several rows for a host whose layers carry a state from token to token.
    """
    _check(input_ids, grammars, drafters, max_new_tokens, ends)
    if model.recurrent and len(input_ids) > 1:
        # Shorter rows are padded in their middle, which a layer with a state would read.
        raise ValueError(
            f"got {len(input_ids)} rows, but layers of this host carry a state; give one row"
        )
    device = input_ids.device
    if prefix is None:
        cache = DynamicCache(config=model.config.get_text_config(decoder=True))
        host = model.host_inputs(
            input_ids, attention_mask, None, encoding, regions, region_index, inputs
        )
    else:
        cache = prefix.fork(len(input_ids))
        host = continued_inputs(model, prefix, input_ids, attention_mask, regions, region_index)
    pointables = model.pointables(input_ids, host["inputs_embeds"])
    if pointables and prefix is not None and prefix.pointables is not None:
        pointables = [prefix.pointables.join(own) for own in pointables]
    vlm = model.pointing(pointables)
    penalty = model.generation_config.repetition_penalty or 1.0
    seen = None
    if penalty != 1.0:
        # Padding was not written, so no penalty is due to it.
        told = torch.where(attention_mask > 0, input_ids, input_ids[:, -1:])
        if prefix is not None:
            told = torch.cat([prefix.ids.expand(len(told), -1), told], dim=1)
        words: Any = model.get_output_embeddings()
        seen = torch.zeros(len(told), len(words.weight), dtype=torch.bool, device=device)
        seen = seen.scatter(1, told.to(device), True)
    mask, positions = host["attention_mask"], host["position_ids"]
    axes = tuple(positions.shape[:-2])  # a family may count along several
    # What is padding stands at the first position, so the last one is the largest.
    starts = positions.masked_fill(attention_mask == 0, 0).reshape(-1, *input_ids.shape)
    starts = starts.amax(dim=(0, 2)) + 1
    if drafters is None or not all(type(layer) is DynamicLayer for layer in cache.layers):
        drafters = [None] * len(grammars)
    live = [
        _Row(number, grammar, grammar and grammar.start(), drafter, start)
        for number, (grammar, drafter, start) in enumerate(
            zip(grammars, drafters, starts.tolist(), strict=True)
        )
    ]
    written: dict[int, Written] = {}
    step: dict[str, Any] = {**host, **inputs}
    while True:
        most = max(len(row.draft) for row in live) + 1
        output = vlm(**step, past_key_values=cache, use_cache=True, logits_to_keep=most)
        kept: list[int] = []
        for place, row in enumerate(live):
            own = slice(output.logits.shape[1] - len(row.draft) - 1, None)
            told = None if seen is None else seen[place]
            vain = _read(
                row, output.logits[place, own].float(), told, penalty, max_new_tokens, ends
            )
            mask[place, mask.shape[1] - vain :] = 0
            finished = row.tokens[-1] in ends
            if finished or len(row.tokens) >= max_new_tokens:
                cut = slice(max_new_tokens)
                written[row.number] = Written(
                    tuple(row.tokens[cut]), tuple(row.logprobs[cut]), finished
                )
            else:
                row.plan()
                kept.append(place)
        if not kept:
            return [written[number] for number in range(len(grammars))]
        if len(kept) < len(live):
            chosen = torch.tensor(kept)  # on the CPU, since layers may lie on several devices
            cache.batch_select_indices(chosen)
            mask, seen = mask[chosen], None if seen is None else seen[chosen]
            live = [live[place] for place in kept]
            pointables = pointables and [pointables[place] for place in kept]
            vlm = model.pointing(pointables)
        ids, fresh, positions = (part.to(device) for part in _next(live, pad))
        mask = torch.cat([mask, fresh.to(mask.dtype)], dim=1)
        step = {
            **inputs,
            "input_ids": ids,
            "attention_mask": mask,
            "position_ids": positions.expand(*axes, *positions.shape),
        }


def _read(
    row: _Row,
    logits: Tensor,
    seen: Tensor | None,
    penalty: float,
    most: int,
    ends: Collection[int],
) -> int:
    """Let a row write the best tokens that it may, as far as its draft holds; return how much of that was fed in vain.

    Args:
        row: whose draft was fed.
        logits: (S, V) float32 behind what was sure, then behind each drafted token.
        seen: (V,) bool, tokens to which the penalty is due; brought up to date.
        penalty: on what is there already.
        most: tokens of an answer.
        ends: tokens that end it.
    """
    draft = row.draft
    if row.drafter:
        row.drafter.observe([*row.tokens, *draft], logits)
    held = 0  # drafted tokens that turned out right
    while True:
        token, logprob = _choose(row.allowed(), logits[held], seen, penalty)
        run = row.write(token, logprob)
        if seen is not None:
            seen[run] = True
        same = 0
        while same < len(run) and draft[held + same : held + same + 1] == [run[same]]:
            same += 1
        held += same
        row.new = run[same:]
        if row.new or row.tokens[-1] in ends or len(row.tokens) >= most:
            if row.drafter and draft:
                row.drafter.judge(held)
            row.position -= len(draft) - held
            return len(draft) - held


def _choose(
    allowed: Allowed, logits: Tensor, seen: Tensor | None, penalty: float
) -> tuple[int, float]:
    """Return the best token that is allowed and its log probability; `logits` are (V,) float32."""
    scores = logits
    if seen is not None:
        # Source: CTRL, arXiv 1909.05858, section 4.1, with the sign rule of the host's library.
        again = torch.where(logits < 0, logits * penalty, logits / penalty)
        scores = torch.where(seen.to(logits.device), again, logits)
    ids = torch.tensor(sorted(allowed.ids), dtype=torch.long, device=logits.device)
    if allowed.only:
        token = int(ids[scores[ids].argmax()])
    else:
        token = int(scores.index_fill(0, ids, -torch.inf).argmax())
    return token, float(logits.log_softmax(-1)[token])


def _next(live: Sequence[_Row], pad: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return ids, mask and positions (B, S) of the tokens not fed yet, padded on the left."""
    width = max(len(row.new) + len(row.draft) for row in live)
    ids: list[list[int]] = []
    mask: list[list[int]] = []
    positions: list[list[int]] = []
    for row in live:
        fed = [*row.new, *row.draft]
        filling = width - len(fed)
        ids.append([pad] * filling + fed)
        mask.append([0] * filling + [1] * len(fed))
        end = row.position + len(fed)
        positions.append([row.position] * filling + list(range(row.position, end)))
        row.position = end
    return torch.tensor(ids), torch.tensor(mask), torch.tensor(positions)


def _check(
    input_ids: Tensor,
    grammars: Sequence[Grammar | None],
    drafters: Sequence[Drafter | None] | None,
    max_new_tokens: int,
    ends: Collection[int],
) -> None:
    for what, given in (("grammars", grammars), ("drafters", drafters)):
        if given is not None and len(given) != len(input_ids):
            raise ValueError(f"got {len(given)} {what} for {len(input_ids)} rows; give one each")
    if max_new_tokens < 1:
        raise ValueError(f"max_new_tokens is {max_new_tokens}, need at least 1")
    for grammar in grammars:
        if grammar and not grammar.markup.ends <= set(ends):
            raise ValueError(
                f"a grammar ends with {sorted(grammar.markup.ends)}, but decoding with {sorted(ends)}; "
                "pass the grammar's own"
            )
