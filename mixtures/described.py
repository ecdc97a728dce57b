"""Models in words: one line for print, a summary as text, a table for notebooks."""

from __future__ import annotations

import html
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mixtures.coefficients import CoefficientTensor

Facts = Mapping[str, str]


class Described:
    """What is said of an object is said once, in `_line` and `_facts`."""

    @abstractmethod
    def _line(self) -> str:
        """The object in one line; cheap, whatever its size."""

    @abstractmethod
    def _facts(self) -> Facts:
        """What there is to know about it, by name."""

    def __repr__(self) -> str:
        return self._line()

    def summary(self) -> str:
        """What there is to know, one fact a line."""
        facts = self._facts()
        width = max(map(len, facts), default=0)
        lines = [f"  {name:<{width}}  {value}" for name, value in facts.items()]
        return "\n".join([self._line(), *lines])

    def _repr_html_(self) -> str:
        """The summary as a table, for notebooks."""
        cells = "".join(
            f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
            f"<td style='text-align:left'>{html.escape(value)}</td></tr>"
            for name, value in self._facts().items()
        )
        return f"<b>{html.escape(self._line())}</b><table>{cells}</table>"


def tensor_line(W: CoefficientTensor) -> str:
    """A coefficient tensor in one line."""
    parts = [counted(W.variables, "variable"), counted(_range(W.shape), "component")]
    latents = W.latents
    if latents:
        states = _range([W.num_states(name) for name in latents])
        parts.append(f"{counted(len(latents), 'latent')} of {counted(states, 'state')}")
    return f"{type(W).__name__}({', '.join(parts)})"


def tensor_facts(W: CoefficientTensor) -> Facts:
    """How large a coefficient tensor is, in every sense."""
    return {
        "entries of W": _entries(W.shape),
        "edges": f"{W.size:,}",
        "numbers stored": f"{W.stored:,}",
        "free parameters": f"{W.num_parameters:,}",
        "depth": f"{W.depth:,}",
    }


def counted(count: int | str, noun: str) -> str:
    """A number with its noun.

    >>> counted(1, "latent"), counted(20_000, "edge")
    ('1 latent', '20,000 edges')
    """
    number = f"{count:,}" if isinstance(count, int) else count
    return f"{number} {noun}" if number == "1" else f"{number} {noun}s"


def _range(sizes: Sequence[int]) -> str:
    low, high = min(sizes), max(sizes)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _entries(shape: Sequence[int]) -> str:
    """The number of entries of a tensor: its digits, or a power of ten where there are many."""
    total = 1
    for k in shape:
        total *= int(k)
    digits = len(str(total)) if total.bit_length() < 10_000 else int(total.bit_length() * 0.30103)
    return f"{total:,}" if digits <= 15 else f"about 10^{digits - 1}"
