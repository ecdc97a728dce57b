"""Coefficient tensors as heat maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mixtures.coefficients import CoefficientTensor
from mixtures.plot.axes import axes
from mixtures.plot.trees import _parts

MOST_ENTRIES = 2**22


def matrix(W: Any, rows: Sequence[int] | None = None, *, log: bool = False, ax: Any = None) -> Any:
    """A coefficient tensor (or a mixture's) as a matrix: `rows` down, all other variables across.

    rows: variables, default the first half. log: shade by logarithms. Returns the axes. Raises
    SizeError beyond 2^22 entries, ValueError for anything without coefficients.

    >>> from mixtures import TMM
    >>> matrix(TMM(4, 2, 3), [0, 2]).get_ylabel()
    'variables 0, 2'
    """
    tensor, _ = _parts(W, None)
    if not isinstance(tensor, CoefficientTensor):
        raise ValueError(f"expected coefficients or a mixture, got {type(W).__name__}")
    chosen = list(range(max(1, tensor.variables // 2))) if rows is None else [int(j) for j in rows]
    values = tensor.matricize(chosen, MOST_ENTRIES).detach().cpu().double()
    ax = axes() if ax is None else ax
    shown = values.log() if log else values
    image = ax.imshow(shown.numpy(), aspect="auto", cmap="viridis", interpolation="nearest")
    ax.figure.colorbar(image, ax=ax, label="log W" if log else "W")
    columns = [j for j in range(tensor.variables) if j not in chosen]
    ax.set_ylabel(f"variables {', '.join(map(str, chosen))}")
    ax.set_xlabel(f"variables {', '.join(map(str, columns))}" if columns else "")
    return ax
