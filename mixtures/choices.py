"""How numbers of components and states may be given: one for all, or one each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mixtures.errors import StructureError
from mixtures.tree import Node, Tree


def component_sizes(variables: int, components: int | Sequence[int]) -> tuple[int, ...]:
    """(k_1, .., k_d) from one number or one per variable; ValueError otherwise.

    >>> component_sizes(3, 2)
    (2, 2, 2)
    """
    if variables < 1:
        raise ValueError(f"expected at least one variable, got {variables}")
    sizes = (components,) * variables if isinstance(components, int) else tuple(components)
    if len(sizes) != variables:
        raise ValueError(f"expected components for {variables} variables, got {len(sizes)}")
    if any(int(k) != k or k < 1 for k in sizes):
        raise ValueError(f"every variable needs at least one component, got {list(sizes)}")
    return tuple(int(k) for k in sizes)


def state_sizes(tree: Tree, states: int | Mapping[Node, int]) -> dict[Node, int]:
    """{inner node: r} from one number or a mapping; StructureError where a node is missing."""
    if isinstance(states, int):
        return {node: positive(states, "states") for node in tree.inner}
    missing = [node for node in tree.inner if node not in states]
    if missing:
        raise StructureError(f"states are missing for node {missing[0]!r}")
    return {node: positive(states[node], f"states of node {node!r}") for node in tree.inner}


def positive(number: int, what: str) -> int:
    """The number itself, if it is a whole number of at least one."""
    if int(number) != number or number < 1:
        raise ValueError(f"{what} must be a whole number of at least one, got {number!r}")
    return int(number)
