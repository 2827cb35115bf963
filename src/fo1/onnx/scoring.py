"""The language model and the score head as one graph: regions and queries to probabilities.

The sequence is built inside: opening, picture, regions, then a branch per query that sees those and itself.

Legend: N regions, K queries, T tokens of all branches, I image tokens, P prefix tokens, D language width,
E evidence classes of all sources.
"""

from dataclasses import dataclass

import torch
from onnx import ModelProto, TensorProto
from torch import Tensor, nn
from torch.export import Dim

from fo1.layout import scene_prefix
from fo1.models import FO1ForConditionalGeneration, FO1Processor
from fo1.models.families import TRACINGS
from fo1.models.scoring import (
    branch_mask,
    join_evidence,
)
from fo1.onnx.evidence import evidence_chance, match_evidence
from fo1.onnx.graphs import Assembly, trace
from fo1.tags import GROUND_CLOSE, GROUND_OPEN, OBJECTS_OPEN


@dataclass(frozen=True, slots=True)
class PrefixTokens:
    """Token ids of a scene's prefix.

    Attributes:
        opening: before the picture.
        between: between the picture and the first region.
        regions: the index token of each region that a sequence may show.
        closing: behind the last region.
    """

    opening: tuple[int, ...]
    between: tuple[int, ...]
    regions: tuple[int, ...]
    closing: tuple[int, ...]

    @classmethod
    def of(cls, model: FO1ForConditionalGeneration, processor: FO1Processor) -> "PrefixTokens":
        """Return those of a model; regions are written as an index token and a placeholder each."""
        count, placeholder = model.config.num_region_tokens, model.config.region_placeholder_id
        ids = processor.token_ids(scene_prefix(count), [processor.image_token])
        image = ids.index(model.family.image_token_id(model.vlm.config))
        first, last = ids.index(placeholder), len(ids) - 1 - ids[::-1].index(placeholder)
        placed = ids[first - 1 : last + 1]
        assert placed[1::2] == [placeholder] * count
        return cls(
            tuple(ids[:image]),
            tuple(ids[image + 1 : first - 1]),
            tuple(placed[::2]),
            tuple(ids[last + 1 :]),
        )


