"""Tree models as Bayesian networks of pgmpy, and as one einsum expression for any contractor."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mixtures import ConversionError
from mixtures.coefficients import CoefficientTensor
from mixtures.dense import einsum_operands
from mixtures.treetensor import TreeTensor
from transforms.optional import needed


def _tree(model: CoefficientTensor) -> TreeTensor:
    if not isinstance(model, TreeTensor):
        raise ConversionError(
            f"expected a tree model (TMM, HMM, LTM, HT), got {type(model).__name__}; see "
            f"convert(.., LTM)"
        )
    return model


def to_einsum(model: CoefficientTensor, leaves: Tensor | None = None) -> tuple[str, list[Tensor]]:
    """The tables of a tree model as one contraction, (equation, operands) for opt_einsum.

    A latent is one index, shared by the tables of all its children (a hyperedge). The result is W,
    axes in the order of the variables; with `leaves` (d, max k_j) it is the number <W, v_1 x .. x
    v_d>. cotengra, quimb and torch.einsum (up to 52 indices) take the same pair. Raises
    ConversionError for networks.

    >>> import opt_einsum
    >>> from mixtures import HMM
    >>> equation, operands = to_einsum(HMM(3, components=2, states=2))
    >>> opt_einsum.contract(equation, *operands).shape
    torch.Size([2, 2, 2])
    """
    import opt_einsum

    tree = _tree(model)
    nodes = tree.tree.nodes
    tables = {node: tree.table(node) for node in nodes}
    sizes = {node: (tree.rows(node), tree.states(node)) for node in nodes}
    pairs = einsum_operands(tree.tree, tables, sizes, tree.joint)
    result = list(range(model.variables))
    if leaves is not None:
        expected = (model.variables, max(model.shape))
        if tuple(leaves.shape) != expected:
            raise ValueError(f"leaves must have shape {expected}, got {tuple(leaves.shape)}")
        pairs += [(leaves[j, :k], [j]) for j, k in enumerate(model.shape)]
        result = []
    terms = ["".join(map(opt_einsum.get_symbol, labels)) for _, labels in pairs]
    output = "".join(map(opt_einsum.get_symbol, result))
    return f"{','.join(terms)}->{output}", [operand.detach() for operand, _ in pairs]


def to_pgmpy(model: CoefficientTensor) -> Any:
    """A latent tree as a pgmpy `DiscreteBayesianNetwork`.

    Nodes are "x0", .. for variables and "z<node>" for latents.

    Raises ConversionError for networks and for joint tables (full HT): convert(.., LTM) first.
    """
    tree = _tree(model)
    if tree.joint:
        raise ConversionError(
            "a table over the joint state of several children is no conditional table of a latent; "
            "convert(.., LTM) makes such latents"
        )
    names = {
        node: f"{'z' if node in tree.tree.children else 'x'}{node}" for node in tree.tree.nodes
    }
    network = needed("pgmpy.models", "a Bayesian network").DiscreteBayesianNetwork()
    table_of = needed("pgmpy.factors.discrete", "a Bayesian network").TabularCPD
    network.add_nodes_from(names.values())
    network.add_edges_from((names[above], names[v]) for v, above in tree.tree.parent.items())
    for node in tree.tree.nodes:
        table = tree.table(node)
        table = torch.eye(tree.rows(node), dtype=tree.dtype) if table is None else table
        values = table.detach().cpu().double().numpy().T
        above = tree.tree.parent.get(node)
        given = None if above is None else [names[above]]
        sizes = None if above is None else [tree.rows(node)]
        network.add_cpds(table_of(names[node], len(values), values, given, sizes))
    return network
