"""Laws on random networks: shared nodes, any fan-in, zeros, against the list of induced trees."""

from __future__ import annotations

import networkx
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from mixtures import SPN

from laws import close
from oracle import spn_tensor
from test_property_trees import check
from zoo import random_network


@st.composite
def networks(draw):
    g = torch.Generator().manual_seed(draw(st.integers(0, 2**30)))
    zeros = draw(st.sampled_from([0.0, 0.3]))
    model = SPN(random_network(g, draw(st.integers(1, 4)), zeros=zeros), dtype=torch.float64)
    assume(induced_trees(model) <= 1500)
    return model


def induced_trees(model):
    """How many ways there are to choose one child of every sum."""
    graph, count = model.to_networkx(), {}
    for node in reversed(list(networkx.topological_sort(graph))):
        below = [count[child] for child in graph.successors(node)]
        kind = graph.nodes[node]["kind"]
        total = 1
        for ways in below if kind == "product" else ():
            total *= ways
        count[node] = sum(below) if kind == "sum" else total
    return count[len(graph) - 1]


@given(networks(), st.integers(0, 2**20))
def test_any_network_answers_as_the_list_of_its_induced_trees(model, seed):
    check(model, seed)


@given(networks())
def test_any_network_survives_the_round_trip_through_networkx(model):
    graph = model.to_networkx()
    again = SPN.from_networkx(graph, dtype=torch.float64)
    assert again.shape == model.shape
    assert again.size == model.size
    close(again.dense(), model.dense(), rtol=1e-14)
    close(model.dense(), spn_tensor(graph, model.shape))
    assert networkx.utils.graphs_equal(again.to_networkx(), graph) or again.stored == model.stored


@given(networks(), st.randoms(use_true_random=False))
def test_names_and_order_of_nodes_do_not_matter(model, random):
    graph = model.to_networkx()
    nodes = list(graph.nodes)
    names = dict(zip(nodes, random.sample(range(1000), len(nodes)), strict=True))
    shuffled = networkx.DiGraph(shape=graph.graph["shape"])
    random.shuffle(nodes)
    shuffled.add_nodes_from((names[node], graph.nodes[node]) for node in nodes)
    edges = list(graph.edges(data=True))
    random.shuffle(edges)
    shuffled.add_edges_from((names[a], names[b], data) for a, b, data in edges)
    close(SPN.from_networkx(shuffled, dtype=torch.float64).dense(), model.dense(), rtol=1e-12)
