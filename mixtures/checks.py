"""What is checked at the border: shapes, types, indices, and that final methods stay final."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, Protocol

import numpy
import torch
from torch import Tensor

from mixtures.circuit import Circuit
from mixtures.semiring import Modular, Semiring


class Described(Protocol):
    """What the checks need to know of a coefficient tensor."""

    @property
    def circuit(self) -> Circuit: ...
    @property
    def variables(self) -> int: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> torch.dtype: ...
    @property
    def device(self) -> torch.device: ...


def as_leaves(model: Described, leaves: Any, ring: Semiring) -> tuple[Tensor, tuple[int, ...]]:
    """Leaves as (n, d, max k), and the batch shape they came with."""
    if not isinstance(ring, Semiring):
        raise ValueError(f"ring must be a semiring such as Log() or Linear(), got {ring!r}")
    leaves = torch.as_tensor(leaves)
    expected = (model.variables, max(model.shape))
    if tuple(leaves.shape[-2:]) != expected:
        raise ValueError(f"leaves must end in {expected} (d, max k), got {tuple(leaves.shape)}")
    if isinstance(ring, Modular):
        if leaves.is_floating_point():
            raise ValueError(f"leaves under {ring!r} must be integers, got {leaves.dtype}")
        leaves = leaves.remainder(ring.p).to(torch.int64)
    elif leaves.dtype != model.dtype:
        raise ValueError(
            f"leaves must be {model.dtype} like the tables, got {leaves.dtype}; "
            f"cast one of them with .to()"
        )
    if leaves.device != model.device:
        raise ValueError(f"leaves are on {leaves.device}, the tables on {model.device}")
    return leaves.reshape(-1, *expected), tuple(leaves.shape[:-2])


def as_index(model: Described, index: Any) -> Tensor:
    """Indices as integers (*batch, d), each within its variable's components."""
    index = torch.as_tensor(index, device=model.device)
    if index.is_floating_point() or index.dtype == torch.bool or index.ndim not in (1, 2):
        raise ValueError(
            f"expected whole numbers of shape ({model.variables},) or (n, {model.variables}), "
            f"got {index.dtype} of shape {tuple(index.shape)}"
        )
    if index.shape[-1] != model.variables:
        raise ValueError(f"expected {model.variables} indices, got shape {tuple(index.shape)}")
    limit = torch.as_tensor(model.shape, device=index.device)
    outside = (index < 0) | (index >= limit)
    if bool(outside.any()):
        place = outside.nonzero()[0]
        j = int(place[-1])
        raise IndexError(
            f"index {int(index[tuple(place)])} of variable {j} is outside 0..{model.shape[j] - 1}"
        )
    return index.long()


def checked_evidence(
    model: Described, evidence: Mapping[Hashable, Any] | None, batch: tuple[int, ...]
) -> dict[Hashable, Tensor]:
    """Evidence as {latent: (n, r)}; broadcast over the batch."""
    found: dict[Hashable, Tensor] = {}
    for name, logs in (evidence or {}).items():
        place = model.circuit.latents.get(name)
        if place is None:
            known = ", ".join(map(repr, list(model.circuit.latents)[:5]))
            raise ValueError(f"there is no latent {name!r}; the latents are {known}, ..")
        states = model.circuit.states_of(name)
        logs = torch.as_tensor(logs, device=model.device)
        if logs.shape[-1:] != (states,) or not logs.is_floating_point():
            raise ValueError(
                f"evidence about {name!r} must be log-weights of shape (*batch, {states}), "
                f"got {logs.dtype} of shape {tuple(logs.shape)}"
            )
        wide = logs.to(model.dtype).broadcast_to((*batch, states))
        found[name] = wide.reshape(-1, states)
    return found


def name_rows(bad: Tensor, start: int = 0, most: int = 5) -> str:
    """The rows where `bad` holds, in words.

    >>> name_rows(torch.tensor([False, True, True]))
    'rows 1, 2'
    """
    rows = (bad.nonzero().flatten() + start).tolist()
    listed = ", ".join(map(str, rows[:most]))
    more = f" and {len(rows) - most} more" if len(rows) > most else ""
    return f"{'row' if len(rows) == 1 else 'rows'} {listed}{more}"


def finals_kept(cls: type, base: type) -> None:
    """Raise TypeError if a subclass overrides a method its base class marks as final."""
    for name, member in vars(base).items():
        function = member.fget if isinstance(member, property) else member
        if getattr(function, "__final__", False) and name in vars(cls):
            raise TypeError(
                f"{cls.__name__} overrides {base.__name__}.{name}, which is final: it is derived "
                f"from the circuit and its tables, once, for all models"
            )


def integers(values: Any) -> numpy.ndarray:
    """Whole numbers as an array of 64-bit integers."""
    return numpy.asarray(values, dtype=numpy.int64)
