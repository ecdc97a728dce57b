"""Which class converts into which: the converters, their conditions, sizes and costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mixtures import HMM, HT, LTM, SPN, TMM, Combination, Dense
from mixtures.coefficients import CoefficientTensor
from mixtures.importing import Later
from mixtures.tree import Tree
from transforms.fields import Field

if TYPE_CHECKING:
    import networkx
else:
    networkx = Later("networkx")

COSTS = ("linear", "polynomial", "exponential")
ZOO: tuple[type[CoefficientTensor], ...] = (TMM, HMM, LTM, HT, SPN, Dense, Combination)


@dataclass(frozen=True)
class Options:
    """What the caller of `convert` asked for."""

    budget: int | None = None  # edges; None: exponential maps are refused
    tree: Tree | None = None  # of the target
    order: tuple[int, ...] | None = None  # of the variables along a chain


@dataclass(frozen=True)
class Converter:
    """One exact map: `function(source, field, options)`, `size(source, options)` edges at most.

    `formula` states that bound for uniform sizes; `needs(source, options)` says in words what
    keeps the map from applying, None if nothing does; `name` is what certificates call it.
    """

    source: type[CoefficientTensor]
    target: type[CoefficientTensor]
    function: Callable[[Any, Field, Options], CoefficientTensor]
    size: Callable[[Any, Options], int]
    formula: str
    cost: str
    condition: str
    needs: Callable[[Any, Options], str | None]
    name: str


REGISTRY: list[Converter] = []
Function = Callable[[Any, Field, Options], CoefficientTensor]


def always(source: CoefficientTensor, options: Options) -> None:
    """No condition."""


def converter(
    source: type[CoefficientTensor],
    target: type[CoefficientTensor],
    *,
    size: Callable[[Any, Options], int],
    formula: str,
    cost: str = "linear",
    condition: str = "",
    needs: Callable[[Any, Options], str | None] = always,
) -> Callable[[Function], Function]:
    """Register an exact map.

    The function is written over any field and returns a model of class `target`.

    size: how many edges the target has at most, computed from the source before anything is built.
    Raises ValueError for an unknown cost.
    """
    if cost not in COSTS:
        raise ValueError(f"cost must be one of {', '.join(COSTS)}, got {cost!r}")

    def register(function: Function) -> Function:
        name = (function.__doc__ or function.__name__).strip().splitlines()[0].rstrip(".")
        REGISTRY.append(
            Converter(source, target, function, size, formula, cost, condition, needs, name)
        )
        return function

    return register


def between(source: type, target: type) -> list[Converter]:
    """The converters of a pair, cheapest first; a class has those of its base classes, too."""
    found = [c for c in REGISTRY if issubclass(source, c.source) and c.target is target]
    return sorted(found, key=lambda c: COSTS.index(c.cost))


def general(found: Sequence[Converter]) -> Converter:
    """The converter that asks least: the one without a condition, else the dearest."""
    return next((c for c in found if not c.condition), found[-1])


def converters() -> networkx.DiGraph:
    """What converts into what: nodes are classes, edges direct exact maps.

    Edge attributes: `cost` ("linear", "polynomial" or "exponential" in the size of the source),
    `formula` (edges of the target at most), `exact`, `condition` (empty: it always applies), and
    `ways`, the same for each map of the pair, cheapest first. `convert` composes them.

    >>> from mixtures import LTM, SPN, TMM
    >>> converters().edges[LTM, SPN]["cost"], converters().edges[LTM, TMM]["cost"]
    ('linear', 'exponential')
    """
    graph = networkx.DiGraph()
    graph.add_nodes_from(ZOO)
    for source in ZOO:
        for target in ZOO:
            found = between(source, target) if source is not target else []
            if found:
                ways = [_described(c) for c in found]
                graph.add_edge(source, target, **_described(general(found)), ways=ways)
    return graph


def _described(c: Converter) -> dict[str, Any]:
    return {
        "name": c.name,
        "cost": c.cost,
        "formula": c.formula,
        "exact": True,
        "condition": c.condition,
    }
