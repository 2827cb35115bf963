"""Score head: which of N regions match each of K queries, in one pass (see docs: one probability per pair).

A query is a branch `<ground>name</ground><objects>` behind the shared prefix (picture and regions).
Every branch sees the prefix and itself, and all branches start at the same position, so the pass
equals K separate ones.

Legend: B scenes, P prefix tokens, K queries, T tokens of all branches together, N regions, D language width,
E evidence classes.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fo1.models.configuration import ScoreHeadConfig
from fo1.models.packing import run_steps
from fo1.models.precision import KeepsPrecision, in_float32

LEAST_EVIDENCE = 0.003  # a class that the encoder does not see at all
KNOWN_DOUBT = 0.5  # what a match alone loses when the encoders know the class but do not see it
MOST_EVIDENCE = 0.98  # frozen encoders are never quite sure
NEUTRAL_EVIDENCE = 0.05  # the probability that speaks neither for nor against


class ScoreHead(KeepsPrecision):
    """Logit of "this region is meant by this query", absence included.

    Three terms: the language model's states of region and query, the region embedding against the query's words
    (which needs no language model and therefore learns first), and, where the auxiliary encoder reads out class
    probabilities, the evidence for the classes that the query names.
    """

    def __init__(self, config: ScoreHeadConfig, hidden_size: int):
        super().__init__()
        self.config = config
        width = config.width
        self.region_state = nn.Linear(hidden_size, width)
        self.query_state = nn.Linear(hidden_size, width)
        self.region_words = nn.Sequential(
            nn.Linear(hidden_size, width), nn.GELU(), nn.Linear(width, width)
        )
        self.query_words = nn.Sequential(
            nn.Linear(hidden_size, width), nn.GELU(), nn.Linear(width, width)
        )
        self.presence = nn.Linear(hidden_size, 1)
        self.state_scale = nn.Parameter(torch.tensor(1.0))
        self.words_scale = nn.Parameter(torch.tensor(8.0))
        self.bias = nn.Parameter(torch.tensor(-4.0))
        sources = len(config.evidence_sources)
        self.evidence_for = nn.Parameter(torch.full((sources,), 0.7))
        self.evidence_against = nn.Parameter(torch.full((sources,), 0.3))

    @in_float32
    def forward(
        self,
        region_states: Tensor,
        region_embeddings: Tensor,
        query_states: Tensor,
        query_words: Tensor,
        evidence: Tensor | None = None,
    ) -> Tensor:
        """Return (N, K) float32 logits.

        Args:
            region_states: (N, D) last hidden states at the region placeholders.
            region_embeddings: (N, D) projected region embeddings.
            query_states: (K, D) last hidden states at the branch ends.
            query_words: (K, D) mean input embedding of each query's tokens.
            evidence: (sources, N, K) from `match_evidence`; None without evidence.
        """
        states = self.region_state(region_states.float()) @ self.query_state(query_states.float()).T
        logits = self.state_scale * states / self.config.width**0.5
        logits = logits + self.presence(query_states.float()).T
        return logits + self.name_logits(region_embeddings, query_words, evidence)

    @in_float32
    def words_logits(self, region_embeddings: Tensor, query_words: Tensor) -> Tensor:
        """Return (N, K): the term that needs no language model, bias included."""
        width = region_embeddings.shape[-1:]
        # Word embeddings are small; without a norm the biases of the first layers would drown them.
        regions = self.region_words(F.layer_norm(region_embeddings.float(), width))
        queries = self.query_words(F.layer_norm(query_words.float(), width))
        regions, queries = F.normalize(regions, dim=-1), F.normalize(queries, dim=-1)
        return self.words_scale * regions @ queries.T + self.bias

    def name_logits(
        self, region_embeddings: Tensor, name_words: Tensor, evidence: Tensor | None = None
    ) -> Tensor:
        """Return (N, M): how well each of M names fits each region; the language model does not run.

        Args:
            region_embeddings: (N, D).
            name_words: (M, D) mean input embedding of each name's tokens.
            evidence: (sources, N, M) from `match_evidence`.
        """
        logits = self.words_logits(region_embeddings, name_words)
        return logits if evidence is None else logits + self.evidence_logits(evidence)

    @in_float32
    def evidence_logits(self, evidence: Tensor) -> Tensor:
        """Return (N, K): the weighted sum over sources of what speaks for and against."""
        favour, against = evidence.clamp(min=0), evidence.clamp(max=0)
        weight = self.evidence_for.clamp(min=0), self.evidence_against.clamp(min=0)
        return (weight[0][:, None, None] * favour + weight[1][:, None, None] * against).sum(0)


def evidence_chance(
    evidence: Sequence[Tensor],
    query_classes: Sequence[Sequence[Sequence[int]]],
    gains: Sequence[float],
) -> tuple[Tensor, Tensor]:
    """Return (N, K) twice: the chance of what a query names, and that of the likeliest other class.

    Both are the frozen encoders' word alone; the second is at least `KNOWN_DOUBT` where
    they know a class for the query and would have to see it.

    Nothing here is trained. The score head learns from drawings and would unlearn what the encoders
    know of photographs, so this is joined to its verdict only when a model answers.

    Args:
        evidence: per source (N, E_s) class probabilities of each region.
        query_classes: per source and query the class indices that the query names.
        gains: per source, see `ScoreHeadConfig`.
    """
    shape = len(evidence[0]), len(query_classes[0])
    missed, rival = evidence[0].new_ones(shape), evidence[0].new_zeros(shape)
    for probabilities, classes, gain in zip(evidence, query_classes, gains, strict=True):
        for column, indices in enumerate(classes):
            others = probabilities
            if len(indices):
                chance = gain * probabilities[:, list(indices)].sum(-1)
                missed[:, column] *= 1 - chance.clamp(0, MOST_EVIDENCE)
                others = probabilities.clone()
                others[:, list(indices)] = 0
            rival[:, column] = rival[:, column].maximum(
                (gain * others.amax(-1)).clamp(0, MOST_EVIDENCE)
            )
    chance = 1 - missed
    # One region shows one thing: a class that stands behind another loses in proportion.
    chance = chance * (chance / rival.clamp(min=1e-6)).clamp(max=1)
    known = torch.tensor([any(len(c[k]) for c in query_classes) for k in range(shape[1])])
    least = known.to(rival.device, rival.dtype) * KNOWN_DOUBT
    return chance, rival.maximum(least.expand(shape))


def join_evidence(
    match: Tensor,
    chance: Tensor,
    rival: Tensor,
    is_name: Tensor,
    familiar: Tensor | None = None,
) -> Tensor:
    """Return (N, K): match probability and evidence as one.

    Where a region looks like those that the score head learned from, its word counts: it learned what evidence
    is worth there. Elsewhere match or evidence is enough for a name (noisy or), and what the encoders take for
    something else counts less as a match. For an expression the evidence speaks for its noun only, so it is
    the geometric mean of the match and of that.

    Args:
        match: (N, K) from the score head.
        chance: (N, K) from `evidence_chance`.
        rival: (N, K) from `evidence_chance`.
        is_name: (K,) whether the query is a bare name.
        familiar: (N,) from `Familiarity`; None where nothing tells.
    """
    own = match * (1 - rival)
    if familiar is not None:
        own = own * familiar[:, None]
    either = 1 - (1 - own) * (1 - chance)
    if familiar is not None:
        either = familiar[:, None] * match + (1 - familiar[:, None]) * either
    return torch.where(is_name, either, (match * either).sqrt())


def match_evidence(
    evidence: Sequence[Tensor], query_classes: Sequence[Sequence[Sequence[int]]]
) -> Tensor:
    """Return (sources, N, K) log-evidence; 0 where a source knows no class for the query.

    Args:
        evidence: per source (N, E_s) class probabilities of each region.
        query_classes: per source and query the class indices that the query names.
    """
    tables = []
    for probabilities, classes in zip(evidence, query_classes, strict=True):
        columns = []
        for indices in classes:
            if not len(indices):
                columns.append(probabilities.new_zeros(len(probabilities)))
                continue
            chance = probabilities[:, list(indices)].sum(-1).clamp(max=1.0)
            columns.append(((chance + LEAST_EVIDENCE) / (NEUTRAL_EVIDENCE + LEAST_EVIDENCE)).log())
        empty = probabilities.new_zeros(len(probabilities), 0)
        tables.append(torch.stack(columns, dim=-1) if columns else empty)
    return torch.stack(tables)


@dataclass(frozen=True, slots=True)
class Branches:
    """Token sequences that continue one prefix independently, laid end to end.

    Attributes:
        ids: (B, T) token ids.
        owner: (B, T) which branch a token belongs to, counted from 0 in each row; -1 is padding, on the right.
        words: (B, T) bool, the tokens that spell out a query, without markup.
    """

    ids: Tensor
    owner: Tensor
    words: Tensor

    @classmethod
    def pack(
        cls, rows: Sequence[Sequence[Sequence[int]]], markup: Collection[int] = (), padding: int = 0
    ) -> "Branches":
        """Return the branches of B scenes.

        Args:
            rows: per scene, per branch the token ids.
            markup: ids that are not words of a query.
            padding: id that fills the rows.

        Raises:
            ValueError: a branch has no tokens, so nothing could answer for it.
        """
        for row, branches in enumerate(rows):
            if not all(map(len, branches)):
                raise ValueError(
                    f"branch {list(map(len, branches)).index(0)} of row {row} is empty"
                )
        length = max((sum(map(len, branches)) for branches in rows), default=0)
        ids = torch.full((len(rows), length), padding)
        owner = torch.full((len(rows), length), -1)
        for row, branches in enumerate(rows):
            flat = [token for branch in branches for token in branch]
            owners = [number for number, branch in enumerate(branches) for _ in branch]
            ids[row, : len(flat)] = torch.tensor(flat, dtype=torch.long)
            owner[row, : len(flat)] = torch.tensor(owners, dtype=torch.long)
        words = owner >= 0
        for token in markup:
            words &= ids != token
        return cls(ids, owner, words)

    def to(self, device: torch.device) -> "Branches":
        """Return the same branches on another device."""
        return Branches(self.ids.to(device), self.owner.to(device), self.words.to(device))

    @property
    def longest(self) -> int:
        """Tokens of the longest branch."""
        return int(self.steps().max()) + 1 if self.ids.numel() else 0

    def steps(self) -> Tensor:
        """Return (B, T): the place of each token in its own branch, counted from 0."""
        return run_steps(self.owner)

    def ends(self, row: int) -> Tensor:
        """Return (K,) the place of each branch's last token in a row."""
        owner = self.owner[row]
        last = torch.ones_like(owner, dtype=torch.bool)
        last[:-1] = owner[1:] != owner[:-1]
        return (last & (owner >= 0)).nonzero().flatten()

    def mean_words(self, row: int, states: Tensor) -> Tensor:
        """Return (K, D): the mean of a row's (T, D) states over the words of each branch."""
        owner, words = self.owner[row], self.words[row]
        count = len(self.ends(row))
        total = states.new_zeros(count, states.shape[-1]).index_add(0, owner[words], states[words])
        number = torch.bincount(owner[words], minlength=count).clamp(min=1)
        return total / number[:, None].to(states.dtype)


