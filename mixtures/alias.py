"""Drawing from many discrete distributions at once, in constant time a draw.

Source: Walker, An efficient method for generating discrete random variables, 1977; the sweep that
fills the tables is that of Hübschle-Schneider and Sanders, Parallel weighted random sampling, 2022.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mixtures.circuit import Circuit
from mixtures.kept import Kept

MOST = 256  # terms; the tables of longer rows cost more to fill than bisection costs


class Alternatives:
    """Rows of weights (slots, P, C): terms are drawn in proportion, one of weight zero never.

    >>> rows = Alternatives(torch.tensor([[[0.0, 1.0, 0.0], [0.5, 0.0, 0.5]]]))
    >>> rows.draw(torch.tensor([0, 0, 1, 1])).shape
    torch.Size([4])
    """

    def __init__(self, weights: Tensor) -> None:
        _, self.parents, self.terms = weights.shape
        weights = weights.flatten(0, 1)
        self.ends: Tensor | None = None
        below = weights.double().cumsum(1)
        below = below / below[:, -1:]
        if self.terms > MOST:
            number = torch.arange(len(below), device=below.device)
            self.ends = (below + number[:, None]).reshape(-1)
        elif self.terms > 2:
            shares = weights.double() / weights.double().sum(1, keepdim=True)
            keep, other = alias_tables(shares)
            self.keep, self.other = keep.reshape(-1), other.reshape(-1)
        else:
            self.first = below[:, 0].contiguous()

    def draw(self, rows: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """A term of every row that is named (slot P + parent), the shape of `rows` (int64)."""
        shape, rows = rows.shape, rows.reshape(-1)
        if self.terms == 1:
            return rows.new_zeros(shape)
        level = torch.rand(len(rows), generator=generator, dtype=torch.float64, device=rows.device)
        if self.ends is not None:
            found = self._bisect(rows, level)
        elif self.terms == 2:
            found = (level >= self.first.index_select(0, rows)).long()
        else:
            level.mul_(self.terms)
            found = level.long().clamp_(max=self.terms - 1)
            level.sub_(found)
            place = torch.add(found, rows, alpha=self.terms)
            kept = level < self.keep.index_select(0, place)
            found = torch.where(kept, found, self.other.index_select(0, place))
        return found.view(shape)

    def _bisect(self, rows: Tensor, level: Tensor) -> Tensor:
        """Row q of the ends owns the interval from q to q + 1."""
        assert self.ends is not None
        first = rows.double()
        level = torch.minimum(level + first, torch.nextafter(first + 1.0, first))
        return torch.searchsorted(self.ends, level, right=True) - rows * self.terms


def _all(circuit: Circuit, stacks: Sequence[Tensor]) -> list[Alternatives]:
    return [Alternatives(stack) for stack in stacks]


alternatives = Kept(_all)
"""alternatives(circuit, stacks): the rows of a circuit's tables, kept until the tables change."""


def alias_tables(shares: Tensor) -> tuple[Tensor, Tensor]:
    """keep (m, C) and other (m, C): term c drawn uniformly stands with probability keep[c], and for
    other[c] else.

    shares: (m, C) float64, rows summing to one. All rows are filled together, a term of each at a
    time: light terms (below the mean) take from a heavy one until this is light itself.
    """
    rows, terms = shares.shape
    scaled, order = (shares * terms).sort(1)
    light_terms = (scaled < 1).sum(1, keepdim=True)
    keep, other = torch.ones_like(scaled), torch.arange(terms, device=shares.device).repeat(rows, 1)
    light = torch.zeros_like(light_terms)  # the next light term
    heavy = light_terms.clamp(max=terms - 1)  # the heavy term that gives
    left = scaled.gather(1, heavy)  # what it has left
    for _ in range(terms):
        next_heavy = heavy + 1
        shift = (left < 1) & (next_heavy < terms) & (light_terms < terms)
        take = ~shift & (light < light_terms)
        giver = torch.where(shift, heavy, torch.where(take, light, 0))
        mass = torch.where(shift, left, scaled.gather(1, giver))
        active = shift | take
        target = torch.where(shift, next_heavy.clamp(max=terms - 1), heavy)
        keep.scatter_(1, giver, torch.where(active, mass, keep.gather(1, giver)))
        other.scatter_(1, giver, torch.where(active, target, other.gather(1, giver)))
        lent = torch.where(active, 1 - mass, 0)
        left = torch.where(shift, scaled.gather(1, target), left) - lent
        heavy = torch.where(shift, target, heavy)
        light = light + take
    found_keep, found_other = torch.empty_like(keep), torch.empty_like(other)
    found_keep.scatter_(1, order, keep)
    found_other.scatter_(1, order, order.gather(1, other))
    return found_keep, found_other
