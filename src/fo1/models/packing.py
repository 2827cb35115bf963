"""Rows that hold several scenes, end to end: what sees what, and where it stands.

    row:     p p p p a a b b b | p p p c c | . .      p prefix, a b c branches, . padding
    scene:   0 0 0 0 0 0 0 0 0   1 1 1 1 1   - -
    branch:  - - - - 0 0 1 1 1   - - - 0 0   - -

A token sees what stands before it in its own scene: the prefix (pictures and regions) and its own branch. All branches
of a scene start at the position behind its prefix, so a packed row equals its scenes run apart and a branch equals a
run of prefix and branch alone. Padding may stand anywhere.

Legend: B rows, T tokens, S scenes, P prefix tokens.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fo1.models.families import VLMFamily


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """Tokens of S scenes in B rows.

    Attributes:
        ids: (B, T) token ids.
        scene: (B, T) number of the scene, in any order; -1 for padding. A scene lies in one row.
        branch: (B, T) branch of its scene; -1 for the prefix and for padding.
    """

    ids: Tensor
    scene: Tensor
    branch: Tensor

    def to(self, device: torch.device | str) -> "Packed":
        """Return the same on another device."""
        return Packed(self.ids.to(device), self.scene.to(device), self.branch.to(device))

    @property
    def num_scenes(self) -> int:
        """S."""
        return int(self.scene.max()) + 1 if self.scene.numel() else 0

    def mask(self) -> Tensor:
        """Return the (B, 1, T, T) bool attention mask, queries before keys."""
        total = self.ids.shape[1]
        causal = torch.ones(total, total, dtype=torch.bool, device=self.ids.device).tril()
        scene = self.scene[:, :, None] == self.scene[:, None, :]
        key = self.branch[:, None, :]
        branch = (key < 0) | (key == self.branch[:, :, None])
        seen = causal & scene & branch & (self.scene >= 0)[:, None, :]
        # A fully masked row would give NaN in attention; a padding token may see itself, nobody sees it.
        itself = torch.eye(total, dtype=torch.bool, device=self.ids.device)
        return (seen | itself)[:, None]

    def steps(self) -> Tensor:
        """Return (B, T): the place of each token in its own prefix or branch, counted from 0."""
        return run_steps(self.scene, self.branch)

    def prefixes(self, padding: int) -> tuple[Tensor, Tensor]:
        """Return ids and mask (S, P) of the prefixes alone, padded on the right."""
        rows = [self.ids[(self.scene == s) & (self.branch < 0)] for s in range(self.num_scenes)]
        ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=padding)
        lengths = torch.tensor([len(row) for row in rows], device=ids.device)
        mask = torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]
        return ids, mask.long()

    def positions(self, family: VLMFamily, vlm: Any, pictures: Mapping[str, Any]) -> Tensor:
        """Return positions (..., B, T) of the family's own shape.

        Args:
            family: of the host.
            vlm: the host.
            pictures: the host's picture inputs, pictures in the order of the scenes.
        """
        ids, mask = self.prefixes(padding=0)
        own = family.position_ids(vlm, ids, mask, pictures)  # (..., S, P)
        axes = own.shape[:-2]
        flat = own.reshape(-1, *own.shape[-2:])
        last = flat.masked_fill(mask == 0, -1).amax(dim=(0, -1))  # (S,)
        scene, steps = self.scene.clamp(min=0), self.steps()
        place = torch.where(self.branch < 0, steps, 0).clamp(max=flat.shape[-1] - 1)
        positions = torch.where(
            self.branch < 0, flat[:, scene, place], last[scene] + 1 + steps
        )  # (A, B, T)
        positions = positions.masked_fill(self.scene < 0, 0)
        return positions.reshape(*axes, *self.ids.shape)

    def apart(self) -> "Apart":
        """Return the same tokens with a row for every branch."""
        rows: list[Tensor] = []
        places: list[Tensor] = []
        fresh: list[Tensor] = []
        for scene in range(self.num_scenes):
            row = int((self.scene == scene).any(1).nonzero()[0])
            mine, branch = self.scene[row] == scene, self.branch[row]
            prefix = (mine & (branch < 0)).nonzero().flatten()
            for number in range(max(1, int(branch[mine].max()) + 1)):
                own = (mine & (branch == number)).nonzero().flatten()
                rows.append(torch.tensor(row, device=own.device))
                places.append(torch.cat([prefix, own]))
                fresh.append(torch.cat([(prefix >= 0) & (number == 0), own >= 0]))
        pad = torch.nn.utils.rnn.pad_sequence
        return Apart(
            torch.stack(rows),
            pad(places, batch_first=True),
            pad([torch.ones_like(place) for place in places], batch_first=True),
            pad(fresh, batch_first=True),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Apart:
    """R rows, each a prefix and one branch, cut out of packed rows: for layers that know no mask.

    Attributes:
        rows: (R,) the packed row that each is of.
        places: (R, L) where its tokens stand there; 0 where it is padded, on the right.
        mask: (R, L) 1 for tokens.
        fresh: (R, L) bool, tokens that stand in no earlier row.
    """

    rows: Tensor
    places: Tensor
    mask: Tensor
    fresh: Tensor

    def cut(self, values: Tensor) -> Tensor:
        """Return (R, L, ...) of (B, T, ...)."""
        return values[self.rows[:, None], self.places]

    def join(self, values: Tensor, like: Tensor) -> Tensor:
        """Return (B, T, ...) of (R, L, ...) and any (B, T); 0 where no token stands."""
        joined = values.new_zeros(*like.shape, *values.shape[2:])
        rows = self.rows[:, None].expand_as(self.places)
        return joined.index_put((rows[self.fresh], self.places[self.fresh]), values[self.fresh])


def run_steps(*keys: Tensor) -> Tensor:
    """Return (B, T): the place of each token in its run, counted from 0; a run ends where one of the keys changes.

    Args:
        keys: (B, T) each.
    """
    first = torch.ones_like(keys[0], dtype=torch.bool)
    first[:, 1:] = torch.stack([key[:, 1:] != key[:, :-1] for key in keys]).any(0)
    index = torch.arange(first.shape[1], device=first.device).expand_as(first)
    return index - torch.where(first, index, 0).cummax(-1).values
