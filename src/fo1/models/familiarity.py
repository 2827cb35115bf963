"""How much a region looks like those that a model learned from: how far what was learned may be believed there.

A head that was fitted to drawings says something of photographs as well. Distances from the mean of its training
regions tell when it does so blindly: by principal directions for the largest ones and by what is left over for all
others (probabilistic principal components, Tipping and Bishop 1999). Their ranks among the training regions are
p-values p of "this is one of them", and -e p ln p bounds the odds for it (Sellke, Bayarri and Berger 2001). Nothing
here is tuned, and nothing but training regions is needed.

Legend: N regions, M training regions, C features, A directions, Q quantiles.
"""

import math

import torch
from torch import Tensor, nn

QUANTILES = 256


class Familiarity(nn.Module):
    """Distance from training regions, as a weight.

    Args:
        width: C.
        axes: A.
    """

    axes: Tensor
    spread: Tensor
    rest: Tensor
    quantiles: Tensor

    def __init__(self, width: int, axes: int):
        super().__init__()
        self.register_buffer("axes", torch.zeros(axes, width))
        self.register_buffer("spread", torch.ones(axes))
        self.register_buffer("rest", torch.ones(1))
        self.register_buffer("quantiles", torch.zeros(QUANTILES))

    @torch.no_grad()
    def fit(self, features: Tensor) -> None:
        """Set what is stored from features (M, C) of training regions, standardised; M is at least C."""
        count, width = features.shape
        _, values, axes = torch.linalg.svd(features, full_matrices=False)
        kept = len(self.axes)
        self.axes.copy_(axes[:kept])
        self.spread.copy_(values[:kept] / math.sqrt(count))
        left = values[kept:].square().sum() / count / max(1, width - kept)
        self.rest.fill_(float(left) if width > kept else 1.0)
        steps = (torch.arange(QUANTILES) + 0.5) / QUANTILES
        self.quantiles.copy_(torch.quantile(self.distance(features), steps))

    def distance(self, features: Tensor) -> Tensor:
        """Return (N,) squared distances of features (N, C), divided by C."""
        along = features @ self.axes.T
        left = (features.square().sum(-1) - along.square().sum(-1)).clamp(min=0)
        return ((along / self.spread).square().sum(-1) + left / self.rest) / features.shape[-1]

    def forward(self, features: Tensor) -> Tensor:
        """Return (N,) in (0, 1]: 1 for what more than a third of the training regions were farther than."""
        low, high = self.quantiles[:-1], self.quantiles[1:]
        # between two quantiles in proportion, so that rounding does not jump
        passed = ((self.distance(features)[:, None] - low) / (high - low).clamp(min=1e-6)).clamp(
            0, 1
        )
        chance = (1 - passed.sum(-1) / (QUANTILES - 1)).clamp(min=0.5 / QUANTILES)
        return torch.where(chance < 1 / math.e, -math.e * chance * chance.log(), 1.0)
