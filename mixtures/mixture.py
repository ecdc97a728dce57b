"""Homogeneous mixtures: coefficients and components together, and the queries a user asks."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mixtures import chains, engine, moments, restrict, rows
from mixtures.checks import as_leaves, checked_evidence, name_rows
from mixtures.coefficients import CoefficientTensor, Explanation
from mixtures.combination import Combination
from mixtures.components import Components, Concatenated, Data
from mixtures.described import Described, Facts
from mixtures.leaves import add_statistics
from mixtures.semiring import Log, Max, Sample
from mixtures.summaries import Summaries
from mixtures.terms import Terms

Evidence = Mapping[Hashable, Tensor]


class Mixture(Described, nn.Module, Summaries):
    """f(x) = sum over i of W[i] prod_j f_{j,i_j}(x_j), W `coefficients`, f_{j,i} `components`.

    Rows x are (n, d, *event): floats with NaN for missing, integers or bool, arrays, tensors or
    data frames, or with `observed=` (bool, same shape); or data encoded once by
    `mixture.encode(x)`. In every query `leaves=` (n, d, max k_j) log-weights of components may
    stand in for x. Raises ValueError where coefficients and components do not fit, and for values
    outside a family's domain.

    >>> from mixtures import HMM
    >>> from mixtures.components import Gaussian
    >>> model = Mixture(HMM(3, 2, 2), Gaussian(3, 2))
    >>> model.log_prob([[0.5, float("nan"), 1.0]]).shape
    torch.Size([1])
    """

    def __init__(self, coefficients: CoefficientTensor, components: Components) -> None:
        if not isinstance(coefficients, CoefficientTensor) or not isinstance(
            components, Components
        ):
            raise ValueError(
                f"expected Mixture(coefficients, components), got {type(coefficients).__name__} "
                f"and {type(components).__name__}"
            )
        super().__init__()
        rows.check_fit(coefficients, components)
        self.coefficients = coefficients
        self.components = components

    # -- what it is ------------------------------------------------------------------------------

    @property
    def variables(self) -> int:
        """d, the number of variables."""
        return self.coefficients.variables

    @property
    def names(self) -> Sequence[str] | None:
        """What the columns are called, if anything."""
        return self.components.names

    def _line(self) -> str:
        return f"Mixture({self.coefficients!r}, {self.components.described()})"

    def _facts(self) -> Facts:
        names = {} if self.names is None else {"columns": ", ".join(map(str, self.names[:12]))}
        return {
            "coefficients": repr(self.coefficients),
            "components": self.components.described(),
            **names,
            **self.coefficients._facts(),
            "parameters in all": f"{self.num_parameters:,}",
        }

    # -- densities -------------------------------------------------------------------------------

    def encode(self, x: Any, observed: Any = None) -> Data:
        """Rows checked and encoded once, to be used in many queries."""
        return self.components.encode(x, observed)

    def log_prob(
        self,
        x: Any = None,
        *,
        observed: Any = None,
        leaves: Tensor | None = None,
        evidence: Evidence | None = None,
    ) -> Tensor:
        """log f(x), (n,); missing values are summed out. Differentiable in all parameters.

        A row that no component supports gets -inf. Costs one upward pass.
        """
        leaves = rows.replaced(x, leaves)
        x = None if x is None else self.encode(x, observed)
        inputs = x.values if leaves is None else leaves
        parts = (inputs, *map(torch.as_tensor, (evidence or {}).values()), *self.parameters())
        if torch.is_grad_enabled() and any(part.requires_grad for part in parts):
            leaves = self.components.log_prob(x) if leaves is None else leaves
            return self.coefficients.contract(leaves, evidence=evidence)
        source = self._source(x, None, leaves, evidence)
        found = engine.contract(self.coefficients.circuit, self.coefficients.arrays, source, Log())
        if bool(found.isnan().any()):
            raise ValueError(f"the density is NaN in {name_rows(found.isnan())}")
        return found

    def score(self, x: Any = None, *, observed: Any = None, leaves: Tensor | None = None) -> float:
        """The mean of log f(x) over the rows."""
        with torch.no_grad():
            found = self.log_prob(x, observed=observed, leaves=leaves)
        if len(found) == 0:
            raise ValueError("expected at least one row to score, got none")
        return float(found.double().mean())

    def log_prob_box(self, low: Any, high: Any) -> Tensor:
        """log P(low < x <= high), (n,): bounds (n, d) or (d,), NaN leaves an end free.

        For families on whole numbers both ends are included.
        """
        return self.coefficients.contract(self.components.log_prob_box(low, high))

    # -- posteriors ------------------------------------------------------------------------------

    def posterior(
        self,
        x: Any = None,
        *,
        observed: Any = None,
        leaves: Tensor | None = None,
        evidence: Evidence | None = None,
    ) -> Tensor:
        """P(i_j = i | x) for each variable, (n, d, max k_j), of missing variables too."""
        chunks = self.sweep(x, observed=observed, leaves=leaves, evidence=evidence)
        parts = [chunk.inputs.permute(2, 0, 1) for chunk in chunks]
        like = self.coefficients
        empty = torch.empty(
            (0, like.variables, max(like.shape)), dtype=like.dtype, device=like.device
        )
        return torch.cat([empty, *parts])

    def states(
        self,
        x: Any = None,
        *,
        how: str = "posterior",
        observed: Any = None,
        leaves: Tensor | None = None,
        evidence: Evidence | None = None,
        generator: torch.Generator | None = None,
    ) -> Any:
        """Latent states given x: {latent: (n, r)} posteriors, or {latent: (n,)} states.

        how: "posterior" (smoothing), "best" (Viterbi) or "sample" (a joint draw). Under "best" what
        is wholly missing below a node is summed out, and its states chosen last, given the rest: a
        sequence padded with missing values has the path of the sequence itself (`explain` is about
        missing variables, too). Of an HMM stacked: (n, d, r) or (n, d). Of a combination, states of
        a part that was not chosen are -1. Raises ValueError naming rows of probability zero.
        """
        if how == "posterior":
            chunks = self.sweep(
                x, observed=observed, leaves=leaves, evidence=evidence, keep_states=True
            )
            found = rows.states_of(self.coefficients, chunks)
        elif how in ("best", "sample"):
            ring = Max() if how == "best" else Sample(generator)
            source = self._source(x, observed, leaves, evidence)
            found = self.coefficients.chosen(source, ring, only_observed=how == "best").states
        else:
            raise ValueError(f"how must be 'posterior', 'best' or 'sample', got {how!r}")
        return chains.stacked(self.coefficients, found)

    def explain(
        self,
        x: Any = None,
        *,
        observed: Any = None,
        leaves: Tensor | None = None,
        evidence: Evidence | None = None,
    ) -> Explanation:
        """The best joint (states, components) of this representation, and its log-weight."""
        return self._choose(x, observed, leaves, evidence, Max())

    def complete(
        self,
        x: Any = None,
        *,
        how: str = "sample",
        observed: Any = None,
        leaves: Tensor | None = None,
        evidence: Evidence | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Rows (n, d, *event) with missing entries filled in; observed entries stay as they are.

        how: "sample" draws them from their joint posterior, "mean" takes posterior means. With
        `leaves` in the place of x all entries are filled in.
        """
        if how not in ("sample", "mean"):
            raise ValueError(f"how must be 'sample' or 'mean', got {how!r}")
        data = None if leaves is not None and x is None else self.encode(x, observed)
        if how == "sample":
            ring = Sample(generator)
            chosen = self._choose(data, None, leaves, evidence, ring, states=False).components
            if data is None:
                return self.components.sample(chosen, generator)
            return self.components.complete(chosen, data, generator)
        weights = self.posterior(data, leaves=leaves, evidence=evidence)
        with torch.no_grad():
            return moments.fill(data, weights, self.components)

    # -- draws -----------------------------------------------------------------------------------

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """n exact draws (n, d, *event)."""
        return rows.drawn(self.coefficients, self.components, n, generator)

    # -- smaller mixtures ------------------------------------------------------------------------

    def marginal(self, variables: Sequence[int]) -> Mixture:
        """The mixture of some variables, renumbered in the order given."""
        coefficients = restrict.marginal(self.coefficients, variables)
        return Mixture(coefficients, self.components.select(variables))

    def condition(
        self, x: Any = None, observed: Any = None, *, leaves: Tensor | None = None
    ) -> Mixture:
        """The mixture of what is missing in the single row x (d, *event), given the rest.

        With leaves (d, max k_j) in the place of x, variables whose leaves are all zero are missing.
        Raises ValueError where nothing is missing, or where the row has probability zero.
        """
        if leaves is None:
            data = rows.single(self.components, x, observed)
            rows.check_whole(data)
            with torch.no_grad():
                leaves = self.components.log_prob(data)[0]
            seen = data.any_observed
            missing = [] if seen is None else (~seen[:, 0]).nonzero().flatten().tolist()
        else:
            flat, batch = as_leaves(self.coefficients, leaves, Log())
            if batch or x is not None:
                raise ValueError("expected either one row x or leaves= of shape (d, max k)")
            leaves = flat[0]
            pairs = zip(leaves, self.coefficients.shape, strict=True)
            missing = [j for j, (row, k) in enumerate(pairs) if not bool(row[:k].any())]
        if not missing:
            raise ValueError(
                "every variable is observed, so nothing is left; log_prob gives its value"
            )
        with torch.no_grad():
            if not bool(self.coefficients.contract(leaves) > -torch.inf):
                raise ValueError("the row has probability zero: there is nothing to condition on")
        coefficients = restrict.condition(self.coefficients, leaves, missing)
        return Mixture(coefficients, self.components.select(missing))

    def of_length(self, variables: int) -> Mixture:
        """The mixture of `variables` variables with the same shared tables and components, as a
        copy.

        Raises ValueError unless tables and components are shared.
        """
        coefficients = chains.of_length(self.coefficients, variables)
        return Mixture(coefficients, self.components.of_length(variables))

    def __rmul__(self, weight: float) -> Terms[Mixture]:
        return Terms([(weight, self)], mix)

    __mul__ = __rmul__

    # -- sequences -------------------------------------------------------------------------------

    def filter(
        self, x: Any = None, *, observed: Any = None, leaves: Tensor | None = None
    ) -> Tensor:
        """Of an HMM: P(z_t | x_1, .., x_t), (n, d, r), in time linear in d."""
        return chains.filtered(self.coefficients, self._source(x, observed, leaves, None))

    def forecast(
        self,
        x: Any,
        steps: int,
        n: int,
        *,
        observed: Any = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Of an HMM with shared tables: n draws of the next steps of every row, (n, rows, steps,
        *event).
        """
        longer = self.of_length(self.variables + chains.at_least_one(steps, "steps"))
        data = chains.lengthened(self.encode(x, observed), steps)
        copies = torch.arange(len(data), device=data.values.device).repeat(
            chains.at_least_one(n, "n")
        )
        draws = longer.complete(data.rows(copies), generator=generator)[:, self.variables :]
        return draws.reshape(n, len(data), *draws.shape[1:])

    # -- for the library -------------------------------------------------------------------------

    def _mixture(self) -> Mixture:
        return self

    def sweep(
        self,
        x: Any = None,
        *,
        observed: Any = None,
        leaves: Tensor | None = None,
        evidence: Evidence | None = None,
        row_weights: Tensor | None = None,
        counts: Sequence[Tensor] | None = None,
        keep_states: bool = False,
    ) -> Iterator[engine.Chunk]:
        """Posteriors chunk by chunk, without a tape; adds expected counts of the tables to
        `counts`.

        Raises ValueError naming rows of probability zero.
        """
        source = self._source(x, observed, leaves, evidence)
        with torch.no_grad():
            for chunk in engine.sweep(
                self.coefficients.circuit,
                self.coefficients.arrays,
                source,
                row_weights=row_weights,
                counts=counts,
                keep_states=keep_states,
            ):
                rows.check_possible(chunk)
                yield chunk

    def expected(
        self,
        data: Data,
        row_weights: Tensor,
        counts: Sequence[Tensor],
        evidence: Evidence | None = None,
    ) -> tuple[float, dict[str, Tensor]]:
        """The log-likelihood and the expected statistics of the components; adds to `counts`.

        Raises ValueError naming rows of probability zero.
        """
        tensor, total, statistics = self.coefficients, 0.0, dict[str, Tensor]()
        source = self._source(data, None, None, evidence, statistics)
        if len(data) == 0:  # of a rank without rows: zeros
            add_statistics(self.components, data, rows.nothing(self.components), statistics)
        with torch.no_grad():
            for part in engine.expected(tensor.circuit, tensor.arrays, source, row_weights, counts):
                rows.check_possible(part)
                own = row_weights[part.start : part.stop].double()
                total += float(own @ part.log_value.double())
                for index, flows in part.inputs:
                    these = rows.chosen(data, index, flows.shape[-1])
                    add_statistics(self.components, these, flows, statistics)
        return total, statistics

    def _source(
        self,
        x: Any,
        observed: Any,
        leaves: Tensor | None,
        evidence: Evidence | None,
        statistics: dict[str, Tensor] | None = None,
    ) -> engine.Source:
        leaves = rows.replaced(x, leaves)
        if leaves is not None:
            flat, batch = as_leaves(self.coefficients, leaves, Log())
            return engine.from_tensor(flat, checked_evidence(self.coefficients, evidence, batch))
        data = self.encode(x, observed)
        logs = checked_evidence(self.coefficients, evidence, (len(data),))
        return rows.source(self.components, data, logs, statistics)

    def _choose(
        self,
        x: Any,
        observed: Any,
        leaves: Tensor | None,
        evidence: Evidence | None,
        ring: Log,
        *,
        states: bool = True,
    ) -> Explanation:
        source = self._source(x, observed, leaves, evidence)
        return self.coefficients.chosen(source, ring, states=states)


def mix(weights: Sequence[float], parts: Sequence[Mixture]) -> Mixture:
    """sum over m of weights[m] parts[m]: components side by side, or shared if they are one
    object.
    """
    first = parts[0].components
    tensors = [part.coefficients for part in parts]
    if all(part.components is first for part in parts):
        return Mixture(Combination(weights, tensors), first)
    components = Concatenated([part.components for part in parts])
    return Mixture(Combination(weights, tensors, side_by_side=True), components)
