"""Rows of symbols 0, 1, .., and how often two variables show two symbols together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mixtures.components import Data
from mixtures.components.encoding import encode

CHUNK = 2**22  # numbers of one matrix of indicators at a time


class Symbols(NamedTuple):
    """Codes (d, n) int64, 0 where missing; observed (d, n) or None; sizes k_j; row weights (n,)."""

    codes: Tensor
    observed: Tensor | None
    sizes: tuple[int, ...]
    weights: Tensor | None

    @classmethod
    def read(
        cls,
        x: Any,
        observed: Any = None,
        weights: Any = None,
        components: int | Sequence[int] | None = None,
    ) -> Symbols:
        """Rows x (n, d) of whole numbers, checked; k_j is given or one more than the largest seen.

        Raises ValueError naming column, row and value for anything that is no symbol, and columns
        of which nothing was observed where k_j is not given.
        """
        data = _encoded(x, observed)
        d, n = data.values.shape
        if n == 0 or d == 0:
            raise ValueError(f"expected at least one row and one column, got shape ({n}, {d})")
        seen, values = data.observed, data.values
        values = values if seen is None else values.masked_fill(~seen, 0)
        codes = values.long()
        if values.dtype != torch.uint8:  # what is held in bytes has been checked
            wrong = (values != codes) | (codes < 0)
            _refuse(wrong, values, "a whole number from 0 up")
        sizes = _sizes(codes, seen, components)
        if components is not None:
            limits = torch.tensor(sizes)[:, None]
            _refuse(codes >= limits, values, "less than its number of components")
        return cls(codes, seen, sizes, checked_weights(weights, n))

    @property
    def variables(self) -> int:
        """d, the number of columns."""
        return len(self.sizes)

    def together(self, first: int, second: int) -> Tensor:
        """How often the two variables show each pair of symbols, (k_first, k_second)."""
        rows, columns = self.sizes[first], self.sizes[second]
        return self._counted(self.codes[first] * columns + self.codes[second], first, second).view(
            rows, columns
        )

    def alone(self, variable: int) -> Tensor:
        """How often the variable shows each of its symbols, (k,)."""
        return self._counted(self.codes[variable], variable, variable)

    def part(self, variables: Tensor, rows: Tensor) -> Symbols:
        """Some of the variables in some of the rows."""
        seen, weights = self.observed, self.weights
        return Symbols(
            self.codes[variables][:, rows],
            None if seen is None else seen[variables][:, rows],
            tuple(self.sizes[j] for j in variables.tolist()),
            None if weights is None else weights[rows],
        )

    def _counted(self, places: Tensor, first: int, second: int) -> Tensor:
        weights = torch.ones(1).expand(len(places)) if self.weights is None else self.weights
        if self.observed is not None:
            weights = weights * (self.observed[first] & self.observed[second])
        size = self.sizes[first] * (self.sizes[second] if first != second else 1)
        return torch.bincount(places, weights.double(), minlength=size)


class Pairs(NamedTuple):
    """Counts of all pairs of variables, from rows in which both were observed, float64.

    joint (s, d, s, d): symbols a + 1 and b + 1 (what symbol 0 does follows); alone (s, d, d):
    symbol a + 1 of the first, anything of the second; total (d, d). The last two may be views.
    """

    joint: Tensor
    alone: Tensor
    total: Tensor


def count_pairs(symbols: Symbols) -> Pairs:
    """Products of indicator matrices: for complete binary data a single one, X^T X.

    Costs n (d (k - 1))^2, in float32 where counts of a chunk are exact in it.
    """
    d, n = symbols.codes.shape
    s = max(max(symbols.sizes) - 1, 1)
    missing = symbols.observed is not None
    width = (s + missing) * d
    joint = torch.zeros(width, width, dtype=torch.float64)
    alone = torch.zeros(width, dtype=torch.float64)
    step = max(1, CHUNK // width)
    for start in range(0, n, step):
        columns, weighted = _indicators(symbols, s, slice(start, start + step))
        joint += (weighted @ columns.mT).double()
        alone += weighted.sum(1).double()
    joint = joint.view(-1, d, s + missing, d)
    if missing:
        return Pairs(joint[:s, :, :s], joint[:s, :, s], joint[s, :, s])
    total = float(n) if symbols.weights is None else float(symbols.weights.sum())
    whole = torch.full((1, 1), total, dtype=torch.float64).expand(d, d)
    return Pairs(joint, alone.view(s, d, 1).expand(s, d, d), whole)


def _indicators(symbols: Symbols, s: int, rows: slice) -> tuple[Tensor, Tensor]:
    """((s + 1 if missing) d, rows): which symbol 1..s it is, then whether one was seen; and the
    same times the rows' weights.
    """
    codes = symbols.codes[:, rows]
    parts = [codes == a for a in range(1, s + 1)]
    if symbols.observed is not None:
        parts.append(symbols.observed[:, rows])
    columns = torch.cat(parts) if len(parts) > 1 else parts[0]
    if symbols.weights is None:
        columns = columns.to(torch.float32)
        return columns, columns
    columns = columns.to(torch.float64)
    return columns, columns * symbols.weights[rows]


def mutual_information(symbols: Symbols, pseudo_count: float = 0.0) -> Tensor:
    """I(x_i; x_j) in nats, (d, d) float64, of the frequencies of symbols; never negative.

    pseudo_count: as if so many more rows had been seen, spread evenly over all joint symbols.
    Variables that were never observed together have 0.
    """
    found, total = _information(symbols, pseudo_count)
    found = torch.where(total > 0, found / total, 0)
    return ((found + found.mT) / 2).clamp(min=0)  # rounding may leave -1e-17


def g_statistics(symbols: Symbols) -> Tensor:
    """2 n I(x_i; x_j), (d, d): chi-squared where the two variables are independent."""
    found, _ = _information(symbols, 0.0)
    return (found + found.mT).clamp(min=0)


def _information(symbols: Symbols, pseudo_count: float) -> tuple[Tensor, Tensor]:
    """n I(x_i; x_j) and n, the rows in which both were observed."""
    pairs = count_pairs(symbols)
    s = len(pairs.joint)
    sizes = torch.tensor(symbols.sizes, dtype=torch.float64)
    total = pairs.total + pseudo_count
    first = [pairs.total - pairs.alone.sum(0), *pairs.alone]
    found = _entropy_terms(total)
    for a in range(s + 1):
        own = (first[a] + pseudo_count / sizes[:, None]) * (a < sizes)[:, None]
        terms = _entropy_terms(own)
        found = found - terms - terms.mT
        for b in range(s + 1):
            cell = _cell(pairs, first, a, b) + pseudo_count / (sizes[:, None] * sizes)
            inside = (a < sizes)[:, None] & (b < sizes)
            found = found + _entropy_terms(cell * inside)
    return found, total


def joint_tables(symbols: Symbols, pseudo_count: float = 0.0) -> Tensor:
    """How often each two variables show each two symbols, (d, d, k, k), for one k of them all."""
    pairs, k = count_pairs(symbols), symbols.sizes[0]
    first = [pairs.total - pairs.alone.sum(0), *pairs.alone]
    rows = [torch.stack([_cell(pairs, first, a, b) for b in range(k)], -1) for a in range(k)]
    return torch.stack(rows, -2).clamp(min=0) + pseudo_count / k**2


def _cell(pairs: Pairs, first: Sequence[Tensor], a: int, b: int) -> Tensor:
    """How often the one shows symbol a and the other b, (d, d)."""
    if a and b:
        return pairs.joint[a - 1, :, b - 1]
    if a:
        return first[a] - pairs.joint[a - 1].sum(1)
    if b:
        return first[b].mT - pairs.joint[:, :, b - 1].sum(0)
    return first[0] - pairs.alone.sum(0).mT + pairs.joint.sum((0, 2))


def _entropy_terms(counts: Tensor) -> Tensor:
    counts = counts.clamp(min=0)  # differences of sums of weights may be -1e-17
    return torch.xlogy(counts, counts)


def symbol_sizes(x: Any, observed: Any = None, most: int = 64) -> tuple[int, ...] | None:
    """k_j for rows (n, d) of symbols 0 .. k_j - 1, at most `most` of them; None for others.

    A column of which nothing was observed counts as one of a single symbol.
    """
    data = _encoded(x, observed)
    values = data.values
    if not values.numel():
        raise ValueError("expected at least one row and one column, got none")
    if data.observed is not None:
        values = values.masked_fill(~data.observed, 0)
    if bool((values != values.floor()).any()) or bool(((values < 0) | (values >= most)).any()):
        return None
    return tuple((values.long().amax(1) + 1).tolist())


def correlations(x: Data, weights: Tensor) -> Tensor:
    """Weighted correlations of the variables, (d, d) float64; missing values count as means."""
    values = x.values.double()
    seen = torch.ones_like(values, dtype=torch.bool) if x.observed is None else x.observed
    mass = weights.double() * seen
    mean = (mass * values.where(seen, 0)).sum(1) / mass.sum(1).clamp(min=1e-300)
    away = (values - mean[:, None]).where(seen, 0)
    products = (away * weights.double()) @ away.mT
    scale = products.diagonal().clamp(min=1e-300).sqrt()
    return products / scale / scale[:, None]


def _encoded(x: Any, observed: Any) -> Data:
    if isinstance(x, Data):
        if x.values.ndim != 2:
            raise ValueError(f"expected one symbol per entry, got {tuple(x.values.shape)}")
        return x
    shape = torch.as_tensor(x).shape if isinstance(x, list | tuple) else x.shape
    if len(shape) != 2:
        raise ValueError(f"expected rows of shape (n, d), got {tuple(shape)}")
    return Data(*encode(x, observed, variables=shape[1], dtype=torch.float64))


def _sizes(
    codes: Tensor, seen: Tensor | None, components: int | Sequence[int] | None
) -> tuple[int, ...]:
    d = len(codes)
    if components is None:
        if seen is not None and not bool(seen.any(1).all()):
            empty = int((~seen.any(1)).nonzero()[0])
            raise ValueError(
                f"column {empty} has no observed value: give components= to say what it may be"
            )
        return tuple((codes.amax(1) + 1).clamp(min=1).tolist())
    sizes = (components,) * d if isinstance(components, int) else tuple(components)
    if len(sizes) != d or min(sizes) < 1:
        raise ValueError(f"components must be positive, one or {d} of them, got {components!r}")
    return sizes


def _refuse(wrong: Tensor, values: Tensor, expected: str) -> None:
    if bool(wrong.any()):
        column, row = wrong.nonzero()[0].tolist()
        value = values[column, row].item()
        raise ValueError(f"column {column}, row {row}: expected {expected}, got {value:g}")


def checked_weights(weights: Any, rows: int) -> Tensor | None:
    """Row weights (n,) float64; ValueError unless finite, non-negative and not all zero."""
    if weights is None:
        return None
    weights = torch.as_tensor(weights, dtype=torch.float64).detach().cpu()
    if weights.shape != (rows,):
        raise ValueError(f"expected weights of shape ({rows},), got {tuple(weights.shape)}")
    if not bool(((weights >= 0) & weights.isfinite()).all()) or not bool(weights.sum() > 0):
        raise ValueError("weights must be finite, non-negative and not all zero")
    return weights
