"""Posteriors of latent states along a sequence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy
import torch

from mixtures.hmm import HMM
from mixtures.plot.axes import axes

if TYPE_CHECKING:
    from mixtures.mixture import Mixture


def posteriors(mixture: Mixture, x: Any, *, path: bool = True, ax: Any = None) -> Any:
    """P(state | the whole row) at every step of one row x (d, *event), stacked in colours.

    path: also draw the best path (Viterbi) as a line of dots below. For mixtures whose coefficients
    are an HMM; ValueError otherwise. Returns the axes.
    """
    if not isinstance(mixture.coefficients, HMM):
        raise ValueError(
            f"expected an HMM's mixture, got {type(mixture.coefficients).__name__}; "
            f"mixture.states(x) gives the posteriors of any model"
        )
    row = numpy.ma.asarray(x)[None] if not isinstance(x, torch.Tensor) else x[None]
    with torch.no_grad():
        found = mixture.states(row)[0].cpu().double().numpy()
        best = mixture.states(row, how="best")[0].cpu().numpy()
    ax = axes(8.0, 2.6) if ax is None else ax
    steps = numpy.arange(len(found) + 1) - 0.5
    top = numpy.cumsum(found, axis=1)
    bottom = top - found
    for state in range(found.shape[1]):
        colour = f"C{state % 10}"
        ax.fill_between(
            steps,
            numpy.append(bottom[:, state], bottom[-1, state]),
            numpy.append(top[:, state], top[-1, state]),
            step="post",
            color=colour,
            alpha=0.75,
            linewidth=0,
            label=f"state {state}",
        )
        if path:
            visits = numpy.flatnonzero(best == state)
            ax.plot(visits, numpy.full(len(visits), -0.07), "s", color=colour, markersize=3)
    ax.set_xlim(-0.5, len(found) - 0.5)
    ax.set_ylim(-0.13 if path else 0, 1)
    ax.set_xlabel("step")
    ax.set_ylabel("posterior")
    if found.shape[1] <= 8:
        ax.legend(loc="lower right", bbox_to_anchor=(1, 1), fontsize=7, ncols=4, frameon=False)
    return ax
