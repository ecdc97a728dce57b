"""What a kind of component must say of itself: the protected hooks below the public methods."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from mixtures.components.encoding import Data
from mixtures.components.quadrature import INSTEAD, every_row

Statistics = dict[str, Tensor]
Self = TypeVar("Self", bound="Hooks")

FAMILIES: dict[str, type[Hooks]] = {}
"""Every class of components by its name; a saved file names its class."""


_ONES: WeakKeyDictionary[Hooks, Hooks] = WeakKeyDictionary()  # see `_of_one`


class Hooks(nn.Module, ABC):
    """Sizes of a set of components, and the hooks that the public methods call once they checked.

    Shapes: d variables, k = the largest number of components, n rows, `event` of one entry of x.
    Every persistent parameter and buffer has shape (d, k or 1, ..), or (1, k or 1, ..) if shared.
    """

    variables: int
    shape: tuple[int, ...]
    event: tuple[int, ...]
    shared: bool
    names: tuple[str, ...] | None
    _anchor: Tensor
    _absent: Tensor | None

    _counting: ClassVar[bool] = False
    """Whether statistics are made of weights of any type; those of other families are float64."""

    _discrete: ClassVar[bool] = False
    """Whether x is whole numbers, each entry by itself."""

    _partial: bool = False
    """Whether entries of one vector may be missing on their own."""

    def __init__(
        self,
        variables: int,
        components: int | Sequence[int],
        *,
        event: Sequence[int] = (),
        shared: bool = False,
        names: Sequence[str] | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        self.variables = _positive("variables", variables)
        self.shape = _component_counts(variables, components)
        self.event = tuple(_positive("every size of event", size) for size in event)
        self.shared = bool(shared)
        if names is not None and len(names) != variables:
            raise ValueError(f"expected {variables} names, got {len(names)}")
        if shared and len(set(self.shape)) > 1:
            raise ValueError(f"expected one number of shared components, got {self.shape}")
        self.names = None if names is None else tuple(names)
        anchor = torch.empty((), dtype=dtype, device=device)
        if not anchor.is_floating_point():
            raise ValueError(f"expected a floating-point dtype, got {dtype}")
        self.register_buffer("_anchor", anchor, persistent=False)
        absent = torch.arange(self.largest, device=device) >= torch.tensor(
            self.shape, device=device
        ).unsqueeze(-1)
        ragged = len(set(self.shape)) > 1
        self.register_buffer("_absent", absent if ragged else None, persistent=False)

    @property
    def largest(self) -> int:
        """The largest number of components of any variable: the k of (d, k, ..)."""
        return max(self.shape)

    @property
    def dtype(self) -> torch.dtype:
        """The floating-point type of parameters and densities."""
        return self._anchor.dtype

    @property
    def device(self) -> torch.device:
        """Where parameters and densities live."""
        return self._anchor.device

    def extra_repr(self) -> str:
        """Sizes, for print."""
        k = self.shape[0] if len(set(self.shape)) == 1 else f"up to {self.largest}"
        event = f", event={self.event}" if self.event else ""
        return f"{self.variables}, {k}{event}{', shared=True' if self.shared else ''}"

    def described(self) -> str:
        """The family and its sizes in one line."""
        return f"{type(self).__name__}({self.extra_repr()})"

    # Shapes --------------------------------------------------------------------------------

    def _expanded(self, values: Tensor) -> Tensor:
        return values.expand(self.variables, *values.shape[1:])

    def _masked(self, values: Tensor) -> Tensor:
        """Zero beyond k_j, for values (d, k, ..)."""
        if self._absent is None:
            return values
        if len(values) == 1:
            values = values.expand(self.variables, *values.shape[1:])
        return values.masked_fill(
            self._absent.reshape(self._absent.shape + (1,) * (values.ndim - 2)), 0
        )

    def _row(self, parameter: Tensor, variable: int) -> Tensor:
        """What a parameter (d or 1, k or 1, ..) says of one variable, (k_j or 1, ..)."""
        return parameter[variable if len(parameter) > 1 else 0][: self.shape[variable]]

    # Hooks: densities and draws ------------------------------------------------------------

    @abstractmethod
    def _evaluate(self, data: Data) -> Tensor:
        """log f (d, k, n) of what was observed, 0 where nothing was."""

    @abstractmethod
    def _sample(self, indices: Tensor, generator: torch.Generator | None) -> Tensor:
        """One draw (d, n, *event) from the component that each index (d, n) names."""

    def _symbols(self) -> Tensor | None:
        """The probabilities (d or 1, k, V) of the symbols 0 .. V - 1, if entries are symbols."""
        return None

    def _complete(self, indices: Tensor, data: Data, generator: torch.Generator | None) -> Tensor:
        """Observed entries as they are, the others drawn given them: independent by default."""
        if data.observed is None:
            return data.values
        seen = data.observed
        seen = seen.reshape(seen.shape + (1,) * (data.values.ndim - seen.ndim))
        return torch.where(seen, data.values, self._sample(indices, generator))

    def _inside(self, x: Tensor) -> Tensor:
        """Which finite entries of x (d, n, *event) lie in the domain; all by default."""
        return torch.ones_like(x, dtype=torch.bool)

    def _title(self, variable: int) -> str:
        """The name of a variable's family, for messages."""
        return type(self).__name__

    def _domain(self, variable: int) -> str:
        """The domain of a variable in words, for messages."""
        return "real numbers"

    # Hooks: learning -----------------------------------------------------------------------

    @abstractmethod
    def _collect(self, data: Data, weights: Tensor) -> Statistics:
        """Additive float64 statistics of the rows under weights (d, k, n)."""

    @abstractmethod
    def _maximise(self, statistics: Statistics) -> None:
        """The M-step; what has no weight keeps its parameters."""

    def _log_prior(self) -> Tensor:
        """Log prior density of each component's parameters, (d or 1, k)."""
        return torch.zeros((1, 1), dtype=torch.float64, device=self.device)

    def _prior(self) -> Tensor:
        each = self._log_prior()
        return self._masked(each.expand(-1, self.largest)).sum()

    @abstractmethod
    def _initialise(self, data: Data, generator: torch.Generator | None) -> None:
        """Starting parameters from data."""

    def _free(self, variable: int) -> int:
        """Free parameters of one variable: by default, every number held for its components."""
        held = sum(parameter.shape[2:].numel() for parameter in self.parameters())
        return held * self.shape[variable]

    def _count(self) -> int:
        return sum(self._free(j) for j in range(1 if self.shared else self.variables))

    # Hooks: families linear in features of x, which products evaluate as one matrix product --

    def _natural(self) -> Tensor | None:
        """Finite a (d or 1, k, s) with log f = <a, features of x>, or None if there are none.

        The sums over rows of the features must be the statistic "count", and of each row the
        features must add up to one, or to zero if it is missing.
        """
        return None

    def _features(self, data: Data) -> Tensor:
        """Features (d, n, s) in the components' dtype, zero where x is missing."""
        raise ValueError(f"{type(self).__name__} is not linear in features")

    # Hooks: families whose log f is a sum of a few functions of x, whatever the component ----

    def _exponents(self, data: Data, dtype: torch.dtype) -> tuple[Tensor, float] | None:
        """Finite a (d or 1, k, s) with log f = <a, basis of x>, and what no log f exceeds; None if
        there are none, or if so many digits of `dtype` cancel in the sum for some of the data that
        they would be missed.
        """
        return None

    def _basis(self, data: Data, dtype: torch.dtype, out: Tensor | None = None) -> Tensor:
        """(d, s, n), zero where x is missing; the last function is constant, one. `out`: memory for
        it, float64.
        """
        raise ValueError(f"log f of {type(self).__name__} is no sum of a few functions")

    def _of_basis(self, sums: Tensor) -> Statistics:
        """The statistics, given the sums over the rows of the basis, float64 (d or 1, k, s)."""
        raise ValueError(f"log f of {type(self).__name__} is no sum of a few functions")

    # Hooks: closed forms that not every family has -----------------------------------------

    def _mean(self) -> Tensor:
        raise ValueError(f"{type(self).__name__} has no mean")

    def _mean_given(self, data: Data) -> Tensor:
        """Means (d, k, n, *event) given what was observed; entries are independent by default."""
        means = self._expanded(self._mean()).unsqueeze(2)
        return means.expand(-1, self.largest, len(data), *self.event)

    def _variance(self) -> Tensor:
        raise ValueError(f"{type(self).__name__} has no variance")

    def _covariance(self) -> Tensor:
        """Covariances of the entries of x, (d or 1, k, e, e); by default they are uncorrelated."""
        variance = self._variance()
        return variance.reshape(*variance.shape[:2], math.prod(self.event)).diag_embed()

    def _alphabet(self, variable: int) -> tuple[int, ...] | None:
        """How many values 0, 1, .. each entry of a variable takes; None if not finitely many."""
        return None

    def _nodes(self, variable: int, most: int) -> tuple[Tensor, Tensor]:
        """Points (k_j or 1, m, *event) and weights (k_j, m) whose sums are expectations.

        By default all values of a finite alphabet, at a cost of d k m. Points need no gradient;
        where their number can be chosen it is at most `most`.
        """
        counts = self._alphabet(variable)
        if counts is None or math.prod(counts) > most:
            what = "no rule" if counts is None else f"{math.prod(counts)} values, too many,"
            raise ValueError(
                f"{self._title(variable)} has {what} for expectations of functions: {INSTEAD}"
            )
        points = every_row(list(counts), self.device).reshape(-1, *self.event)
        values = points.new_zeros(self.variables, *points.shape)
        values[variable] = points
        seen = torch.zeros(values.shape[:2], dtype=torch.bool, device=self.device)
        seen[variable] = True
        logs = self._evaluate(Data(values, seen))[variable, : self.shape[variable]]
        return points.unsqueeze(0), logs.exp()

    def _box(self, low: Tensor, high: Tensor) -> Tensor:
        """log P(low < x <= high) (d, k, n) for bounds (d, 1, n, *event), infinite where open."""
        raise ValueError(f"{type(self).__name__} has no closed form for the mass of a box")

    def _inner(self: Self, other: Self) -> Tensor:
        """Integrals of the products of components (d or 1, k, k'); other is of the same class."""
        raise ValueError(f"{type(self).__name__} has no closed form for inner products")

    # Hooks: building and rebuilding --------------------------------------------------------

    def _settings(self, variables: Sequence[int]) -> dict[str, Any]:
        """The constructor's other keywords, JSON-able, for some of the variables."""
        return {}

    def _config(self, variables: Sequence[int]) -> dict[str, Any]:
        counts = [self.shape[j] for j in variables]
        return {
            "family": type(self).__name__,
            "variables": len(counts),
            "components": counts[0] if len(set(counts)) == 1 else counts,
            "shared": self.shared,
            "names": None if self.names is None else [self.names[j] for j in variables],
            "dtype": str(self.dtype).removeprefix("torch."),
            **self._settings(variables),
        }

    @classmethod
    def _from_config(cls: type[Self], config: dict[str, Any]) -> Self:
        """Rebuild from everything but "family"; parameters are drawn, to be loaded over."""
        dtype = getattr(torch, config.pop("dtype"))
        return cls(**config, dtype=dtype, generator=torch.Generator())  # type: ignore[call-arg]

    def _select(self: Self, variables: Sequence[int]) -> Self:
        """The same class over some variables, parameters copied by the convention above."""
        config = self._config(variables)
        del config["family"]
        new = self._from_config(config).to(self.device)
        rows = torch.tensor([0] if self.shared else list(variables), device=self.device)
        mine = self.state_dict()
        new.load_state_dict(
            {
                name: mine[name][rows][tuple(map(slice, value.shape))].clone()
                for name, value in new.state_dict().items()
            }
        )
        return new

    def _of_length(self: Self, variables: int) -> Self:
        if self.names is not None:
            raise ValueError("expected components without names: names belong to one length")
        return self._select([0] * variables)

    def _of_one(self: Self) -> Self:
        """The same parameters for one variable, whatever becomes of them."""
        one = _ONES.get(self)
        if one is None:
            one = _ONES[self] = self._select([0])
            for held in ("_parameters", "_buffers", "_modules"):
                vars(one)[held] = vars(self)[held]
        return one  # type: ignore[return-value]

    def _parts(self) -> list[Any]:
        """The components that lie side by side along k: itself, unless concatenated."""
        return [self]

    def _gapless(self, values: Tensor, axis: int) -> Tensor:
        """Close the gaps that the parts' padding leaves along an axis of components."""
        return values


def _positive(name: str, size: int) -> int:
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise ValueError(f"expected {name} to be a positive integer, got {size!r}")
    return size


def _component_counts(variables: int, components: int | Sequence[int]) -> tuple[int, ...]:
    if isinstance(components, int):
        return (_positive("components", components),) * variables
    if len(components) != variables:
        raise ValueError(
            f"expected components as one number or one for each of the {variables} variables, "
            f"got {len(components)}"
        )
    return tuple(_positive("components", size) for size in components)
