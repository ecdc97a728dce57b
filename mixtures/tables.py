"""Tables: stacks of conditional probability tables whose last axis sums to one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

Shape = Sequence[int]


class Table(nn.Module):
    """A stack of conditional probability tables, shape (nodes, parent, child), rows summing to one.

    `logits` is the Parameter: log-probabilities up to a constant per row, with -inf a structural
    zero that stays one under any optimizer. `values` are the probabilities; they are bit for bit
    what was last given to the constructor or to `set`, until an optimizer changes the logits.
    `absent` (bool, same shape) marks entries that only fill up rows of unequal length: always zero.

    >>> table = Table(torch.tensor([[[0.25, 0.75]]], dtype=torch.float64))
    >>> table.values.tolist()
    [[[0.25, 0.75]]]
    """

    logits: nn.Parameter
    _values: Tensor
    _support: Tensor | None
    _absent: Tensor | None

    def __init__(self, values: Tensor, absent: Tensor | None = None) -> None:
        super().__init__()
        check_rows(values)
        self.register_buffer("_absent", absent, persistent=False)
        self._check_absent(values)
        values = values.detach().clone()
        self.logits = nn.Parameter(values.log())
        self.register_buffer("_values", values)
        support = values > 0
        self.register_buffer("_support", None if bool(support.all()) else support, persistent=False)
        self._mark_fresh()

    @classmethod
    def random(
        cls,
        shape: Shape,
        *,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Table:
        """A table whose rows are uniform on the simplex (Dirichlet with all parameters one)."""
        return cls(random_rows(shape, generator=generator, dtype=dtype, device=device))

    @property
    def values(self) -> Tensor:
        """The probabilities, shape of `logits`; not differentiable (see `log_values`)."""
        if not self._is_fresh():
            with torch.no_grad():
                if self._support is not None:
                    self.logits.data.masked_fill_(~self._support, -torch.inf)
                self._values = self.log_values.exp()
            self._mark_fresh()
        return self._values

    @property
    def absent(self) -> Tensor | None:
        """Which entries only fill up rows of unequal length, bool; None if none do."""
        return self._absent

    @property
    def log_values(self) -> Tensor:
        """log softmax of the logits along the last axis, differentiable in the logits."""
        logits: Tensor = self.logits
        if self._support is not None:
            logits = logits.where(self._support, -torch.inf)
        return logits.log_softmax(-1)

    @torch.no_grad()
    @torch.inference_mode(False)
    def set(self, values: Tensor) -> None:
        """Give the table new values, kept bit for bit; what is zero becomes a structural zero."""
        if values.shape != self.logits.shape:
            raise ValueError(
                f"values must have shape {tuple(self.logits.shape)}, got {tuple(values.shape)}"
            )
        check_rows(values)
        self._check_absent(values)
        values = values.clone().detach().to(self.logits, copy=True)
        self.logits.data = values.log()
        self._values = values
        support = values > 0
        self._support = None if bool(support.all()) else support
        self._mark_fresh()

    @torch.no_grad()
    def maximise(self, counts: Tensor, pseudo_count: float = 0.0) -> None:
        """The M-step: rows in proportion to counts plus pseudo-counts; a row without mass stays.

        Structural zeros get no pseudo-count and stay zero.
        """
        values = self.values
        if pseudo_count:
            counts = counts + pseudo_count * (values > 0)
        total = counts.sum(-1, keepdim=True)
        found = (counts / total).to(values.dtype)
        massless = ~(total > 0)
        self.set(torch.where(massless, values, found) if bool(massless.any()) else found)

    def extra_repr(self) -> str:
        return " x ".join(str(size) for size in self.logits.shape)

    def _check_absent(self, values: Tensor) -> None:
        if self._absent is not None and bool((values[self._absent] != 0).any()):
            place = ((values != 0) & self._absent).nonzero()[0].tolist()
            raise ValueError(f"entry {place} of this table does not exist and must be zero")

    def _mark_fresh(self) -> None:
        """Remember which logits the cached values belong to; the alias keeps their address
        taken.
        """
        self._fresh = (self.logits.detach(), version(self.logits))

    def _is_fresh(self) -> bool:
        alias, seen = self._fresh
        return alias.data_ptr() == self.logits.data_ptr() and seen == version(self.logits)

    def _apply(self, fn, recurse=True):  # type: ignore[no-untyped-def]
        self._refresh()
        before = self._values.dtype
        super()._apply(fn, recurse)
        if torch.finfo(self._values.dtype).eps < torch.finfo(before).eps:
            with torch.no_grad():  # rows that sum to one in the digits there were do so in all
                self._values = self.log_values.exp()
        self._mark_fresh()
        return self

    def __getstate__(self) -> dict[str, Any]:
        self._refresh()
        return {name: value for name, value in self.__dict__.items() if name != "_fresh"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._mark_fresh()

    def _save_to_state_dict(self, destination, prefix, keep_vars):  # type: ignore[no-untyped-def]
        self._refresh()
        super()._save_to_state_dict(destination, prefix, keep_vars)

    def _load_from_state_dict(self, state_dict, prefix, *rest):  # type: ignore[no-untyped-def]
        super()._load_from_state_dict(state_dict, prefix, *rest)
        support = self.logits.detach() > -torch.inf
        self._support = None if bool(support.all()) else support
        if prefix + "_values" in state_dict:
            self._mark_fresh()

    def _refresh(self) -> None:
        """Bring the cached values up to date before they are moved, cast, copied or saved."""
        self.values  # noqa: B018


def version(tensor: Tensor) -> int:
    """How often a tensor was changed in place; -1 for inference tensors, which keep no count."""
    try:
        return tensor._version
    except RuntimeError:
        return -1


def check_rows(values: Tensor) -> None:
    """Raise unless every row is a distribution: finite, non-negative, summing to one."""
    if not values.is_floating_point():
        raise ValueError(f"a table must hold floating-point numbers, got {values.dtype}")
    if values.ndim == 0 or values.shape[-1] == 0:
        raise ValueError(f"a table needs at least one entry a row, got shape {tuple(values.shape)}")
    if values.numel() == 0:
        return
    low, high = values.detach().aminmax()
    if not (low >= 0 and high < torch.inf):
        bad = torch.nonzero(~((values >= 0) & (values < torch.inf)))[0].tolist()
        raise ValueError(
            f"a table must hold finite non-negative numbers, got {values[tuple(bad)].item()} "
            f"at {bad}"
        )
    excess = (values.detach().sum(-1) - 1).abs()
    tolerance = 64 * torch.finfo(values.dtype).eps * max(16, values.shape[-1])
    if excess.max() > tolerance:
        row = torch.nonzero(excess > tolerance)[0].tolist()
        raise ValueError(
            f"the rows of a table must sum to one, but row {row} sums to "
            f"{values[tuple(row)].sum().item():.12g}"
        )


def random_rows(
    shape: Shape,
    *,
    generator: torch.Generator | None = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """Rows drawn uniformly from the simplex, as normalised exponential variables."""
    draws = torch.empty(tuple(shape), dtype=dtype, device=device)
    draws.exponential_(generator=generator).clamp_(min=torch.finfo(draws.dtype).tiny)
    return draws / draws.sum(-1, keepdim=True)
