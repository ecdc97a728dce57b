"""Drawing from many discrete distributions at once, in constant time a draw.

Source: Walker, An efficient method for generating discrete random variables, 1977; the sweep that
fills the tables is that of Hübschle-Schneider and Sanders, Parallel weighted random sampling, 2022.
"""

from __future__ import annotations

import torch
from torch import Tensor

MOST = 256  # terms; the tables of longer rows cost more to fill than bisection costs
BITS = 32  # of a level: probabilities are rounded to multiples of 2^-32, zero stays zero


class Alternatives:
    """Rows of weights (slots, P, C): terms are drawn in proportion, one of weight zero never.

    >>> rows = Alternatives(torch.tensor([[[0.0, 1.0, 0.0], [0.5, 0.0, 0.5]]]))
    >>> rows.draw(torch.tensor([0, 0, 1, 1])).shape
    torch.Size([4])
    """

    def __init__(self, weights: Tensor) -> None:
        _, self.parents, self.terms = weights.shape
        weights = weights.flatten(0, 1).double()
        self.ends: Tensor | None = None
        self.bits = (self.terms - 1).bit_length()
        if self.terms > MOST:
            below = weights.cumsum(1)
            number = torch.arange(len(below), device=below.device)
            self.ends = (below / below[:, -1:] + number[:, None]).reshape(-1)
        elif self.terms > 2:
            self.cells = packed_cells(weights / weights.sum(1, keepdim=True), self.bits)
        elif self.terms == 2:
            self.first = _thresholds(weights[:, 0] / weights.sum(1), BITS - 1).int()

    def draw(self, rows: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """A term of every row that is named (slot P + parent), as an integer of their type."""
        shape, rows = rows.shape, rows.reshape(-1)
        if self.terms == 1:
            return rows.new_zeros(shape)
        if self.ends is not None:
            return self._bisect(rows, generator).to(rows.dtype).view(shape)
        level = levels(len(rows), generator, rows.device)
        if self.terms == 2:
            found = (level >> 1) >= self.first.index_select(0, rows)
        else:
            low = (1 << self.bits) - 1
            term = level & low
            cell = self.cells.index_select(0, torch.add(term, rows, alpha=low + 1))
            change = cell & low
            found = term.bitwise_xor_(change.mul_(level >= cell.sub_(change)))
        return found.to(rows.dtype).view(shape)

    def _bisect(self, rows: Tensor, generator: torch.Generator | None) -> Tensor:
        """Row q of the ends owns the interval from q to q + 1."""
        assert self.ends is not None
        level = torch.rand(len(rows), generator=generator, dtype=torch.float64, device=rows.device)
        first = rows.double()
        level = torch.minimum(level.add_(first), torch.nextafter(first + 1.0, first))
        return torch.searchsorted(self.ends, level, right=True) - rows * self.terms


def levels(count: int, generator: torch.Generator | None, device: torch.device) -> Tensor:
    """Integers drawn uniformly from all of int32; two of them cost one number of 64 bits."""
    wide = torch.empty((count + 1) // 2, dtype=torch.int64, device=device)
    return wide.random_(-(2**63), None, generator=generator).view(torch.int32)[:count]


def packed_cells(shares: Tensor, bits: int) -> Tensor:
    """Alias tables of rows (m, C), C <= 2^bits, one integer for each of m 2^bits cells.

    A level's low bits say the cell, and the term is the cell's own where the level is below the
    cell's high bits; where it is not, the cell's low bits say which bits of the term to change.
    (Without a choice between numbers that are not alike: a processor cannot foresee it.)
    """
    shares = torch.nn.functional.pad(shares, (0, (1 << bits) - shares.shape[1]))
    keep, other = alias_tables(shares)
    own = torch.arange(1 << bits, device=shares.device).expand_as(other)
    other = torch.where(keep < 1, other, own)  # what is always kept needs no threshold
    high = _thresholds(keep, BITS - bits).clamp_(max=(1 << (BITS - bits - 1)) - 1)
    return ((high << bits) | (own ^ other)).int().reshape(-1)


def _thresholds(shares: Tensor, bits: int) -> Tensor:
    """What so many bits, as a signed integer, are below with these probabilities."""
    half = 1 << (bits - 1)
    return (shares * (2 * half)).round_().long().sub_(half)


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
