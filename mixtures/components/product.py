"""Vector-valued variables whose entries are independent given the component."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from mixtures.components.base import Components
from mixtures.components.encoding import Data
from mixtures.components.hooks import Statistics
from mixtures.components.quadrature import along_each, tensor_rule
from mixtures.components.seeding import imputed, mean_of, seeds, some_rows

BLOCK = 2**23
"""The factor's densities are computed for so many numbers at a time."""


class Product(Components):
    """f(x) = prod over entries t of f_t(x_t), for vectors (or arrays) x of shape `event`.

    `factor` holds the densities of the entries: components over d * prod(event) numbers, entry t of
    variable j being its variable j * prod(event) + t. With `variables` given, all variables share
    one set: `factor` then has just prod(event) variables. Entries may be missing on their own.

    Costs d k n prod(event).

    >>> from mixtures.components import Bernoulli
    >>> notes = Product(Bernoulli(3 * 88, 2), (88,))                  # 3 steps of 88 keys
    >>> tied = Product(Bernoulli(88, 2), (88,), variables=3)          # one set for all
    >>> other = Product.of(lambda numbers: Bernoulli(numbers, 2), (88,), variables=3)
    >>> notes.variables, tied.shared, other.num_parameters
    (3, True, 528)
    """

    factor: Components

    def __init__(
        self,
        factor: Components,
        event: Sequence[int] | int,
        *,
        variables: int | None = None,
        names: Sequence[str] | None = None,
    ) -> None:
        event = (event,) if isinstance(event, int) else tuple(event)
        size = math.prod(event)
        if factor.event:
            raise ValueError(f"expected a factor over numbers, got one with event {factor.event}")
        if variables is None and factor.variables % size:
            raise ValueError(
                f"expected a factor over a multiple of {size} variables, got {factor.variables}"
            )
        if variables is not None and factor.variables != size:
            raise ValueError(f"expected a factor over {size} variables, got {factor.variables}")
        blocks = [factor.shape[t : t + size] for t in range(0, factor.variables, size)]
        if any(len(set(block)) > 1 for block in blocks):
            raise ValueError("expected one number of components for all entries of a variable")
        counts = [block[0] for block in blocks]
        super().__init__(
            len(counts) if variables is None else variables,
            counts if variables is None else counts[0],
            event=event,
            shared=variables is not None or factor.shared,
            names=names,
            dtype=factor.dtype,
            device=factor.device,
        )
        self.factor = factor
        self.pooled = variables is not None
        self._partial = True

    @classmethod
    def of(
        cls,
        family: Callable[[int], Components],
        event: Sequence[int] | int,
        variables: int,
        *,
        shared: bool = False,
        names: Sequence[str] | None = None,
    ) -> Product:
        """The product whose factor is `family(numbers)`, numbers being how many it is over."""
        size = event if isinstance(event, int) else math.prod(event)
        if shared:
            return cls(family(size), event, variables=variables, names=names)
        return cls(family(variables * size), event, names=names)

    # Between vectors and their entries -------------------------------------------------------

    @property
    def _entries(self) -> int:
        return math.prod(self.event)

    def _flat(self, x: Tensor) -> Tensor:
        """(d, n, *event) as the factor takes it: (d e, n), or (e, d n) if variables share it."""
        d, n = x.shape[:2]
        x = x.reshape(d, n, self._entries)
        if self.pooled:
            return x.permute(2, 0, 1).reshape(self._entries, d * n)
        return x.mT.reshape(d * self._entries, n)

    def _vectors(self, x: Tensor, n: int) -> Tensor:
        """The inverse of `_flat`."""
        d, e = self.variables, self._entries
        if self.pooled:
            return x.reshape(e, d, n).permute(1, 2, 0).reshape(d, n, *self.event)
        return x.reshape(d, e, n).mT.reshape(d, n, *self.event)

    def _flat_data(self, data: Data) -> Data:
        seen = data.observed
        if seen is not None and seen.ndim == 2:
            seen = seen.unsqueeze(-1).expand(*seen.shape, self._entries)
        return Data(self._flat(data.values), None if seen is None else self._flat(seen))

    def _repeated(self, indices: Tensor) -> Tensor:
        """Indices (d, n) for every entry, as `_flat` would have them."""
        return self._flat(indices.unsqueeze(-1).expand(*indices.shape, self._entries))

    def _by_entry(self, values: Tensor) -> Tensor:
        """What the factor says for each of its variables (.., k, ..) as (d or 1, e, k, ..)."""
        return values.unflatten(0, (len(values) // self._entries, self._entries))

    def _blocks(self, n: int) -> Iterator[slice]:
        step = max(1, BLOCK // (self.variables * self._entries * self.largest))
        return (slice(start, min(start + step, n)) for start in range(0, max(n, 1), step))

    # Hooks -----------------------------------------------------------------------------------

    def _evaluate(self, data: Data) -> Tensor:
        parts = [self._block(data.rows(block)) for block in self._blocks(len(data))]
        return torch.cat(parts, -1)

    def _block(self, data: Data) -> Tensor:
        natural = self.factor._natural()
        if natural is not None:
            return self._by_variable(natural) @ self._features_of(data).mT
        logs = self.factor.log_prob_encoded(self._flat_data(data))
        if self.pooled:
            return logs.sum(0).reshape(self.largest, self.variables, len(data)).transpose(0, 1)
        return self._by_entry(logs).sum(1)

    def _collect(self, data: Data, weights: Tensor) -> Statistics:
        total: Statistics = {}
        for block in self._blocks(len(data)):
            sums = self._block_sums(data.rows(block), weights[..., block])
            total = {name: total[name] + sums[name] for name in sums} if total else sums
        return total

    def _block_sums(self, data: Data, weights: Tensor) -> Statistics:
        if self.factor._natural() is None:
            return self.factor.statistics(self._flat_data(data), self._spread(weights))
        sums = weights @ self._features_of(data).double()
        count = sums.unflatten(-1, (self._entries, -1)).transpose(1, 2)
        count = count.sum(0) if self.pooled else count.flatten(0, 1)
        return {"count": count, "weight": count.sum(-1)}

    def _features_of(self, data: Data) -> Tensor:
        """All features of all entries side by side, (d, n, e s)."""
        features = self.factor._features(self._flat_data(data))
        return torch.stack(
            [self._vectors(each, len(data)).flatten(2) for each in features.unbind(-1)], -1
        ).flatten(2)

    def _by_variable(self, natural: Tensor) -> Tensor:
        """Parameters of the entries (d e or e or 1, k, s) side by side, (d or 1, k, e s)."""
        if len(natural) == 1:
            natural = natural.expand(self._entries, *natural.shape[1:])
        return self._by_entry(natural).transpose(1, 2).flatten(2)

    def _spread(self, weights: Tensor) -> Tensor:
        d, k, n = weights.shape
        if self.pooled:
            flat = weights.transpose(0, 1).reshape(1, k, d * n)
            return flat.expand(self._entries, k, d * n)
        return weights.unsqueeze(1).expand(d, self._entries, k, n).flatten(0, 1)

    def _pooled(self, statistics: Statistics) -> Statistics:
        return statistics  # the factor knows what it shares

    def _maximise(self, statistics: Statistics) -> None:
        self.factor.maximise(statistics)

    def _prior(self) -> Tensor:
        return self.factor.log_prior()

    def _initialise(self, data: Data, generator: torch.Generator | None) -> None:
        """Seeds are whole vectors, so that the entries of one component belong together."""
        some = some_rows(data, generator)
        self.factor.initialise(self._flat_data(some), generator)
        mean = mean_of(some.values, some.observed)
        filled = imputed(some.values, some.observed, mean)
        spread = seeds(filled, some.any_observed, self.largest, self.shared, generator)

        def weights(rows: Data) -> Tensor:
            return spread.weights(imputed(rows.values, rows.observed, mean), rows.any_observed)

        for _ in range(2):
            self.maximise(self._summed(data, weights))

    def _sample(self, indices: Tensor, generator: torch.Generator | None) -> Tensor:
        draws = self.factor._sample(self._repeated(indices), generator)
        return self._vectors(draws, indices.shape[1])

    def _complete(self, indices: Tensor, data: Data, generator: torch.Generator | None) -> Tensor:
        flat = self._flat_data(data)
        return self._vectors(
            self.factor._complete(self._repeated(indices), flat, generator), len(data)
        )

    def _inside(self, x: Tensor) -> Tensor:
        return self._vectors(self.factor._inside(self._flat(x)), x.shape[1])

    def _title(self, variable: int) -> str:
        return self.factor._title(0 if self.pooled else variable * self._entries)

    def _domain(self, variable: int) -> str:
        return self.factor._domain(0 if self.pooled else variable * self._entries)

    def _mean(self) -> Tensor:
        return self._moment(self.factor.mean())

    def _variance(self) -> Tensor:
        return self._moment(self.factor.variance())

    def _numbers(self, variable: int) -> list[int]:
        """The factor's variables that are the entries of one variable."""
        first = 0 if self.pooled else variable * self._entries
        return list(range(first, first + self._entries))

    def _alphabet(self, variable: int) -> tuple[int, ...] | None:
        counts: list[int] = []
        for number in self._numbers(variable):
            own = self.factor._alphabet(number)
            if own is None:
                return None
            counts += own
        return tuple(counts)

    def _nodes(self, variable: int, most: int) -> tuple[Tensor, Tensor]:
        """The product of the entries' rules."""
        each = along_each(most, self._entries)
        rules = [self.factor._nodes(number, each) for number in self._numbers(variable)]
        points, weights = tensor_rule(rules)
        return points.unflatten(-1, self.event), weights

    def _moment(self, values: Tensor) -> Tensor:
        values = self._by_entry(values).mT
        return values.reshape(*values.shape[:2], *self.event)

    def _box(self, low: Tensor, high: Tensor) -> Tensor:
        n = low.shape[2]
        ends = [self._flat(end.squeeze(1)).mT for end in (low, high)]
        logs = self.factor.log_prob_box(*ends).permute(1, 2, 0)
        if self.pooled:
            return logs.sum(0).reshape(self.largest, self.variables, n).transpose(0, 1)
        return self._by_entry(logs).sum(1)

    def _inner(self, other: Product) -> Tensor:
        if (self.pooled, self._entries) != (other.pooled, other._entries):
            raise ValueError("inner: expected both products, or neither, to share their factor")
        return self._by_entry(self.factor.inner(other.factor)).prod(1)

    def _count(self) -> int:
        return self.factor.num_parameters

    # Building --------------------------------------------------------------------------------

    def _select(self, variables: Sequence[int]) -> Product:
        names = None if self.names is None else [self.names[j] for j in variables]
        if self.pooled:
            return Product(
                copy.deepcopy(self.factor), self.event, variables=len(variables), names=names
            )
        e = self._entries
        numbers = [j * e + t for j in variables for t in range(e)]
        return Product(self.factor.select(numbers), self.event, names=names)

    def _of_length(self, variables: int) -> Product:
        if self.pooled:
            return Product(copy.deepcopy(self.factor), self.event, variables=variables)
        return Product(self.factor.of_length(variables * self._entries), self.event)

    def _config(self, variables: Sequence[int]) -> dict[str, Any]:
        return {
            "family": type(self).__name__,
            "factor": self.factor.config(),
            "event": list(self.event),
            "variables": self.variables if self.pooled else None,
            "names": None if self.names is None else list(self.names),
        }

    @classmethod
    def _from_config(cls, config: dict[str, Any]) -> Product:
        return cls(
            Components.from_config(config["factor"]),
            config["event"],
            variables=config["variables"],
            names=config["names"],
        )
