"""The leaves of encoded rows entry by entry, and the statistics that posteriors add up to."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from mixtures.components import Components, Data
from mixtures.readings import Collecting, Rows

SYMBOLS = 4096  # values beyond are not looked up


class Leaves(Collecting):
    """Where parameters are shared, entries of all variables are rows of one; small whole numbers
    are symbols.
    """

    def __init__(self, components: Components, data: Data, statistics: dict[str, Tensor]) -> None:
        super().__init__(lambda rows: _log_prob(components, data.rows(rows)))
        self.components, self.data, self.statistics = components, data, statistics
        self.tied = components.is_tied

    @cached_property
    def one(self) -> Components:
        """The shared components as those of a single variable."""
        return self.components.of_one()

    @cached_property
    def codes(self) -> Tensor | None:  # type: ignore[override]
        values = self.data.values
        if not self.components.discrete or values.ndim > 2 or not values.numel():
            return None
        seen = self.data.any_observed
        if seen is not None:
            values = values.masked_fill(~seen, 0)
        most = int(values.amax()) + 1
        if most > SYMBOLS:
            return None
        self._most = most
        codes = values.long()
        return codes if seen is None else codes.masked_fill(~seen, most)

    @cached_property
    def exponents(self) -> tuple[Tensor, float] | None:  # type: ignore[override]
        data = self.data
        if not self.tied or data.values.ndim > 2:
            return None
        seen = None if data.observed is None else data.observed.reshape(1, -1)
        with torch.no_grad():
            found = self.one.exponents(Data(data.values.reshape(1, -1), seen))
        return None if found is None else (found[0][0], found[1])

    def basis(self, variables: Tensor, rows: Rows, out: Tensor) -> Tensor:
        with torch.no_grad():
            self.one.basis(self._of(variables, rows), out[None])
        return out.unflatten(1, (len(variables), -1)).transpose(0, 1)

    def collect_basis(self, sums: Tensor) -> None:
        add(self.one.statistics_of(sums[None]), self.statistics)

    def joint(self) -> JointRows | None:
        natural = self.components.joint(self.data)
        return None if natural is None else JointRows(self, natural)

    def symbols(self) -> Tensor:
        data = self._symbol_data
        return _log_prob(self.one if self.tied else self.components, data)

    @property
    def _symbol_data(self) -> Data:
        """All symbols as rows, the missing one last."""
        components = self.one if self.tied else self.components
        assert self.codes is not None
        values = torch.arange(self._most + 1, device=self.codes.device)
        values = values.expand(components.variables, -1)
        with torch.no_grad():
            possible = components.within(values)
        possible[:, -1] = False
        return Data(values, possible)

    def read(self, variables: Tensor, rows: Rows) -> Tensor:
        if not self.tied:
            return super().read(variables, rows)
        logs = _log_prob(self.one, self._of(variables, rows))
        return logs[0].unflatten(1, (len(variables), -1)).transpose(0, 1)

    def _of(self, variables: Tensor, rows: Rows) -> Data:
        """The entries of some variables as rows of one variable."""
        data = self.data
        values = _some(data.values, variables)[:, rows]
        seen = None if data.observed is None else _some(data.observed, variables)[:, rows]
        flat = values.reshape(1, -1, *values.shape[2:])
        return Data(flat, None if seen is None else seen.reshape(1, -1, *seen.shape[2:]))

    def collect(self, variables: Tensor, rows: Rows, weights: Tensor) -> None:
        flat = weights.transpose(0, 1).reshape(1, weights.shape[1], -1)
        add_statistics(self.one, self._of(variables, rows), flat, self.statistics)

    def collect_rows(self, rows: Rows, weights: Tensor) -> None:
        add_statistics(self.components, self.data.rows(rows), weights, self.statistics)

    def collect_symbols(self, weights: Tensor) -> None:
        components = self.one if self.tied else self.components
        add_statistics(components, self._symbol_data, weights, self.statistics)


class JointRows:
    """Densities of whole rows under each component as one product, natural (k, d s)."""

    def __init__(self, leaves: Leaves, natural: Tensor) -> None:
        self.components, self.leaves, self.natural = leaves.components, leaves, natural
        self._rows: slice | None = None  # whose features are held

    @property
    def features(self) -> int:
        return self.natural.shape[1]

    def logs(self, rows: slice) -> Tensor:
        return (self.natural @ self._features_of(rows)).to(self.components.dtype)

    def collect(self, rows: slice, weights: Tensor) -> None:
        found = self.components.joint_statistics(self._features_of(rows), weights)
        add(self.components.pool_shared(found), self.leaves.statistics)

    def _features_of(self, rows: slice) -> Tensor:
        if rows is not self._rows:
            data = self.leaves.data.rows(rows)
            self._rows, self._features = rows, self.components.joint_features(data)
        return self._features


def add_statistics(
    components: Components, data: Data, weights: Tensor, statistics: dict[str, Tensor]
) -> None:
    """Add the statistics of some rows, those of shared components summed over the variables."""
    add(components.pool_shared(components.statistics(data, weights)), statistics)


def add(found: dict[str, Tensor], statistics: dict[str, Tensor]) -> None:
    """Add statistics key by key."""
    for name, value in found.items():
        known = statistics.get(name)
        statistics[name] = value if known is None else known + value


def _some(values: Tensor, variables: Tensor) -> Tensor:
    """Those of some variables; a view where they follow one another."""
    if bool((variables[1:] - variables[:-1] == 1).all()):
        first = int(variables[0])
        return values[first : first + variables.shape[0]]
    return values.index_select(0, variables)


def _log_prob(components: Components, data: Data) -> Tensor:
    with torch.no_grad():
        return components.log_prob_encoded(data)
