"""Coefficient tensors: the tensor W of a homogeneous mixture, known through contractions with
vectors.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from typing_extensions import final

from mixtures import engine, sizes
from mixtures.checks import as_index, as_leaves, checked_evidence, finals_kept, name_rows
from mixtures.circuit import Circuit
from mixtures.configured import Configured
from mixtures.contraction import Contraction
from mixtures.described import Described, Facts, tensor_facts, tensor_line
from mixtures.errors import SizeError
from mixtures.residues import residues
from mixtures.semiring import Linear, Log, Max, Modular, Sample, Semiring
from mixtures.tables import Table
from mixtures.terms import Terms

DENSE_BUDGET = 2**26  # entries `.dense()` and `.matricize()` build without being told to


class Explanation(NamedTuple):
    """The best joint explanation: components (n, d), {latent: (n,)}, and its log-weight (n,)."""

    components: Tensor
    states: dict[Hashable, Tensor]
    log_weight: Tensor


class CoefficientTensor(Described, Configured, nn.Module, ABC):
    """A non-negative tensor W of shape (k_1, .., k_d) that sums to one, held as a circuit with
    tables.

    Everything is derived from contractions <W, v_1 x .. x v_d> under a semiring. A class of the zoo
    is a constructor that hands a circuit and its tables to this one, and one hook, `_dense`.
    """

    tables: Sequence[Table]  # an nn.ModuleList
    _like: Tensor

    def __init__(
        self, circuit: Circuit, tables: Sequence[Table], like: Tensor | None = None
    ) -> None:
        super().__init__()
        like = tables[0].logits.detach() if like is None else like
        self.register_buffer("_like", like.new_empty(0), persistent=False)
        self.circuit = circuit
        self.tables = cast(Sequence[Table], nn.ModuleList(tables))
        self._stand_in: list[Tensor] | None = None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        finals_kept(cls, CoefficientTensor)

    @abstractmethod
    def _dense(self) -> Tensor:
        """All entries of W, shape `shape`; the size has been checked."""

    # -- what it is ------------------------------------------------------------------------------

    @property
    def variables(self) -> int:
        """d, the number of variables."""
        return self.circuit.variables

    @property
    def shape(self) -> tuple[int, ...]:
        """(k_1, .., k_d), the numbers of components."""
        return self.circuit.inputs

    @property
    def latents(self) -> tuple[Hashable, ...]:
        """The names of the latent nodes, bottom up."""
        return tuple(self.circuit.latents)

    def num_states(self, latent: Hashable) -> int:
        """How many states a latent has."""
        return self.circuit.states_of(latent)

    @property
    def dtype(self) -> torch.dtype:
        """The type of the tables."""
        return self._like.dtype

    @property
    def device(self) -> torch.device:
        """Where the tables are."""
        return self._like.device

    @property
    def size(self) -> int:
        """Edges of the unrolled circuit: each use of a table counts its non-zero entries (an
        identity on r states: r), each product of at least two factors counts its factors.
        """
        return sizes.edges(self.circuit, self.arrays)

    @property
    def stored(self) -> int:
        """Numbers held: ties once, identities none."""
        return sizes.stored(self.circuit, self.arrays)

    @property
    def num_parameters(self) -> int:
        """Free parameters: rows sum to one, structural zeros are fixed, ties count once."""
        return sizes.free_parameters(self.arrays)

    @property
    def dimension(self) -> int:
        """Identifiable parameters: the exact rank of the Jacobian of W, generic in the tables."""
        from mixtures.dimension import dimension

        return dimension(self)

    @property
    def depth(self) -> int:
        """The largest number of latents between the value of W and a component."""
        return sizes.depth(self.circuit)

    @final
    def is_normalised(self, tolerance: float | None = None) -> bool:
        """Whether the entries of W sum to one, up to `tolerance` (default: rounding)."""
        if tolerance is None:
            tolerance = torch.finfo(self.dtype).eps * 64 * (1 + self.variables)
        ones = torch.zeros((self.variables, max(self.shape)), dtype=self.dtype, device=self.device)
        return bool(self.contract(ones).abs() < tolerance)

    def _line(self) -> str:
        return tensor_line(self)

    def _facts(self) -> Facts:
        return tensor_facts(self)

    # -- values ----------------------------------------------------------------------------------

    @final
    def contract(
        self,
        leaves: Tensor,
        ring: Semiring | None = None,
        evidence: Mapping[Hashable, Tensor] | None = None,
    ) -> Tensor:
        """<W, v_1 x .. x v_d> for leaves in the ring's representation.

        leaves: (*batch, d, max k_j), columns beyond k_j are ignored; under Log (the default)
        logarithms, where 0 means a missing variable. evidence: {latent: (*batch, r) log-weights}.
        Returns (*batch,). Differentiable under Log and Linear, a constant under Max. Raises
        ValueError for a wrong shape, type or latent.

        >>> from mixtures import TMM
        >>> W = TMM.from_factors(torch.tensor([1.0]), torch.tensor([[[0.5, 0.5]], [[0.25, 0.75]]]))
        >>> W.contract(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), Linear()).item()
        0.375
        """
        ring = Log() if ring is None else ring
        leaves, batch = as_leaves(self, leaves, ring)
        logs = checked_evidence(self, evidence, batch)
        if isinstance(ring, Modular):
            flat = engine.contract(self.circuit, self._residues(ring), _source(leaves, logs), ring)
        elif isinstance(ring, Max):
            with torch.no_grad():
                flat = engine.contract(self.circuit, self.arrays, _source(leaves, logs), ring)
        elif isinstance(ring, Linear | Log):
            flat = self._differentiable(leaves, logs, ring)
        else:
            raise ValueError(
                f"ring must be Linear(), Log(), Max(), Sample() or Modular(p), got {ring!r}"
            )
        if ring.logarithmic and bool(flat.isnan().any()):
            raise ValueError(f"leaves contain NaN in {name_rows(flat.isnan())}")
        return flat.reshape(batch)

    @final
    def __getitem__(self, index: Any) -> Tensor:
        """One entry for an index (d,), or entries (n,) for a batch of indices (n, d)."""
        index = as_index(self, index)
        most = max(self.shape)
        leaves = nn.functional.one_hot(index, most).to(self.dtype)
        return self.contract(leaves, Linear())

    @final
    def dense(self, budget: int = DENSE_BUDGET) -> Tensor:
        """All entries, shape (k_1, .., k_d); raises SizeError beyond `budget` entries."""
        self._check_budget(budget)
        with torch.no_grad():
            return self._dense()

    @final
    def matricize(self, rows: Sequence[int], budget: int = DENSE_BUDGET) -> Tensor:
        """W as a matrix: `rows` index its rows (the last fastest), all other variables its columns.

        Raises ValueError unless `rows` are distinct variables, SizeError beyond `budget` entries.
        """
        rows = [int(j) for j in rows]
        if len(set(rows)) < len(rows) or not all(0 <= j < self.variables for j in rows):
            raise ValueError(f"rows must be distinct variables 0..{self.variables - 1}, got {rows}")
        columns = [j for j in range(self.variables) if j not in set(rows)]
        height = 1
        for j in rows:
            height *= self.shape[j]
        return self.dense(budget).permute(rows + columns).reshape(height, -1)

    # -- queries ---------------------------------------------------------------------------------

    @final
    def posterior(
        self, leaves: Tensor, evidence: Mapping[Hashable, Tensor] | None = None
    ) -> Tensor:
        """P(i_j = i | leaves) for each variable, (*batch, d, max k_j); leaves are logarithms.

        Raises ValueError naming the rows whose value is zero.
        """
        leaves, batch = as_leaves(self, leaves, Log())
        logs = checked_evidence(self, evidence, batch)
        found = torch.zeros_like(leaves)
        with torch.no_grad():
            for chunk in engine.sweep(self.circuit, self.arrays, _source(leaves, logs)):
                _check_possible(chunk)
                found[chunk.start : chunk.stop] = chunk.inputs.permute(2, 0, 1)
        return found.reshape(*batch, *found.shape[1:])

    @final
    def explain(
        self, leaves: Tensor, evidence: Mapping[Hashable, Tensor] | None = None
    ) -> Explanation:
        """The best joint states of latents and components of this representation, given log
        leaves.
        """
        return self._choose(leaves, evidence, Max())

    @final
    def complete(
        self,
        leaves: Tensor,
        evidence: Mapping[Hashable, Tensor] | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Components (*batch, d) drawn from their joint posterior, given log leaves."""
        return self._choose(leaves, evidence, Sample(generator), states=False).components

    @final
    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """n indices (n, d), drawn with probabilities W."""
        return engine.joined(self.draws(n, generator), n).T.contiguous()

    @final
    @torch.no_grad()
    def draws(self, n: int, generator: torch.Generator | None = None) -> Iterator[Tensor]:
        """The same as (d, B), the layout of the evaluator, some rows at a time."""
        if n < 0:
            raise ValueError(f"expected a number of samples, got {n}")
        yield from engine.draw(self.circuit, self.arrays, n, generator, self.device)

    # -- mixing ----------------------------------------------------------------------------------

    @final
    def __rmul__(self, weight: float) -> Terms[CoefficientTensor]:
        return Terms([(weight, self)], combine)

    __mul__ = __rmul__

    # -- for the library -------------------------------------------------------------------------

    @property
    def arrays(self) -> list[Tensor]:
        """The values of the tables, or what `pinned` put in their place; each (slots, P, C)."""
        if self._stand_in is not None:
            return self._stand_in
        return [table.values for table in self.tables]

    def _residues(self, ring: Modular) -> list[Tensor]:
        return [residues(array, ring.p) for array in self.arrays]

    def _differentiable(
        self, leaves: Tensor, logs: dict[Hashable, Tensor], ring: Linear | Log
    ) -> Tensor:
        tables: list[Tensor] = []
        if self._stand_in is None:
            tables = [t.log_values for t in self.tables] if torch.is_grad_enabled() else []
        wanted = (leaves, *logs.values(), *tables)
        if not (torch.is_grad_enabled() and any(part.requires_grad for part in wanted)):
            return engine.contract(self.circuit, self.arrays, _source(leaves, logs), ring)
        arrays = [array.detach() for array in self.arrays]
        result: Tensor = Contraction.apply(  # type: ignore[no-untyped-call]
            self.circuit, ring, arrays, list(logs), leaves, *logs.values(), *tables
        )
        return result

    def _choose(
        self,
        leaves: Tensor,
        evidence: Mapping[Hashable, Tensor] | None,
        ring: Log,
        *,
        states: bool = True,
    ) -> Explanation:
        leaves, batch = as_leaves(self, leaves, ring)
        logs = checked_evidence(self, evidence, batch)
        flat = self.chosen(_source(leaves, logs), ring, states=states)
        return Explanation(
            flat.components.reshape(*batch, self.variables),
            {name: states.reshape(batch) for name, states in flat.states.items()},
            flat.log_weight.reshape(batch),
        )

    def chosen(
        self,
        source: engine.Source,
        ring: Log,
        *,
        only_observed: bool = False,
        states: bool = True,
    ) -> Explanation:
        """One joint choice of components, and of `states`, per row of a source: under Max, or
        Sample.
        """
        parts = []
        with torch.no_grad():
            for chunk in engine.choose(
                self.circuit,
                self.arrays,
                source,
                ring,
                only_observed=only_observed,
                keep_states=states,
            ):
                _check_possible(chunk)
                parts.append(chunk)
        empty = torch.empty((self.variables, 0), dtype=torch.int64, device=self.device)
        components = torch.cat([empty, *(part.inputs for part in parts)], dim=1).T
        chosen = {
            name: torch.cat([empty[0], *(part.states[name] for part in parts)])
            for name in (self.latents if states else ())
        }
        weight = torch.cat([self._like, *(part.log_value for part in parts)])
        return Explanation(components, chosen, weight)

    def _check_budget(self, budget: int) -> None:
        entries = 1
        for k in self.shape:
            entries *= k
        if entries > budget:
            raise SizeError(
                f"the dense tensor would have {entries:.4g} entries, more than the budget of "
                f"{budget}; W[i] gives single entries, .contract() contractions"
            )


