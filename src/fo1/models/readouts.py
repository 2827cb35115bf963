"""What the distributions over index tokens say of every region, without a head and without writing a list.

A list `<objects><region2><region5></objects>` is written token by token. Behind the tag that opens it, and behind each
region listed so far, the model has a distribution over what may follow: a region, the closing tag, or the word for no
regions.

    first index   p(j | nothing listed): of models that list in any order a ranking, of others that of the first region
    hazard        p(j | listed so far) / (p(j) + p(any later region) + p(end)): how likely j is listed now that nothing
                  between it and the region before it was; a probability per region of models that list in rising order

Legend: N regions, M regions listed so far.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def list_chances(logits: Tensor, regions: Sequence[int], ends: Sequence[int]) -> Tensor:
    """Return (..., N + 1) float32 probabilities of each region and of the list's end, last.

    Args:
        logits: (..., V) at places of a list.
        regions: N index tokens.
        ends: tokens that may stand in place of one more region: the closing tag, the word for no regions.
    """
    chosen = logits[..., [*regions, *ends]].float().softmax(-1)
    count = len(regions)
    return torch.cat([chosen[..., :count], chosen[..., count:].sum(-1, keepdim=True)], dim=-1)


def hazards(chances: Tensor, listed: Sequence[int]) -> Tensor:
    """Return (N,) the probability that each region belongs in a list, given what was listed before it.

    Args:
        chances: (M + 1, N + 1) from `list_chances`, behind nothing and behind each listed region.
        listed: M regions, rising. A region that stands behind a larger one is looked at as if it were not there.

    Raises:
        ValueError: the two differ in length.
    """
    if len(chances) != len(listed) + 1:
        raise ValueError(
            f"got chances at {len(chances)} places for {len(listed)} listed regions; need one more than those"
        )
    count = chances.shape[-1] - 1
    rising = [
        place for place, region in enumerate(listed) if region > max(listed[:place], default=-1)
    ]
    bounds = torch.tensor([listed[place] for place in rising], device=chances.device)
    places = torch.tensor([0, *(place + 1 for place in rising)], device=chances.device)
    own = torch.arange(count, device=chances.device)
    behind = places[torch.searchsorted(bounds, own)] if rising else torch.zeros_like(own)
    later = chances.flip(-1).cumsum(-1).flip(-1)  # p(j) + all behind it + the end
    return chances[behind, own] / later[behind, own].clamp(min=torch.finfo(chances.dtype).tiny)
