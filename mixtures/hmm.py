"""Hidden Markov models: the coefficients of a chain of latents, a non-negative tensor train with
copies.
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


class HMM(TreeTensor):
    """A hidden Markov model: latent d + j emits variable j and passes its state on to latent d + j
    + 1.

        W[i] = sum over z of initial[z_1] E_1[z_1, i_1] prod_j T_j[z_j-1, z_j] E_j[z_j, i_j]

    states: r, or {latent: r}. shared=True: one transition and one emission table. emission=False:
    components are the states (the classical HMM with emission densities). Tables are random.

    >>> HMM(4, components=2, states=2).size
    42
    """

    def __init__(
        self,
        variables: int,
        components: int | Sequence[int],
        states: int | dict[Node, int],
        shared: bool = False,
        *,
        emission: bool = True,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        k = component_sizes(variables, components)
        tree = Tree.chain(variables)
        if not isinstance(states, dict):
            states = positive(states, "states")
        sizes = ltm_sizes(tree, k, state_sizes(tree, states))
        if not emission:
            check_emission(tree, sizes)
        keys: dict[Node, Hashable] = {v: v for v in tree.nodes if emission or v in tree.children}
        if shared:
            keys = _stationary(tree, sizes, keys)
        super().__init__(tree, sizes, keys, drawn(generator, dtype, device))

    @classmethod
    def from_tables(
        cls,
        initial: Tensor,
        transition: Tensor | Sequence[Tensor] | None,
        emission: Tensor | Sequence[Tensor] | None = None,
        *,
        variables: int | None = None,
    ) -> HMM:
        """From initial (r,), transition (r, r) shared or (d-1, r, r), emission (r, k) shared or (d,
        r, k).

        Transitions and emissions may be lists of matrices of different sizes; no emission:
        components are the states. `variables` says d where all tables are shared. Raises ValueError
        where sizes do not fit or rows do not sum to one.

        >>> flip = torch.tensor([[0.1, 0.9], [0.9, 0.1]])
        >>> W = HMM.from_tables(torch.tensor([1.0, 0.0]), flip, variables=3)
        >>> round(W[0, 1, 0].item(), 6)
        0.81
        """
        initial = torch.as_tensor(initial)
        if initial.ndim != 1:
            raise ValueError(f"initial must have shape (r,), got {tuple(initial.shape)}")
        moves = _sequence(transition, "transition")
        emits = _sequence(emission, "emission")
        d = _length(variables, moves, emits)
        tables: dict[Node, Tensor] = {d: initial[None]}
        for j in range(1, d):
            if moves is None:
                raise ValueError(f"{d} variables need transitions, got None")
            tables[d + j] = moves[0] if len(moves) == 1 else moves[j - 1]
        if emits is not None:
            for j in range(d):
                tables[j] = emits[0] if len(emits) == 1 else emits[j]
        return cls._adopt(LTM.from_tables(Tree.chain(d), tables))

    @property
    def initial(self) -> Tensor:
        """The distribution of the first state, (r,)."""
        table = self.table(self.variables)
        assert table is not None
        return table[0]

    @property
    def transition(self) -> list[Tensor]:
        """The d - 1 transition tables, (r_j, r_j+1) each; identities are written out."""
        return [self._written_out(self.variables + j) for j in range(1, self.variables)]

    @property
    def emission(self) -> list[Tensor]:
        """The d emission tables, (r_j, k_j) each; identities are written out."""
        return [self._written_out(j) for j in range(self.variables)]

    def _written_out(self, node: Node) -> Tensor:
        table = self.table(node)
        if table is None:
            return torch.eye(self.rows(node), dtype=self.dtype, device=self.device)
        return table


def _stationary(
    tree: Tree, sizes: dict[Node, tuple[int, int]], keys: dict[Node, Hashable]
) -> dict[Node, Hashable]:
    """Tie all transitions and all emissions."""
    d = tree.variables
    for nodes, what in ((range(d), "emission"), (range(d + 1, 2 * d), "transition")):
        shapes = {sizes[node] for node in nodes}
        if len(shapes) > 1:
            raise StructureError(f"one {what} table cannot have the shapes {sorted(shapes)}")
    kind = {
        node: "emission" if isinstance(node, int) and node < d else "transition" for node in keys
    }
    return {node: "initial" if node == tree.root else kind[node] for node in keys}


def _sequence(tables: Tensor | Sequence[Tensor] | None, what: str) -> list[Tensor] | None:
    """A list of matrices: one if the table is shared."""
    if tables is None:
        return None
    if not isinstance(tables, Tensor):
        return [torch.as_tensor(table) for table in tables]
    if tables.ndim not in (2, 3):
        raise ValueError(f"{what} must have two or three axes, got shape {tuple(tables.shape)}")
    return [tables] if tables.ndim == 2 else list(tables.unbind(0))


def _length(variables: int | None, moves: list[Tensor] | None, emits: list[Tensor] | None) -> int:
    """d, from whatever says it; ValueError where the tables disagree."""
    said = [] if variables is None else [variables]
    if moves is not None and len(moves) != 1:
        said.append(len(moves) + 1)
    if emits is not None and len(emits) != 1:
        said.append(len(emits))
    if not said:
        raise ValueError("all tables are shared: say how many variables there are with variables=")
    if len(set(said)) > 1:
        raise ValueError(f"the tables are for different numbers of variables: {sorted(set(said))}")
    if said[0] < 1:
        raise ValueError(f"expected at least one variable, got {said[0]}")
    return int(said[0])