class ScoreGraph(nn.Module):
    """Probabilities that regions are meant by queries, joined with what the frozen encoders see.

    Args:
        model: with a score head and evidence, on a host that can be traced.
        processor: made for this model.
    """

    def __init__(self, model: FO1ForConditionalGeneration, processor: FO1Processor) -> None:
        super().__init__()
        self.model = model
        self.tracing = TRACINGS[model.config.vlm_config.model_type]
        self.tokens = PrefixTokens.of(model, processor)
        markup = [GROUND_OPEN, GROUND_CLOSE, OBJECTS_OPEN]
        self.markup: list[int] = processor.tokenizer.convert_tokens_to_ids(markup)
        light = model.region_encoder.auxiliary
        self.widths, self.tells = light.evidence_widths, light.familiarity is not None
        config = model.config.score_config
        self.gains = config.evidence_gains or [1.0] * len(config.evidence_sources)

    def forward(
        self,
        image_tokens: Tensor,
        image_grid: Tensor,
        regions: Tensor,
        evidence: Tensor,
        branch_ids: Tensor,
        branch_owner: Tensor,
        classes: Tensor,
        is_name: Tensor,
    ) -> Tensor:
        """Return (N, K) probabilities.

        Args:
            image_tokens: (I, D).
            image_grid: (2,) their rows and columns.
            regions: (N, D) embeddings, N at most the number of index tokens.
            evidence: (N, E) class probabilities, and familiarity behind them where the encoder tells it.
            branch_ids: (T,) token ids of the queries' branches, end to end.
            branch_owner: (T,) query of each token, counted from 0.
            classes: (K, E) 1 where a query names a class, else 0.
            is_name: (K,) whether a query is a bare name.
        """
        head = self.model.score_head
        assert head is not None
        familiar = evidence[:, -1] if self.tells else None
        evidence = evidence[:, : sum(self.widths)]
        embed = self.model.get_input_embeddings()
        words = embed(branch_ids)
        prefix, image_positions, first_text = self._prefix(image_tokens, image_grid, regions)
        length = prefix.shape[0]
        start, own = len(self.tokens.opening), branch_owner
        # (T, T) whether a token belongs to the branch of another; its place is how many stand before it
        same = own[:, None] == own[None, :]
        steps = same.tril(-1).sum(1)
        text = length - start - image_tokens.shape[0]
        behind = first_text + torch.arange(text)
        positions = torch.cat(
            [
                torch.arange(start).expand(image_positions.shape[0], -1),
                image_positions,
                torch.cat([behind, first_text + text + steps]).expand(image_positions.shape[0], -1),
            ],
            dim=1,
        )
        seen = branch_mask(torch.ones(1, length, dtype=torch.long), own[None])
        states = self.model.vlm.get_decoder()(
            inputs_embeds=torch.cat([prefix, words])[None],
            attention_mask=seen,
            position_ids=positions[:, None],
            use_cache=False,
        ).last_hidden_state[0]
        closing = len(self.tokens.closing)
        first_region = length - closing - 2 * regions.shape[0]
        region_states = states[first_region : length - closing].unflatten(0, (-1, 2))[:, 1]
        query_states, query_words = self._read(states[length:], words, branch_ids, own, classes)
        match = head(
            region_states,
            regions,
            query_states,
            query_words,
            match_evidence(evidence, classes, self.widths),
        )
        chance = evidence_chance(evidence, classes, self.widths, self.gains)
        return join_evidence(match.sigmoid(), *chance, is_name, familiar)

    def _prefix(
        self, image_tokens: Tensor, grid: Tensor, regions: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return embeddings (P, D), positions of the picture, and the position of what follows it."""
        embed, tokens = self.model.get_input_embeddings(), self.tokens
        opening, between, index, closing = (
            embed(torch.tensor(ids))
            for ids in (tokens.opening, tokens.between, tokens.regions, tokens.closing)
        )
        placed = torch.stack([index[: regions.shape[0]], regions], dim=1).flatten(0, 1)
        positions, following = self.tracing.image_positions(
            grid, len(tokens.opening), image_tokens.shape[0]
        )
        return torch.cat([opening, image_tokens, between, placed, closing]), positions, following

    def _read(
        self, states: Tensor, embeddings: Tensor, ids: Tensor, owner: Tensor, classes: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return (K, D) twice: states at the branch ends, and the mean embedding of each query's words."""
        mine = torch.arange(classes.shape[0])[:, None] == owner[None, :]  # (K, T)
        after = torch.cat([owner[1:], owner.new_full((1,), -1)])
        ends = (mine & (owner != after)[None]).float() @ states
        is_word = torch.ones_like(ids, dtype=torch.bool)
        for token in self.markup:
            is_word = is_word & (ids != token)
        words = (mine & is_word[None]).float()
        return ends, (words @ embeddings) / words.sum(1, keepdim=True).clamp(min=1.0)


def scoring(model: FO1ForConditionalGeneration, processor: FO1Processor) -> ModelProto:
    """Return the graph of `ScoreGraph`, whose inputs carry the names of its arguments.

    Args:
        model: with a score head and evidence, on a host that can be traced.
        processor: made for this model.
    """
    module = ScoreGraph(model, processor)
    width, classes = model.config.get_text_config().hidden_size, sum(module.widths)
    tokens, regions, queries, length = 6, 4, 2, 9
    example = {
        "image_tokens": torch.rand(tokens, width),
        "image_grid": torch.tensor([2, 3]),
        "regions": torch.rand(regions, width),
        "evidence": torch.rand(regions, classes + module.tells),
        "branch_ids": torch.arange(length),
        "branch_owner": torch.tensor([0] * 4 + [1] * 5),
        "classes": torch.zeros(queries, classes),
        "is_name": torch.tensor([True, False]),
    }
    axes = {
        "image_tokens": "tokens",
        "regions": "regions",
        "evidence": "regions",
        "branch_ids": "length",
        "branch_owner": "length",
        "classes": "queries",
        "is_name": "queries",
    }
    dims = {name: Dim(name) for name in dict.fromkeys(axes.values())}
    dynamic = {name: {0: dims[axis]} for name, axis in axes.items()}
    part = trace(module, example, ["probabilities"], dynamic)
    kinds = {"image_grid": TensorProto.INT64, "is_name": TensorProto.BOOL}
    kinds |= dict.fromkeys(("branch_ids", "branch_owner"), TensorProto.INT64)
    inputs: dict[str, tuple[int, list[int | str]]] = {
        name: (
            kinds.get(name, TensorProto.FLOAT),
            [axes[name], *value.shape[1:]] if name in axes else list(value.shape),
        )
        for name, value in example.items()
    }
    graph = Assembly("score", inputs)
    (found,) = graph.add(part, *inputs)
    return graph.model(
        {"probabilities": (found, TensorProto.FLOAT, ("regions", "queries"))},
        about="regions of a picture and queries to the probability that a query means a region",
    )
