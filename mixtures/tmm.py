"""Tensorial mixture models: the coefficients of a CP ("shallow") or a balanced-tree ("deep")
mixture.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

from mixtures.choices import component_sizes, positive, state_sizes
from mixtures.errors import StructureError
from mixtures.ltm import LTM, check_emission, ltm_sizes
from mixtures.tree import Node, Tree
from mixtures.treetensor import TreeTensor, drawn


class TMM(TreeTensor):
    """A tensorial mixture model (Sharir et al., arXiv 1610.04167).

    arity=None: one latent with r states above all variables, W = sum over s of w_s a_{1,s} x .. x
    a_{d,s}; arity=2, 3, ..: the balanced tree of that arity, every latent with r states.
    shared=True: the tables of one level are one (CP: one factor). emission=False: components are
    the states of the lowest latents. Raises StructureError for shared tables on a tree whose levels
    differ.

    >>> TMM(4, components=2, states=3).size, TMM(4, components=2, states=3, arity=2).size
    (39, 63)
    """

    def __init__(
        self,
        variables: int,
        components: int | Sequence[int],
        states: int,
        arity: int | None = None,
        shared: bool = False,
        *,
        emission: bool = True,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        k = component_sizes(variables, components)
        tree = Tree.star(variables) if arity is None else Tree.balanced(variables, arity)
        sizes = ltm_sizes(tree, k, state_sizes(tree, positive(states, "states")))
        if not emission:
            check_emission(tree, sizes)
        keys: dict[Node, Hashable] = {v: v for v in tree.nodes if emission or v in tree.children}
        if shared:
            keys = _by_level(tree, sizes, keys)
        super().__init__(tree, sizes, keys, drawn(generator, dtype, device))

    @classmethod
    def from_factors(
        cls,
        weights: Tensor,
        factors: Tensor | Sequence[Tensor] | None = None,
        *,
        variables: int | None = None,
    ) -> TMM:
        """The CP model with weights (r,) and factors (d, r, k), or a list of d factors (r, k_j).

        Without factors the components are the states, of as many variables as `variables` says.
        The same factor object given for several variables is one tied table. Raises ValueError
        unless weights and the rows of the factors sum to one.
        """
        weights = torch.as_tensor(weights)
        if weights.ndim != 1:
            raise ValueError(f"weights must have shape (r,), got {tuple(weights.shape)}")
        if isinstance(factors, Tensor) and factors.ndim != 3:
            raise ValueError(f"factors must have shape (d, r, k), got {tuple(factors.shape)}")
        given = [] if factors is None else list(factors)
        d = len(given) if factors is not None or variables is None else variables
        if d < 1 or variables not in (None, d):
            raise ValueError(
                f"expected factors for {variables or 'some'} variables, got {len(given)}"
            )
        tables: dict[Node, Tensor] = {d: weights[None], **dict(enumerate(given))}
        return cls._adopt(LTM.from_tables(Tree.star(d), tables))

    @property
    def weights(self) -> Tensor:
        """The root's distribution over its states, (r,)."""
        table = self.table(self.tree.root)
        assert table is not None
        return table[0]

    @property
    def factors(self) -> list[Tensor]:
        """Of a CP model: the tables of the variables, (r, k_j) each."""
        if len(self.tree.inner) > 1:
            raise ValueError(
                "only a CP model (arity=None) has factors; .table(node) gives the tables"
            )
        eye = torch.eye(self.rows(0), dtype=self.dtype, device=self.device)
        tables = [self.table(j) for j in range(self.variables)]
        return [eye if table is None else table for table in tables]


def _by_level(
    tree: Tree, sizes: dict[Node, tuple[int, int]], keys: dict[Node, Hashable]
) -> dict[Node, Hashable]:
    """Tie the tables of each level; all leaves must be equally deep."""
    level: dict[Node, int] = {tree.root: 0}
    for node in reversed(tree.inner):
        level.update((child, level[node] + 1) for child in tree.children[node])
    leaf_levels = {level[j] for j in range(tree.variables)}
    if len(leaf_levels) > 1:
        raise StructureError(
            f"tables can be shared by level only where the number of variables is a power of the "
            f"arity, got {tree.variables} variables: leaves at depths {sorted(leaf_levels)}"
        )
    shapes = {sizes[j] for j in range(tree.variables)}
    if len(shapes) > 1:
        raise StructureError(
            f"shared tables need as many components for every variable, got shapes {sorted(shapes)}"
        )
    return {node: ("level", level[node]) for node in keys}
