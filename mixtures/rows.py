"""Rows of data on their way into the passes: where leaves come from, and what is checked of
rows.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import Any

import numpy
import torch
from torch import Tensor

from mixtures import engine
from mixtures.checks import name_rows
from mixtures.coefficients import CoefficientTensor
from mixtures.components import Components, Data
from mixtures.components.encoding import is_masked
from mixtures.leaves import Leaves
from mixtures.symboldraws import symbol_draws


def source(
    components: Components,
    data: Data,
    evidence: Mapping[Hashable, Tensor],
    statistics: dict[str, Tensor] | None = None,
) -> engine.Source:
    """The leaves of encoded rows, computed chunk by chunk, without a tape.

    What posteriors are only summed are added to `statistics` where the evaluator hands them on.
    """
    seen = data.any_observed
    entries = Leaves(components, data, {} if statistics is None else statistics)

    def read(start: int, stop: int) -> Tensor:
        with torch.no_grad():
            return components.log_prob_encoded(data.rows(slice(start, stop)))

    def observed(start: int, stop: int) -> Tensor | None:
        return None if seen is None else seen[:, start:stop]

    def leaves(most: int | None = None) -> Tensor:
        with torch.no_grad():
            return components.log_prob_encoded(symbols(data, most))

    coding = lambda: data.coding  # noqa: E731
    return engine.Source(len(data), read, observed, evidence, coding, leaves, entries)


def symbols(data: Data, most: int | None = None) -> Data:
    """A row for every symbol of each variable, or for the first so many of them, as data."""
    coding = data.coding
    assert coding is not None
    seen = None if coding.observed is None else coding.observed[:, :most]
    return Data(coding.values[:, :most], seen)


def chosen(data: Data, index: slice | Tensor | None, most: int) -> Data:
    """Some rows; of no index a row for every symbol, the first so many of them."""
    return symbols(data, most) if index is None else data.rows(index)


def drawn(
    coefficients: CoefficientTensor,
    components: Components,
    n: int,
    generator: torch.Generator | None,
) -> Tensor:
    """n rows (n, d, *event): symbols at once where that serves, else of components drawn before."""
    table = components._symbols()
    if table is not None and n > 0:
        with torch.no_grad():
            kept = symbol_draws(coefficients.circuit, [*coefficients.arrays, table])
            if kept is not None:
                return kept.draw(n, generator)
    parts = components.sample_parts(coefficients.draws(n, generator), generator)
    return engine.joined(parts, n).movedim(1, 0)


def nothing(components: Components) -> Tensor:
    """The posteriors (d, max k, 0) of no rows."""
    size = (components.variables, components.largest, 0)
    return torch.zeros(size, dtype=components.dtype, device=components.device)


def single(components: Components, x: Any, observed: Any) -> Data:
    """One row x (d, *event), encoded; or data of one row that are encoded already."""
    if isinstance(x, Data):
        if len(x) != 1:
            raise ValueError(f"expected one row, got {len(x)}")
        return x
    shape = (components.variables, *components.event)
    row = x if isinstance(x, Tensor) or is_masked(x) else numpy.asarray(x)
    if tuple(row.shape) != shape:
        raise ValueError(f"expected one row of shape {shape}, got {tuple(row.shape)}")
    seen = None if observed is None else torch.as_tensor(observed)[None]
    return components.encode(row[None], seen)


def states_of(
    coefficients: CoefficientTensor, chunks: Iterable[engine.Chunk]
) -> dict[Hashable, Tensor]:
    """{latent: (n, r)} posteriors, put together from the chunks of a sweep."""
    parts: dict[Hashable, list[Tensor]] = {}
    for name in coefficients.latents:
        size = (0, coefficients.num_states(name))
        parts[name] = [torch.empty(size, dtype=coefficients.dtype, device=coefficients.device)]
    for chunk in chunks:
        for name, found in chunk.states.items():
            parts[name].append(found.mT)
    return {name: torch.cat(found) for name, found in parts.items()}


def replaced(x: Any, leaves: Any) -> Tensor | None:
    """The leaves (n, d, max k) given in place of rows, if any; raise unless one of the two is."""
    if (x is None) == (leaves is None):
        raise ValueError("expected either rows x or leaves=, not both")
    if leaves is None:
        return None
    leaves = torch.as_tensor(leaves)
    if leaves.ndim != 3:
        raise ValueError(f"leaves must have shape (n, d, max k), got {tuple(leaves.shape)}")
    return leaves


def check_whole(data: Data) -> None:
    """Raise where a vector is observed in part."""
    seen = data.observed
    if seen is None or seen.ndim == 2:
        return
    flat = seen.flatten(2)
    partly = flat.any(-1) & ~flat.all(-1)
    if bool(partly.any()):
        raise ValueError(
            f"variable {int(partly.nonzero()[0, 0])} is observed in part: only whole variables can "
            f"be conditioned on"
        )


def check_possible(chunk: engine.Chunk | engine.Expected) -> None:
    """Raise where a row has probability zero (or NaN): it has no posterior."""
    bad = ~(chunk.log_value > -torch.inf)
    if bool(bad.any()):
        rows = name_rows(bad, chunk.start)
        raise ValueError(f"probability zero, so there is no posterior, in {rows}")


def check_fit(coefficients: CoefficientTensor, components: Components) -> None:
    """Raise ValueError unless each variable has as many components as the tensor expects."""
    if coefficients.variables != components.variables:
        raise ValueError(
            f"the coefficients have {coefficients.variables} variables, the components "
            f"{components.variables}"
        )
    if tuple(coefficients.shape) != tuple(components.shape):
        wrong = [
            j
            for j, (k, own) in enumerate(zip(coefficients.shape, components.shape, strict=True))
            if k != own
        ]
        j = wrong[0]
        raise ValueError(
            f"the coefficients expect {coefficients.shape[j]} components of variable {j}, got "
            f"{components.shape[j]}"
        )
    if (coefficients.dtype, coefficients.device) != (components.dtype, components.device):
        raise ValueError(
            f"coefficients are {coefficients.dtype} on {coefficients.device}, components "
            f"{components.dtype} on {components.device}; cast one of them with .to()"
        )
