"""Distributions over finitely many symbols: Categorical and Bernoulli."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from mixtures.alias import Alternatives
from mixtures.components.dirichlet import (
    draw_columns,
    log_dirichlet,
    maximise_rows,
    tilted,
)
from mixtures.components.encoding import Data
from mixtures.components.family import Family, whole
from mixtures.components.hooks import Statistics
from mixtures.components.parameters import as_parameters, check_ndim, check_prior, layout
from mixtures.kept import Kept
from mixtures.tables import Table, check_rows, random_rows

Self = TypeVar("Self", bound="Categorical")

MOST_FEATURES = 8
"""With more symbols looking up is faster than multiplying."""

BLOCK_ROWS = 512
"""So many weights are added up in their own type at most."""


class Categorical(Family):
    """f(x) = p[x] for x = 0 .. categories - 1.

    `categories` may differ between variables; what lies beyond is a structural zero, and a
    structural zero stays one under EM.

    Prior: Dirichlet, as if each possible category had been seen `pseudo_count` times more; 0 gives
    maximum likelihood.

    >>> Categorical(3, 2, 4, generator=torch.Generator().manual_seed(0)).probabilities.shape
    torch.Size([3, 2, 4])
    """

    _discrete = True
    _counting = True
    table: Table

    def __init__(
        self,
        variables: int,
        components: int | Sequence[int],
        categories: int | Sequence[int],
        *,
        pseudo_count: float = 0.01,
        shared: bool = False,
        names: Sequence[str] | None = None,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__(
            variables, components, shared=shared, names=names, dtype=dtype, device=device
        )
        check_prior(pseudo_count=pseudo_count)
        self.pseudo_count = float(pseudo_count)
        self.categories = _category_counts(categories, variables, shared)
        most = max(self.categories)
        self._equal = min(self.categories) == most
        rows = random_rows(self._size(most), generator=generator, dtype=dtype, device=device)
        if not self._equal:
            counts = torch.tensor(self.categories, device=rows.device)
            rows = rows * (torch.arange(most, device=rows.device) < counts[:, None, None])
            rows = rows / rows.sum(-1, keepdim=True)
        self.table = Table(rows)

    @classmethod
    def from_parameters(
        cls: type[Self],
        probabilities: Any,
        *,
        components: int | Sequence[int] | None = None,
        pseudo_count: float = 0.01,
        shared: bool = False,
        variables: int | None = None,
        names: Sequence[str] | None = None,
    ) -> Self:
        """Components with the probabilities (d, k, categories) given, rows summing to one.

        shared=True: shape (1, k, categories), for so many `variables`.

        >>> Categorical.from_parameters([[[0.25, 0.75]]]).log_prob([[1]]).exp().item()
        0.75
        """
        (rows,) = as_parameters(probabilities=probabilities)
        check_ndim(3, probabilities=rows)
        check_rows(rows)
        sizes = layout(rows, components, shared, variables)
        new = cls(**sizes, categories=rows.shape[-1], pseudo_count=pseudo_count, names=names)
        new.table.set(rows)
        return new

    @property
    def probabilities(self) -> Tensor:
        """p, (d, k, categories), or (1, k, categories) if shared; bit for bit what was given."""
        return self.table.values

    def _log_prob(self, x: Tensor) -> Tensor:
        return looked_up(self.table.log_values, x.squeeze(1))

    def _sample(self, indices: Tensor, generator: torch.Generator | None) -> Tensor:
        values = self.table.values
        if indices.numel() < values.shape[:2].numel():  # fewer draws than rows to prepare
            return draw_columns(self._pick(values, indices), generator)
        first = torch.arange(len(values), device=indices.device)[:, None] * values.shape[1]
        return _alternatives(self, [values]).draw(indices + first, generator)

    def _symbols(self) -> Tensor | None:
        return self.table.values

    def _inside(self, x: Tensor) -> Tensor:
        if self._equal:
            return whole(x) & (x >= 0) & (x < self.categories[0])
        counts = torch.tensor(self.categories, device=x.device).unsqueeze(-1)
        return whole(x) & (x >= 0) & (x < counts)

    def _domain(self, variable: int) -> str:
        return f"whole numbers 0 to {self.categories[variable] - 1}"

    def _collect(self, data: Data, weights: Tensor) -> Statistics:
        """Counts of few symbols as products of blocks of rows, which are added up in float64."""
        if self.table.logits.shape[-1] > MOST_FEATURES:
            return super()._collect(data, weights.double())
        count = torch.zeros(
            (*weights.shape[:2], self.table.logits.shape[-1]),
            dtype=torch.float64,
            device=weights.device,
        )
        features = self._features(data)
        for start in range(0, len(data), BLOCK_ROWS):
            rows = slice(start, start + BLOCK_ROWS)
            count += weights[..., rows] @ features[:, rows].to(weights.dtype)
        return {"weight": count.sum(-1), "count": count}

    def _statistics(self, x: Tensor, weights: Tensor) -> Statistics:
        count = weights.new_zeros(*weights.shape[:2], self.table.logits.shape[-1])
        return {"count": count.scatter_add_(-1, x.unsqueeze(1).expand(weights.shape), weights)}

    def _maximise(self, statistics: Statistics) -> None:
        count, weight = statistics["count"], statistics["weight"]
        maximise_rows(self.table, count, weight, self.pseudo_count)

    def _log_prior(self) -> Tensor:
        return log_dirichlet(self.table, self.pseudo_count)

    def _initialise(self, data: Data, generator: torch.Generator | None) -> None:
        """The frequencies of the data, each times an exponential variable of mean one."""
        size = (self.variables, self.largest)
        statistics = self._summed(
            data, lambda rows: torch.ones(*size, len(rows), device=self.device)
        )
        if self.shared:
            statistics = self._pooled(statistics)
        count, weight = statistics["count"], statistics["weight"]
        statistics["count"] = tilted(count, weight, generator)
        self.maximise(statistics)

    def _natural(self) -> Tensor | None:
        logs = self.table.log_values
        short = logs.shape[-1] <= MOST_FEATURES
        return logs if short and bool(logs.isfinite().all()) else None

    def _features(self, data: Data) -> Tensor:
        symbols = torch.arange(self.table.logits.shape[-1], device=self.device)
        features = self._filled(data).unsqueeze(-1) == symbols
        seen = data.any_observed
        return (features if seen is None else features & seen.unsqueeze(-1)).to(self.dtype)

    def _mean(self) -> Tensor:
        p = self.table.log_values.exp()
        return p @ torch.arange(p.shape[-1], dtype=p.dtype, device=p.device)

    def _variance(self) -> Tensor:
        p = self.table.log_values.exp()
        symbols = torch.arange(p.shape[-1], dtype=p.dtype, device=p.device)
        return (p * (symbols - (p @ symbols).unsqueeze(-1)).square()).sum(-1)

    def _alphabet(self, variable: int) -> tuple[int, ...] | None:
        return (self.categories[variable],)

    def _nodes(self, variable: int, most: int) -> tuple[Tensor, Tensor]:
        weights = self._row(self.table.log_values, variable)[:, : self.categories[variable]].exp()
        return torch.arange(weights.shape[1], device=self.device).unsqueeze(0), weights

    def _box(self, low: Tensor, high: Tensor) -> Tensor:
        logs = self.table.log_values.unsqueeze(2)
        symbols = torch.arange(logs.shape[-1], dtype=low.dtype, device=low.device)
        within = (low.unsqueeze(-1) <= symbols) & (symbols <= high.unsqueeze(-1))
        return logs.where(within, -torch.inf).logsumexp(-1)

    def _inner(self: Self, other: Self) -> Tensor:
        if self.categories != other.categories:
            raise ValueError(
                f"inner: expected {_short(self.categories)} categories, "
                f"got {_short(other.categories)}"
            )
        return self.table.log_values.exp() @ other.table.log_values.exp().mT

    def _free(self, variable: int) -> int:
        return self.shape[variable] * (self.categories[variable] - 1)

    def _settings(self, variables: Sequence[int]) -> dict[str, Any]:
        counts = [self.categories[j] for j in variables]
        categories = counts[0] if len(set(counts)) == 1 else counts
        return {"categories": categories, "pseudo_count": self.pseudo_count}


class Bernoulli(Categorical):
    """f(1) = p, f(0) = 1 - p; x may be bool.

    Prior: Beta, as if each of the two values had been seen `pseudo_count` times more.

    >>> Bernoulli.from_parameters([[0.25, 0.5]]).mean().tolist()
    [[0.25, 0.5]]
    """

    def __init__(
        self,
        variables: int,
        components: int | Sequence[int],
        *,
        pseudo_count: float = 0.01,
        shared: bool = False,
        names: Sequence[str] | None = None,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__(
            variables,
            components,
            2,
            pseudo_count=pseudo_count,
            shared=shared,
            names=names,
            generator=generator,
            dtype=dtype,
            device=device,
        )

    @classmethod
    def from_parameters(
        cls: type[Self],
        probabilities: Any,
        *,
        components: int | Sequence[int] | None = None,
        pseudo_count: float = 0.01,
        shared: bool = False,
        variables: int | None = None,
        names: Sequence[str] | None = None,
    ) -> Self:
        """Components with probabilities of a one (d, k), between 0 and 1.

        shared=True: shape (1, k), for so many `variables`.
        """
        (ones,) = as_parameters(probabilities=probabilities)
        check_ndim(2, probabilities=ones)
        check_probabilities(ones)
        sizes = layout(ones, components, shared, variables)
        new = cls(**sizes, pseudo_count=pseudo_count, names=names)
        new.table.set(torch.stack([1 - ones, ones], -1))
        return new

    @property
    def probabilities(self) -> Tensor:
        """p, (d, k), or (1, k) if shared."""
        return self.table.values[..., 1]

    def _log_prob(self, x: Tensor) -> Tensor:
        return looked_up(self.table.log_values, x.squeeze(1))

    def _settings(self, variables: Sequence[int]) -> dict[str, Any]:
        return {"pseudo_count": self.pseudo_count}


def _rows(_: Categorical, tables: Sequence[Tensor]) -> Alternatives:
    return Alternatives(tables[0])


_alternatives = Kept(_rows)  # of a family: its symbols, ready to be drawn


def looked_up(table: Tensor, symbols: Tensor) -> Tensor:
    """table (d or 1, k, V), symbols (d, n) -> (d, k, n): whole rows of k numbers are copied, which
    is several times faster than entry by entry.
    """
    variables, k, categories = table.shape
    index = symbols.int()
    if variables > 1:
        first = categories * torch.arange(variables, dtype=torch.int32, device=index.device)
        index = index + first[:, None]
    rows = table.mT.reshape(-1, k).index_select(0, index.reshape(-1))
    return rows.view(*symbols.shape, k).mT


def check_probabilities(probabilities: Tensor) -> None:
    """Raise unless every entry lies between 0 and 1."""
    wrong = ~((probabilities >= 0) & (probabilities <= 1))
    if bool(wrong.any()):
        place = torch.nonzero(wrong)[0].tolist()
        value = probabilities[tuple(place)].item()
        raise ValueError(f"expected probabilities between 0 and 1, got {value:g} at {place}")


def _category_counts(
    categories: int | Sequence[int], variables: int, shared: bool
) -> tuple[int, ...]:
    counts = (categories,) * variables if isinstance(categories, int) else tuple(categories)
    if len(counts) != variables or any(not isinstance(c, int) or c < 1 for c in counts):
        raise ValueError(
            f"expected categories as a positive integer or one for each of the {variables} "
            f"variables, got {categories}"
        )
    if shared and len(set(counts)) > 1:
        raise ValueError(f"expected one number of categories for shared components, got {counts}")
    return counts


def _short(counts: tuple[int, ...]) -> str:
    return str(counts[0]) if len(set(counts)) == 1 else str(counts)