def branch_mask(prefix_mask: Tensor, owner: Tensor) -> Tensor:
    """Return the (B, 1, P + T, P + T) bool attention mask of a prefix followed by independent branches.

    Args:
        prefix_mask: (B, P) 1 for tokens, 0 for padding.
        owner: (B, T) branch of each further token, -1 for padding.
    """
    everyone = torch.where(prefix_mask.bool(), -1, -2)  # -1 is seen by all, -2 by none
    group = torch.cat([everyone, torch.where(owner >= 0, owner, -2)], dim=1)
    total = group.shape[1]
    causal = torch.ones(total, total, dtype=torch.bool, device=group.device).tril()
    keys, queries = group[:, None, :], group[:, :, None]
    visible = (keys == -1) | ((keys == queries) & (keys >= 0))
    # A fully masked row would give NaN in attention; a padding token may see itself, nobody sees it.
    itself = torch.eye(total, dtype=torch.bool, device=group.device)
    return ((causal & visible) | itself)[:, None]


def branch_positions(prefix_positions: Tensor, prefix_mask: Tensor, branches: Branches) -> Tensor:
    """Return positions (..., B, P + T): every branch restarts right behind its prefix.

    Args:
        prefix_positions: (..., B, P).
        prefix_mask: (B, P).
        branches: T further tokens per row.
    """
    last = prefix_positions.masked_fill(prefix_mask == 0, -1).amax(-1)
    if prefix_positions.ndim == 3:
        last = last.amax(0, keepdim=True).expand(prefix_positions.shape[0], -1)
    return torch.cat([prefix_positions, last[..., None] + 1 + branches.steps()], dim=-1)
