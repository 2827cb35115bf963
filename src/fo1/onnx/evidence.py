"""Class evidence of `fo1.models.scoring` from tables of classes in place of lists, as a graph needs it.

Legend: N regions, K queries, E evidence classes of all sources, E_s those of one.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from fo1.models.scoring import KNOWN_DOUBT, LEAST_EVIDENCE, MOST_EVIDENCE, NEUTRAL_EVIDENCE


def match_evidence(evidence: Tensor, classes: Tensor, widths: Sequence[int]) -> Tensor:
    """Return (sources, N, K) of `fo1.models.scoring.match_evidence`, from tables of classes.

    Args:
        evidence: (N, E) class probabilities of all sources side by side.
        classes: (K, E) 1 where a query names a class.
        widths: classes of each source.
    """
    tables = []
    for probabilities, named in _sources(evidence, classes, widths):
        chance = (probabilities @ named.T).clamp(max=1.0)
        log = ((chance + LEAST_EVIDENCE) / (NEUTRAL_EVIDENCE + LEAST_EVIDENCE)).log()
        tables.append(torch.where(named.amax(1) > 0, log, torch.zeros_like(log)))
    return torch.stack(tables)


def evidence_chance(
    evidence: Tensor, classes: Tensor, widths: Sequence[int], gains: Sequence[float]
) -> tuple[Tensor, Tensor]:
    """Return (N, K) twice, as `fo1.models.scoring.evidence_chance`, from tables of classes.

    Args:
        evidence: (N, E) class probabilities of all sources side by side.
        classes: (K, E) 1 where a query names a class.
        widths: classes of each source.
        gains: of each source.
    """
    known = classes.amax(1) > 0
    missed, rivals = [], []
    for (probabilities, named), gain in zip(
        _sources(evidence, classes, widths), gains, strict=True
    ):
        missed.append(1 - (gain * (probabilities @ named.T)).clamp(0.0, MOST_EVIDENCE))
        others = (probabilities[:, None] * (1 - named)[None]).amax(-1)
        rivals.append((gain * others).clamp(0.0, MOST_EVIDENCE))
    rival = torch.stack(rivals).amax(0)
    chance = 1 - torch.stack(missed).prod(0)
    chance = chance * (chance / rival.clamp(min=1e-6)).clamp(max=1.0)
    return chance, rival.maximum(known.float()[None] * KNOWN_DOUBT)


def _sources(
    evidence: Tensor, classes: Tensor, widths: Sequence[int]
) -> list[tuple[Tensor, Tensor]]:
    """Return per source its (N, E_s) probabilities and (K, E_s) classes."""
    sizes = list(widths)
    return list(zip(evidence.split(sizes, -1), classes.split(sizes, -1), strict=True))
