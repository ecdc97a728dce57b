"""Variables of different kinds side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from mixtures.components.base import Components
from mixtures.components.encoding import Data
from mixtures.components.hooks import Statistics

Part = tuple[Sequence[int], Components]


class Mixed(Components):
    """Each family serves the columns it is given with; together they are all columns 0..d-1.

    >>> from mixtures.components import Bernoulli, Gaussian
    >>> mixed = Mixed([([0, 2], Gaussian(2, 3)), ([1], Bernoulli(1, 3))])
    >>> mixed.log_prob([[0.5, 1.0, -2.0]]).shape
    torch.Size([1, 3, 3])
    """

    families: nn.ModuleList

    def __init__(self, parts: Sequence[Part], *, names: Sequence[str] | None = None) -> None:
        columns = [[int(j) for j in given] for given, _ in parts]
        families = [family for _, family in parts]
        _check_partition(columns, families)
        shape: dict[int, int] = {}
        for given, family in zip(columns, families, strict=True):
            shape.update(zip(given, family.shape, strict=True))
        super().__init__(
            len(shape),
            [shape[j] for j in range(len(shape))],
            event=families[0].event,
            names=names,
            dtype=families[0].dtype,
            device=families[0].device,
        )
        self._partial = all(family._partial for family in families)
        self.columns = tuple(tuple(given) for given in columns)
        self.families = nn.ModuleList(families)
        order = [j for given in columns for j in given]
        places = torch.tensor(order, device=families[0].device).argsort()
        self.register_buffer("_places", places, persistent=False)

    _places: Tensor

    def _each(self) -> list[tuple[slice | Tensor, Components]]:
        """The columns, as a slice where they follow one another, and their family."""
        pairs = zip(self.columns, self.families, strict=True)
        return [(self._index(columns), cast(Components, family)) for columns, family in pairs]

    def _index(self, columns: Sequence[int]) -> slice | Tensor:
        if list(columns) == list(range(columns[0], columns[0] + len(columns))):
            return slice(columns[0], columns[0] + len(columns))
        return torch.tensor(columns, device=self.device)

    def _joined(self, values: list[Tensor]) -> Tensor:
        """Of each family (its columns, its k, ..) as one tensor (d, k, ..)."""
        k = self.largest
        wide = [
            nn.functional.pad(value, (0, 0) * (value.ndim - 2) + (0, k - value.shape[1]))
            for value in values
        ]
        return torch.cat(wide)[self._places]

    def _evaluate(self, data: Data) -> Tensor:
        return self._joined(
            [family.log_prob_encoded(data.columns(index)) for index, family in self._each()]
        )

    def _sample(self, indices: Tensor, generator: torch.Generator | None) -> Tensor:
        draws = [family._sample(indices[index], generator) for index, family in self._each()]
        return self._stacked(draws)

    def _complete(self, indices: Tensor, data: Data, generator: torch.Generator | None) -> Tensor:
        whole = [
            family._complete(indices[index], data.columns(index), generator)
            for index, family in self._each()
        ]
        return self._stacked(whole)

    def _stacked(self, values: list[Tensor]) -> Tensor:
        """Columns of different types as one tensor of the type that holds them all."""
        dtype = values[0].dtype
        for value in values[1:]:
            dtype = torch.promote_types(dtype, value.dtype)
        return torch.cat([value.to(dtype) for value in values])[self._places]

    def _inside(self, x: Tensor) -> Tensor:
        return torch.cat([family._inside(x[index]) for index, family in self._each()])[self._places]

    def _family_of(self, variable: int) -> tuple[Components, int]:
        for columns, (_, family) in zip(self.columns, self._each(), strict=True):
            if variable in columns:
                return family, columns.index(variable)
        raise ValueError(f"expected a variable 0 to {self.variables - 1}, got {variable}")

    def _title(self, variable: int) -> str:
        family, place = self._family_of(variable)
        return family._title(place)

    def _domain(self, variable: int) -> str:
        family, place = self._family_of(variable)
        return family._domain(place)

    def _collect(self, data: Data, weights: Tensor) -> Statistics:
        sums: Statistics = {}
        for number, (index, family) in enumerate(self._each()):
            part = family.statistics(data.columns(index), weights[index][:, : family.largest])
            sums.update({f"{number}.{name}": value for name, value in part.items()})
        return sums

    def _maximise(self, statistics: Statistics) -> None:
        for number, (_, family) in enumerate(self._each()):
            family.maximise(split(statistics, number))

    def _prior(self) -> Tensor:
        return torch.stack([family.log_prior() for _, family in self._each()]).sum()

    def _initialise(self, data: Data, generator: torch.Generator | None) -> None:
        for index, family in self._each():
            family.initialise(data.columns(index), generator)

    def _count(self) -> int:
        return sum(family.num_parameters for _, family in self._each())

    def _mean(self) -> Tensor:
        return self._joined([family.mean() for _, family in self._each()])

    def _mean_given(self, data: Data) -> Tensor:
        parts = [family.mean_given(data.columns(index)) for index, family in self._each()]
        return self._joined(parts)

    def _variance(self) -> Tensor:
        return self._joined([family.variance() for _, family in self._each()])

    def _covariance(self) -> Tensor:
        return self._joined([family.covariance() for _, family in self._each()])

    def _alphabet(self, variable: int) -> tuple[int, ...] | None:
        family, place = self._family_of(variable)
        return family._alphabet(place)

    def _nodes(self, variable: int, most: int) -> tuple[Tensor, Tensor]:
        family, place = self._family_of(variable)
        return family._nodes(place, most)

    def _box(self, low: Tensor, high: Tensor) -> Tensor:
        logs = []
        for index, family in self._each():
            ends = [end[index].squeeze(1).transpose(0, 1) for end in (low, high)]
            logs.append(family.log_prob_box(*ends).permute(1, 2, 0))
        return self._joined(logs)

    def _inner(self, other: Mixed) -> Tensor:
        if self.columns != other.columns:
            raise ValueError(f"inner: expected columns {self.columns}, got {other.columns}")
        grams = []
        for (_, mine), (_, its) in zip(self._each(), other._each(), strict=True):
            gram = mine.inner(its)
            grams.append(nn.functional.pad(gram, (0, other.largest - gram.shape[2])))
        return self._joined(grams)

    def _select(self, variables: Sequence[int]) -> Mixed:
        parts: list[Part] = []
        for columns, (_, family) in zip(self.columns, self._each(), strict=True):
            mine = [place for place, j in enumerate(variables) if j in columns]
            if mine:
                local = [columns.index(variables[place]) for place in mine]
                parts.append((mine, family.select(local)))
        names = None if self.names is None else [self.names[j] for j in variables]
        return Mixed(parts, names=names)

    def _config(self, variables: Sequence[int]) -> dict[str, Any]:
        return {
            "family": type(self).__name__,
            "parts": [
                [list(columns), family.config()]
                for columns, (_, family) in zip(self.columns, self._each(), strict=True)
            ],
            "names": None if self.names is None else list(self.names),
        }

    @classmethod
    def _from_config(cls, config: dict[str, Any]) -> Mixed:
        parts = [(columns, Components.from_config(part)) for columns, part in config["parts"]]
        return cls(parts, names=config["names"])


def split(statistics: Statistics, number: int) -> Statistics:
    """The statistics of one part, under the names that the part gave them."""
    prefix = f"{number}."
    return {
        name.removeprefix(prefix): value
        for name, value in statistics.items()
        if name.startswith(prefix)
    }


def check_alike(parts: Sequence[Components]) -> None:
    """Raise unless the parts agree in event, dtype and device."""
    if not parts:
        raise ValueError("expected at least one part, got none")
    for part in parts[1:]:
        if (part.event, part.dtype, part.device) != (
            parts[0].event,
            parts[0].dtype,
            parts[0].device,
        ):
            raise ValueError(
                f"expected parts with event {parts[0].event}, {parts[0].dtype} on "
                f"{parts[0].device}, got {part.event}, {part.dtype} on {part.device}"
            )


def _check_partition(columns: list[list[int]], families: Sequence[Components]) -> None:
    check_alike(families)
    for given, family in zip(columns, families, strict=True):
        if len(given) != family.variables:
            raise ValueError(
                f"expected {family.variables} columns for {type(family).__name__}, got {given}"
            )
    every = sorted(j for given in columns for j in given)
    if every != list(range(len(every))):
        raise ValueError(f"expected columns 0 to {len(every) - 1}, each once, got {columns}")
