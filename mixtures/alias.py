"""Drawing from many discrete distributions at once, in constant time a draw.

Source: Walker, An efficient method for generating discrete random variables, 1977; tables filled by
prefix sums, after Hübschle-Schneider and Sanders, Parallel weighted random sampling, 2022.
"""

from __future__ import annotations

import torch
from torch import Tensor

MOST = 256  # terms; the tables of longer rows cost more to fill than bisection costs
BITS = 32  # of a level: probabilities are rounded to multiples of 2^-32, zero stays zero
WIDE = 64  # of a level where terms of small probabilities add up to what matters


class Alternatives:
    """Rows of weights (slots, P, C): terms are drawn in proportion, one of weight zero never.

    wide: by levels of 64 bits, if there are no more than 256 terms.

    >>> rows = Alternatives(torch.tensor([[[0.0, 1.0, 0.0], [0.5, 0.0, 0.5]]]))
    >>> rows.draw(torch.tensor([0, 0, 1, 1])).shape
    torch.Size([4])
    """

    def __init__(self, weights: Tensor, *, wide: bool = False) -> None:
        _, self.parents, self.terms = weights.shape
        weights = weights.flatten(0, 1).double()
        self.ends: Tensor | None = None
        self.kind = torch.int64 if wide else torch.int32
        self.bits = (self.terms - 1).bit_length()
        if self.terms > MOST:
            below = weights.cumsum(1)
            number = torch.arange(len(below), device=below.device)
            self.ends = (below / below[:, -1:] + number[:, None]).reshape(-1)
        elif self.terms > 2 or wide:
            self.bits = max(2, self.bits)
            shares = weights / weights.sum(1, keepdim=True)
            self.cells = packed_cells(shares, self.bits, WIDE if wide else BITS).to(self.kind)
        elif self.terms == 2:
            self.first = _thresholds(weights[:, 0] / weights.sum(1), BITS - 1).int()

    def draw(self, rows: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """A term of every row that is named (slot P + parent), as an integer of their type."""
        shape, rows = rows.shape, rows.reshape(-1)
        if self.terms == 1:
            return rows.new_zeros(shape)
        if self.ends is not None:
            return self._bisect(rows, generator).to(rows.dtype).view(shape)
        level = levels(len(rows), generator, rows.device, self.kind)
        if self.terms == 2 and self.kind == torch.int32:
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


def levels(
    count: int,
    generator: torch.Generator | None,
    device: torch.device,
    kind: torch.dtype = torch.int32,
) -> Tensor:
    """Integers drawn uniformly from all of int32, two of which cost one number of 64 bits, or from
    all of int64.
    """
    size = count if kind == torch.int64 else (count + 1) // 2
    wide = torch.empty(size, dtype=torch.int64, device=device)
    return wide.random_(-(2**63), None, generator=generator).view(kind)[:count]


def packed_cells(shares: Tensor, bits: int, width: int = BITS) -> Tensor:
    """Alias tables of rows (m, C), C <= 2^bits, one integer for each of m 2^bits cells.

    A level's low bits say the cell, and the term is the cell's own where the level is below the
    cell's high bits; where it is not, the cell's low bits say which bits of the term to change.
    (Without a choice between numbers that are not alike: a processor cannot foresee it.)
    """
    shares = torch.nn.functional.pad(shares, (0, (1 << bits) - shares.shape[1]))
    keep, other = alias_tables(shares)
    own = torch.arange(1 << bits, device=shares.device).expand_as(other)
    high = _thresholds(keep, width - bits).clamp_(max=(1 << (width - bits - 1)) - 1)
    return ((high << bits) | (own ^ other)).reshape(-1)


def _thresholds(shares: Tensor, bits: int) -> Tensor:
    """What so many bits, as a signed integer, are below with these probabilities."""
    half = 1 << (bits - 1)
    return (shares * (2 * half)).round_().long().sub_(half)


def alias_tables(shares: Tensor) -> tuple[Tensor, Tensor]:
    """keep (m, C) and other (m, C): term c drawn uniformly stands with probability keep[c], and for
    other[c] else.

    shares: (m, C) float64, rows summing to one. Light terms (below the mean) take what they lack
    from the heavy ones in turn; a heavy one that has become light takes from the next. Who gives to
    whom is where sums of what is lacking lie among sums of what is left over.
    """
    scaled = shares * shares.shape[1]
    is_heavy, order = torch.sort(scaled >= 1, dim=1, stable=True)
    scaled = scaled.gather(1, order)
    lacking = 1 - scaled
    sums = lacking.cumsum(1)
    lack = sums.where(~is_heavy, torch.inf)
    light = (~is_heavy).sum(1, keepdim=True)
    total = torch.where(light > 0, sums.gather(1, (light - 1).clamp(min=0)), 0)
    spare = (total - sums).where(is_heavy, -torch.inf)
    giver = torch.searchsorted(spare, sums - lacking)  # the first whose spare mass reaches so far
    taker = torch.searchsorted(lack, spare.where(is_heavy, 0), right=True)
    last = shares.shape[1] - 1
    left = 1 + spare - lack.gather(1, taker.clamp(max=last))  # of a heavy term that becomes light
    keep = torch.where(is_heavy, left.where(taker < light, 1.0), scaled).clamp(0, 1)
    own = torch.arange(last + 1, device=shares.device).expand_as(order)
    other = torch.where(is_heavy, own + 1, giver).clamp(max=last)
    other = other.where(light <= last, own)  # without a heavy term all are alike
    found_keep, found_other = torch.empty_like(keep), torch.empty_like(other)
    found_keep.scatter_(1, order, keep)
    found_other.scatter_(1, order, order.gather(1, other))
    return found_keep, found_other
