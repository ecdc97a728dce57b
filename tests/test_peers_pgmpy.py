"""Latent trees against exact inference by variable elimination in pgmpy."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from mixtures import LTM, Tree, engine

from laws import close

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("pgmpy")
    try:
        from pgmpy.factors.discrete import TabularCPD
        from pgmpy.inference import VariableElimination
        from pgmpy.models import DiscreteBayesianNetwork
    except ImportError as error:
        pytest.skip(f"pgmpy does not import: {error}", allow_module_level=True)

pytestmark = pytest.mark.filterwarnings("ignore")

TREES = {
    "balanced": Tree.balanced(4),
    "chain": Tree.chain(4),
    "star": Tree.star(3),
    "random": Tree.random(5, arity=3, generator=torch.Generator().manual_seed(3)),
}


def network(model):
    """The Bayesian network with the same tables; columns of a CPD are states of the parent."""
    tree = model.tree
    graph = DiscreteBayesianNetwork([(str(p), str(c)) for c, p in tree.parent.items()])
    for node in tree.nodes:
        table = model.table(node).numpy().T
        above = {} if node == tree.root else {
            "evidence": [str(tree.parent[node])], "evidence_card": [table.shape[1]]
        }  # fmt: skip
        graph.add_cpds(TabularCPD(str(node), table.shape[0], table, **above))
    assert graph.check_model()
    return VariableElimination(graph)


@pytest.mark.parametrize("name", TREES)
def test_a_latent_tree_infers_what_the_bayesian_network_infers(name):
    tree = TREES[name]
    model = LTM(tree, 3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    peer = network(model)
    known = {j: (2 * j) % 3 for j in range(0, tree.variables, 2)}
    leaves = torch.zeros(1, tree.variables, 3, dtype=torch.float64)
    for j, i in known.items():
        leaves[0, j] = -torch.inf
        leaves[0, j, i] = 0
    given = {str(j): i for j, i in known.items()}
    joint = peer.query([str(j) for j in known], show_progress=False)
    value = joint.get_value(**given)
    close(model.contract(leaves).exp(), [value])
    posterior = model.posterior(leaves)[0]
    with torch.no_grad():
        source = engine.from_tensor(leaves)
        (chunk,) = engine.sweep(model.circuit, model.arrays, source, keep_states=True)
    for node in tree.nodes:
        if node in known:
            close(posterior[node], np.eye(3)[known[node]])
            continue
        expected = peer.query([str(node)], evidence=given, show_progress=False).values
        found = posterior[node] if node in range(tree.variables) else chunk.states[node][:, 0]
        close(found, expected)