@contextlib.contextmanager
def pinned(model: CoefficientTensor, tables: Sequence[Tensor]) -> Iterator[CoefficientTensor]:
    """Let other arrays stand in for the values of `model.tables` (residues modulo p, for instance).

    Raises ValueError unless the shapes are those of the tables.
    """
    expected = [tuple(array.shape) for array in model.arrays]
    given = [tuple(array.shape) for array in tables]
    if expected != given:
        raise ValueError(f"expected arrays of shapes {expected}, got {given}")
    before, model._stand_in = model._stand_in, list(tables)
    try:
        yield model
    finally:
        model._stand_in = before


def combine(weights: Sequence[float], parts: Sequence[CoefficientTensor]) -> CoefficientTensor:
    """The convex combination of tensors of one shape, itself a circuit tensor."""
    from mixtures.combination import Combination

    return Combination(weights, parts)


def _source(leaves: Tensor, evidence: Mapping[Hashable, Tensor]) -> engine.Source:
    return engine.from_tensor(leaves, evidence)


def _check_possible(chunk: engine.Chunk) -> None:
    """Raise where a row has value zero (or NaN): it has no posterior."""
    bad = ~(chunk.log_value > -torch.inf)
    if bool(bad.any()):
        raise ValueError(
            f"probability zero, so there is no posterior, in {name_rows(bad, chunk.start)}"
        )
