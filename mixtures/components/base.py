"""The components of homogeneous mixtures: k_j densities for each of d variables."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar, final

import torch
from torch import Tensor

from mixtures.components.columns import blocks
from mixtures.components.encoding import Data, column, encode, unpacked
from mixtures.components.hooks import FAMILIES, Statistics
from mixtures.components.moments import Moments, refuse_overriding

Self = TypeVar("Self", bound="Components")

SYMBOLS_FIRST = 2**24  # of so many entries the symbols are checked in place of the entries


class Components(Moments):
    """k_j densities f_{j,1}, .., f_{j,k_j} for each variable j = 0..d-1.

    Public methods are final: they check once and call a protected hook. To write a family of your
    own subclass `Family`, which needs four hooks.

    Attributes: `variables` d, `shape` (k_1, .., k_d), `largest` max k_j, `event` the shape of one
    entry of x (() for numbers), `shared` whether all variables use one set of parameters, `names`
    of the columns, used in messages.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        refuse_overriding(Components, cls)
        known = FAMILIES.get(cls.__name__)
        if known is not None and known.__module__ != cls.__module__:
            raise TypeError(f"a family named {cls.__name__} exists already in {known.__module__}")
        FAMILIES[cls.__name__] = cls

    # Data ----------------------------------------------------------------------------------

    @final
    def encode(self, x: Any, observed: Any = None) -> Data:
        """Check rows x (n, d, *event) and encode them once, for use in every query.

        x: float with NaN for missing, integers or bool; tensor, array, masked array, data frame or
        lists. `observed`: bool of the same shape. Data that are encoded already pass untouched.

        Raises ValueError naming column, row and value for anything outside the domain.
        """
        if isinstance(x, Data):
            return x
        values, seen = encode(
            x,
            observed,
            variables=self.variables,
            event=self.event,
            dtype=self.dtype,
            device=self.device,
            names=self.names,
        )
        if seen is not None and seen.ndim > 2 and not self._partial:
            raise ValueError(
                f"{type(self).__name__} takes vectors seen or missing as a whole, got some in part"
            )
        data = Data(values, seen)
        self._check_domain(data)
        return data

    def _check_domain(self, data: Data) -> None:
        coding = data.coding if data.values.numel() <= SYMBOLS_FIRST else None
        if coding is not None and all(coding.sizes):
            with torch.no_grad():
                fits = self._inside(coding.values)
            if bool((fits if coding.observed is None else fits | ~coding.observed).all()):
                return
        for rows in blocks(len(data), data.values[:, :1].numel()):
            with torch.no_grad():
                self._check_rows(data.rows(rows), rows.start)

    def _check_rows(self, data: Data, first: int) -> None:
        values = data.values.detach()
        outside = ~(self._inside(values) & values.isfinite())
        if data.observed is not None:
            seen = data.observed
            outside &= seen.reshape(seen.shape + (1,) * (values.ndim - seen.ndim))
        if bool(outside.any()):
            place = torch.nonzero(outside.movedim(0, 1))[0].tolist()
            row, variable, *entry = place
            value = values[variable, row][tuple(entry)].item()
            at = f", entry {tuple(entry)}" if entry else ""
            raise ValueError(
                f"{column(variable, self.names)}, row {first + row}{at}: {value:g} is outside the "
                f"domain of {self._title(variable)}, {self._domain(variable)}"
            )

    @final
    @property
    def discrete(self) -> bool:
        """Whether entries are whole numbers, each by itself."""
        return self._discrete

    @final
    def within(self, values: Tensor) -> Tensor:
        """Which of the values (d, n, *event) lie in their variable's domain, as bool."""
        return self._inside(values)

    @final
    def of_one(self: Self) -> Self:
        """The shared densities as those of a single variable; parameters stay those of this object.

        Raises ValueError unless `is_tied`.
        """
        if not self.is_tied:
            raise ValueError(f"expected shared densities, got {type(self).__name__}")
        return self._of_one()

    @final
    @property
    def is_tied(self) -> bool:
        """Whether all variables have the same densities, which are not made of other components."""
        return self.shared and not any(isinstance(part, Components) for part in self.children())

    # Densities -----------------------------------------------------------------------------

    @final
    def log_prob(self, x: Any, observed: Any = None) -> Tensor:
        """log f_{j,i}(x_j) as (n, d, max k_j); exactly 0 where x_j is missing and beyond k_j.

        A value inside the domain but outside a component's support gives -inf. Costs n d k.

        >>> from mixtures.components import Bernoulli
        >>> Bernoulli.from_parameters([[0.25, 0.5]]).log_prob([[1]]).exp().tolist()
        [[[0.25, 0.5]]]
        """
        return self.log_prob_encoded(self.encode(x, observed)).permute(2, 0, 1)

    @final
    def log_prob_encoded(self, data: Data) -> Tensor:
        """log f_{j,i}(x_j) of encoded data as (d, max k_j, n), the layout of the evaluator."""
        return self._masked(self._evaluate(data))

    @final
    def exponents(self, data: Data) -> tuple[Tensor, float] | None:
        """Finite a (d or 1, k, s) with log f = <a, basis of x> in full precision for these data,
        and what no log f exceeds; or None.
        """
        return None if self._absent is not None else self._exponents(data, self.dtype)

    @final
    def basis(self, data: Data, out: Tensor | None = None) -> Tensor:
        """The functions of x that `exponents` weighs, (d, s, n): zero where x is missing, the last
        one constant. `out`: memory for them, float64.
        """
        return self._basis(data, self.dtype, out)

    @final
    def statistics_of(self, sums: Tensor) -> Statistics:
        """The statistics, given sums over the rows of the basis, float64 (d or 1, k, s)."""
        return self._of_basis(sums)

    @final
    def log_prob_box(self, low: Any, high: Any) -> Tensor:
        """log P(low < x_j <= high) under each component, (n, d, max k_j).

        Families on whole numbers sum over low <= x <= high, ends included. Bounds: (n, d, *event),
        or (d, *event) for a single box (n = 1); -inf and inf are allowed, NaN leaves an end free,
        and a variable with both ends free has log-probability 0.

        Raises ValueError where the family has no closed form.
        """
        bounds = [self._bound(low, -torch.inf), self._bound(high, torch.inf)]
        lower, upper = torch.broadcast_tensors(*bounds)
        free = (lower == -torch.inf) & (upper == torch.inf)
        free = free.flatten(3).all(-1) if self.event else free
        values = self._box(lower, upper).masked_fill(free, 0.0)
        return self._masked(values).permute(2, 0, 1)

    def _bound(self, bound: Any, free: float) -> Tensor:
        bound = torch.as_tensor(bound, dtype=self.dtype, device=self.device)
        row = (self.variables, *self.event)
        if bound.shape != row and bound.shape[1:] != row:
            raise ValueError(
                f"expected bounds of shape (n, d, ..) or {row}, got {tuple(bound.shape)}"
            )
        bound = bound.reshape(-1, *row).movedim(0, 1).unsqueeze(1)
        return bound.masked_fill(bound.isnan(), free)

    @final
    def inner(self, other: Components) -> Tensor:
        """Gram matrices <f_{j,a}, g_{j,b}> = integral (or sum) of f_{j,a} g_{j,b}, (d, k, k').

        Raises ValueError where the families differ or have no closed form.
        """
        if (other.variables, other.event) != (self.variables, self.event):
            raise ValueError(
                f"expected components of {self.variables} variables with event {self.event}, "
                f"got {other.variables} with {other.event}"
            )
        rows = [_gram_row(mine, other._parts()) for mine in self._parts()]
        gram = self._gapless(torch.cat(rows, 1), 1)
        gram = self._masked(other._gapless(gram, 2))
        return other._masked(gram.mT).mT

    # Draws ---------------------------------------------------------------------------------

    @final
    @torch.no_grad()
    def sample(self, indices: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """One draw (n, d, *event) from the component that each index, (n, d) long, names."""
        return self._sample(self._checked(indices), generator).movedim(0, 1)

    @final
    @torch.no_grad()
    def sample_parts(
        self, parts: Iterable[Tensor], generator: torch.Generator | None = None
    ) -> Iterator[Tensor]:
        """Draws (d, B, *event) for parts (d, B) of what the evaluator chose, unchecked."""
        for indices in parts:
            yield self._sample(indices, generator)

    @final
    @torch.no_grad()
    def complete(
        self, indices: Tensor, data: Data, generator: torch.Generator | None = None
    ) -> Tensor:
        """The rows of data, (n, d, *event), with missing entries drawn from component `indices`.

        Observed entries stay as they are, and what is missing of a vector is drawn given the rest.
        """
        if len(indices) != len(data):
            raise ValueError(f"expected indices for {len(data)} rows, got {len(indices)}")
        return unpacked(self._complete(self._checked(indices), data, generator)).movedim(0, 1)

    def _checked(self, indices: Tensor) -> Tensor:
        if indices.ndim != 2 or indices.shape[1] != self.variables or indices.is_floating_point():
            raise ValueError(
                f"expected integer indices of shape (n, {self.variables}), got "
                f"{indices.dtype} of shape {tuple(indices.shape)}"
            )
        counts = torch.tensor(self.shape, device=indices.device)
        wrong = (indices < 0) | (indices >= counts)
        if bool(wrong.any()):
            row, variable = torch.nonzero(wrong)[0].tolist()
            raise ValueError(
                f"expected components 0 to {self.shape[variable] - 1} of variable {variable}, got "
                f"{indices[row, variable]} in row {row}"
            )
        return indices.long().mT

    # Learning ------------------------------------------------------------------------------

    @final
    @torch.no_grad()
    def statistics(self, data: Data, weights: Tensor) -> Statistics:
        """Sums over the rows that the M-step needs, float64, under weights (d, max k_j, n).

        Missing entries count nothing. Statistics of two chunks of data add up key by key, as long
        as `initialise` was not called between them.
        """
        expected = (self.variables, self.largest, len(data))
        if weights.shape != expected:
            raise ValueError(f"expected weights of shape {expected}, got {tuple(weights.shape)}")
        weights = self._masked(weights.detach())
        return self._collect(data, weights if self._counting else weights.double())

    @final
    @torch.no_grad()
    def joint(self, data: Data) -> Tensor | None:
        """Finite a (k, d s), float64: sums over j of log f_{j,i}(x_j) are a @ `joint_features`, in
        full precision for these data; or None.
        """
        if self._absent is not None:
            return None
        natural, exponents = self._natural(), self._exponents(data, torch.float64)
        found = natural if exponents is None else exponents[0]
        return None if found is None else self._expanded(found.double()).transpose(0, 1).flatten(1)

    @final
    @torch.no_grad()
    def joint_features(self, data: Data) -> Tensor:
        """(d s, n), float64, zero where x is missing."""
        if self._natural() is not None:
            return self._features(data).mT.double().flatten(0, 1)
        return self._basis(data, torch.float64).flatten(0, 1)

    @final
    @torch.no_grad()
    def joint_statistics(self, features: Tensor, weights: Tensor) -> Statistics:
        """`statistics` where all variables of a row have the same component: weights (k, n), given
        the features of the rows.
        """
        sums = (features @ weights.double().mT).unflatten(0, (self.variables, -1)).mT
        if self._natural() is None:
            return self._of_basis(sums)
        return {"count": sums, "weight": sums.sum(-1)}

    def _summed(self, data: Data, weights: Callable[[Data], Tensor]) -> Statistics:
        """Statistics of all rows, whose weights (d, max k_j, n) are asked for block by block."""
        total: Statistics = {}
        numbers = self.variables * self.largest * math.prod(self.event)
        for rows in blocks(len(data), numbers):
            block = data.rows(rows)
            sums = self.statistics(block, weights(block))
            total = {name: total[name] + sums[name] for name in sums} if total else sums
        return total if total else self.statistics(data, weights(data))

    @final
    def pool_shared(self, statistics: Statistics) -> Statistics:
        """Statistics of shared components summed over the variables, as those of `of_one`."""
        return self._pooled(statistics) if self.shared else statistics

    @final
    def maximise(self, statistics: Statistics) -> None:
        """One M-step: the parameters that maximise expected log-likelihood + log prior.

        A component without weight keeps its parameters. Raises ValueError where one collapses, and
        changes nothing then.
        """
        if self.shared:
            statistics = self._pooled(statistics)
        with (
            torch.inference_mode(False),
            torch.no_grad(),
        ):  # parameters must not be inference tensors
            before = {name: value.clone() for name, value in self.state_dict().items()}
            try:
                self._maximise(statistics)
            except ValueError:
                self.load_state_dict(before)
                raise

    def _pooled(self, statistics: Statistics) -> Statistics:
        return {name: value.sum(0, keepdim=True) for name, value in statistics.items()}

    @final
    def log_prior(self) -> Tensor:
        """Log prior density of the parameters up to a constant: the prior `maximise` uses."""
        return self._prior()

    @final
    def initialise(self, data: Data, generator: torch.Generator | None = None) -> None:
        """Starting parameters from data: spread over them, valid also where nothing varies."""
        with torch.inference_mode(False), torch.no_grad():
            self._initialise(data, generator)

    @final
    @property
    def num_parameters(self) -> int:
        """How many free numbers the components have; shared ones count once."""
        return self._count()

    # Building ------------------------------------------------------------------------------

    @final
    def select(self: Self, variables: Sequence[int]) -> Self:
        """The components of some variables, in that order, as a copy."""
        wrong = [j for j in variables if not 0 <= j < self.variables]
        if wrong or not len(variables):
            raise ValueError(
                f"expected some of the variables 0 to {self.variables - 1}, got {list(variables)}"
            )
        return self._select([int(j) for j in variables])

    @final
    def of_length(self: Self, variables: int) -> Self:
        """The same shared densities for another number of variables, as a copy.

        Raises ValueError unless the parameters are shared.
        """
        if not self.shared:
            raise ValueError(f"expected shared=True, got {type(self).__name__} with shared=False")
        return copy.deepcopy(self) if variables == self.variables else self._of_length(variables)

    @final
    def config(self) -> dict[str, Any]:
        """Everything but the parameters, ready for JSON; with the state_dict it is the object."""
        return self._config(range(self.variables))

    @final
    @classmethod
    def from_config(cls: type[Self], config: dict[str, Any]) -> Self:
        """The components a `config()` describes, with parameters drawn at random."""
        family = FAMILIES.get(config["family"])
        if family is None or not issubclass(family, cls):
            raise ValueError(f"expected the name of a {cls.__name__}, got {config['family']!r}")
        return family._from_config({key: config[key] for key in config if key != "family"})


def _gram_row(mine: Components, others: list[Any]) -> Tensor:
    return torch.cat([_gram(mine, other) for other in others], 2)


def _gram(first: Components, second: Components) -> Tensor:
    if type(first) is not type(second):
        raise ValueError(f"inner: expected {type(first).__name__}, got {type(second).__name__}")
    return first._expanded(first._inner(second))
