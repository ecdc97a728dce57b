"""Trees and chains of latents above the variables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mixtures.errors import SizeError
from mixtures.hmm import HMM
from mixtures.plot.axes import LATENT, LINE, VARIABLE, axes
from mixtures.tree import Node, Tree
from mixtures.treetensor import TreeTensor

MOST_NODES = 2000
LABELS = 120  # with more nodes than that, names would be unreadable


def tree(model: Any, *, names: Sequence[str] | None = None, ax: Any = None) -> Any:
    """A tree, a tensor on one (TMM, HMM, LTM, HT) or a mixture with such coefficients.

    Latents are blue with their number of states, variables orange; names of the variables default
    to those of the mixture's columns. Returns the axes. Raises ValueError for what has no tree
    (`network` draws an SPN), SizeError beyond 2000 nodes.
    """
    tensor, names = _parts(model, names)
    shape = tensor.tree if isinstance(tensor, TreeTensor) else tensor
    if not isinstance(shape, Tree):
        raise ValueError(
            f"expected a Tree or a model on one, got {type(tensor).__name__}; network() draws SPNs"
        )
    _check_size(len(shape.nodes))
    across, up = _positions(shape)
    if ax is None:
        ax = axes(max(4.0, min(16.0, 0.35 * shape.variables)), 1.5 + 0.6 * up[shape.root] ** 0.8)
    for node in shape.inner:
        for child in shape.children[node]:
            ends = [across[node], across[child]], [up[node], up[child]]
            ax.plot(*ends, color=LINE, linewidth=0.8, zorder=1)
    labels = {node: _states(tensor, node) for node in shape.inner}
    labels |= {j: str(j) if names is None else str(names[j]) for j in range(shape.variables)}
    small = len(shape.nodes) > LABELS
    for colour, nodes in ((LATENT, shape.inner), (VARIABLE, range(shape.variables))):
        points = [across[node] for node in nodes], [up[node] for node in nodes]
        ax.scatter(*points, s=15 if small else 220, color=colour, zorder=2)
    if not small:
        _write(ax, labels, across, up, turned=names is not None)
    ax.set_axis_off()
    ax.margins(0.05, 0.12)
    return ax


def chain(model: Any, *, steps: int = 8, names: Sequence[str] | None = None, ax: Any = None) -> Any:
    """The first steps of a hidden Markov model, states and what they emit; returns the axes.

    Takes an HMM or a mixture with one as coefficients; ValueError otherwise.
    """
    tensor, names = _parts(model, names)
    if not isinstance(tensor, HMM):
        raise ValueError(f"expected an HMM, got {type(tensor).__name__}; tree() draws other trees")
    shown = min(steps, tensor.variables)
    ax = axes(1.0 + 0.8 * shown, 2.2) if ax is None else ax
    for j in range(shown):
        ax.plot([j, j], [0, 1], color=LINE, linewidth=0.8, zorder=1)
        if j + 1 < tensor.variables:
            arrow = {"arrowstyle": "->", "color": LINE, "shrinkA": 11, "shrinkB": 11}
            ax.annotate("", (j + 1, 1), (j, 1), arrowprops=arrow)
    latents, variables = range(shown), range(shown)
    ax.scatter(latents, [1] * shown, s=380, color=LATENT, zorder=2)
    ax.scatter(variables, [0] * shown, s=380, color=VARIABLE, zorder=2)
    for j in range(shown):
        label = str(j) if names is None else str(names[j])
        ax.text(j, 0, label, ha="center", va="center", color="white", fontsize=8)
        label = str(tensor.num_states(tensor.variables + j))
        ax.text(j, 1, label, ha="center", va="center", color="white", fontsize=8)
    if shown < tensor.variables:
        ax.text(shown, 1, "…", ha="center", va="center", fontsize=12)
    ax.set_xlim(-0.6, shown + 0.3)
    ax.set_ylim(-0.5, 1.5)
    ax.set_axis_off()
    return ax


def _parts(model: Any, names: Sequence[str] | None) -> tuple[Any, Sequence[str] | None]:
    """The coefficients of a mixture, and the names of its columns unless others are given."""
    from mixtures.mixture import Mixture

    if isinstance(model, Mixture):
        return model.coefficients, model.names if names is None else names
    return model, names


def _check_size(nodes: int) -> None:
    if nodes > MOST_NODES:
        raise SizeError(f"expected at most {MOST_NODES} nodes in one picture, got {nodes}")


def _positions(shape: Tree) -> tuple[dict[Node, float], dict[Node, float]]:
    """Leaves side by side in the order of the tree, inner nodes above the middle of theirs."""
    across: dict[Node, float] = {leaf: float(place) for place, leaf in enumerate(shape.leaves)}
    up: dict[Node, float] = dict.fromkeys(shape.leaves, 0.0)
    for node in shape.inner:
        below = shape.children[node]
        across[node] = sum(across[child] for child in below) / len(below)
        up[node] = 1 + max(up[child] for child in below)
    return across, up


def _states(tensor: Any, node: Node) -> str:
    """What to write in a latent: its states, or its bond where columns are joint states."""
    if not isinstance(tensor, TreeTensor):
        return str(node)
    return str(tensor.rows(node) if node in tensor.joint else tensor.states(node))


def _write(
    ax: Any,
    labels: dict[Node, str],
    across: dict[Node, float],
    up: dict[Node, float],
    *,
    turned: bool,
) -> None:
    for node, label in labels.items():
        if turned and up[node] == 0:
            place = (across[node], -0.25)
            ax.text(*place, label, ha="center", va="top", rotation=90, fontsize=7)
        else:
            ax.text(
                across[node], up[node], label, ha="center", va="center", color="white", fontsize=7
            )
