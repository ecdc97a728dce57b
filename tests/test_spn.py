"""Laws of networks: polynomials, graphs, what is refused, large irregular networks in layers."""

from __future__ import annotations

import networkx
import numpy as np
import pytest
import torch

from mixtures import SPN, StructureError, inputs
from mixtures.network import NetworkMaker

from laws import close
from oracle import spn_tensor


def test_a_polynomial_is_the_tensor_of_its_coefficients():
    a = inputs(2, 2)
    W = SPN(0.3 * a[0][1] * a[1][0] + 0.7 * a[0][0] * a[1][1], dtype=torch.float64)
    close(W.dense(), np.array([[0, 0.7], [0.3, 0]]))


def test_parentheses_and_the_place_of_scalars_do_not_matter():
    a = inputs(3, 2)
    x, y, z = a[0][0], a[1][1], a[2][0]
    same = [
        0.4 * x * y * z + 0.6 * a[0][1] * y * z,
        x * 0.4 * (y * z) + y * (0.6 * z) * a[0][1],
        (0.4 * x + 0.6 * a[0][1]) * y * z,
        0.2 * (2 * x + 3 * a[0][1]) * (y * z),
        2 * (0.2 * x * y * z + 0.3 * a[0][1] * y * z),
        sum([0.4 * x * y * z, 0.6 * a[0][1] * y * z]),
    ]
    expected = np.zeros((2, 2, 1 + 1))
    expected[:, 1, 0] = 0.4, 0.6
    for expression in same:
        close(SPN(expression, dtype=torch.float64).dense(), expected, rtol=1e-14)


def test_a_shared_expression_is_one_node():
    a = inputs(3, 2)
    shared = 0.25 * a[1][0] + 0.75 * a[1][1]
    W = SPN(0.5 * a[0][0] * shared * a[2][0] + 0.5 * a[0][1] * shared * a[2][1])
    assert (W.network.kind == 0).sum() == 2
    assert W.stored == 4


def graph(edges, **kinds):
    built = networkx.DiGraph()
    for name, kind in kinds.items():
        if isinstance(kind, tuple):
            built.add_node(name, kind="input", variable=kind[0], component=kind[1])
        else:
            built.add_node(name, kind=kind)
    for parent, child, *weight in edges:
        built.add_edge(parent, child, **({"weight": weight[0]} if weight else {}))
    return built


XY = {"x": (0, 0), "y": (1, 0)}
REFUSED = {
    "not complete": (
        graph([("s", "x", 0.5), ("s", "y", 0.5)], s="sum", **XY),
        r"sum node 's' is not complete: its children 'x' and 'y' have the scopes \{0\} and \{1\}",
    ),
    "not decomposable": (
        graph([("p", "x"), ("p", "u"), ("p", "y")], p="product", u=(0, 1), **XY),
        r"product node 'p' is not decomposable: its children share the variables \{0\}",
    ),
    "a cycle": (
        graph([("s", "p", 1.0), ("p", "s"), ("p", "x")], s="sum", p="product", **XY),
        "there is a cycle through node",
    ),
    "two roots": (
        graph([("p", "x"), ("p", "y"), ("q", "x"), ("q", "y")], p="product", q="product", **XY),
        "expected one root, got 2",
    ),
    "a missing variable": (
        graph([("p", "x"), ("p", "y")], p="product", x=(0, 0), y=(2, 0)),
        "no input is about variable 1",
    ),
    "no children": (graph([("p", "x"), ("p", "s")], p="product", s="sum", x=(0, 0)), "no children"),
    "no weight": (graph([("s", "x")], s="sum", x=(0, 0)), "below sum node 's' has no weight"),
    "no kind": (graph([("s", "x")], s="max", x=(0, 0)), "needs kind 'sum', 'product' or 'input'"),
    "a negative variable": (graph([("p", "x")], p="product", x=(-1, 0)), "must not be negative"),
    "an input with children": (
        graph([("y", "x")], x=(0, 0), y=(1, 0)),
        "input node 'y' has children",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_graph_that_is_no_network_is_refused_naming_the_node(case):
    built, message = REFUSED[case]
    with pytest.raises(StructureError, match=message):
        SPN.from_networkx(built)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ((0.5, 0.4), "must sum to one.* sums to 0.9"),
        ((1.5, -0.5), "finite non-negative numbers"),
        ((float("nan"), 1.0), "finite non-negative numbers"),
    ],
)
def test_weights_that_are_no_distribution_are_refused(weights, message):
    edges = [("s", "x", weights[0]), ("s", "u", weights[1])]
    with pytest.raises(ValueError, match=message):
        SPN.from_networkx(graph(edges, s="sum", x=(0, 0), u=(0, 1)), dtype=torch.float64)


def test_polynomials_that_are_no_network_are_refused():
    a, b = inputs(2, 2), inputs(2, 2)
    with pytest.raises(ValueError, match=r"must sum to one, but they sum to 0\.8"):
        SPN(0.5 * a[0][0] * a[1][0] + 0.3 * a[0][1] * a[1][1])
    with pytest.raises(StructureError, match=r"not complete.*a\[0\]\[0\]"):
        SPN(0.5 * a[0][0] + 0.5 * a[1][0])
    with pytest.raises(StructureError, match="not decomposable"):
        SPN(a[0][0] * a[0][1])
    with pytest.raises(StructureError, match=r"scope lacks the variables \[1\]"):
        SPN(a[0][0])
    with pytest.raises(ValueError, match="non-negative"):
        SPN(-0.5 * a[0][0] * a[1][0])
    with pytest.raises(StructureError, match="two different calls"):
        SPN(a[0][0] * inputs(2, 3)[1][0])
    assert SPN(a[0][0] * b[1][0]).shape == (2, 2)
    with pytest.raises(StructureError, match="directed graph"):
        SPN.from_networkx(networkx.Graph())
    with pytest.raises(ValueError, match=r"expected an expression .* got DiGraph"):
        SPN(networkx.DiGraph())


def test_zero_weights_stay_structural_zeros():
    a = inputs(1, 3)
    W = SPN(0.0 * a[0][0] + 0.25 * a[0][1] + 0.75 * a[0][2], dtype=torch.float64)
    assert W.dense().tolist() == [0, 0.25, 0.75]
    assert (W.size, W.num_parameters) == (2, 1)


def test_weights_learned_by_a_network_are_those_of_its_graph():
    a = inputs(2, 3)
    W = SPN(sum(w * a[0][i] * a[1][2 - i] for i, w in enumerate((0.2, 0.3, 0.5))))
    W = W.double()
    optimizer = torch.optim.SGD(W.parameters(), lr=0.5)
    (-W.contract(torch.randn(4, 2, 3, dtype=torch.float64)).sum()).backward()
    optimizer.step()
    close(W.dense(), spn_tensor(W.to_networkx(), W.shape), rtol=1e-12)


def irregular(variables=40, wanted=100_000):
    """A scalar network of about 10^5 edges, fan-ins from 2 to 60, few of them equal."""
    rng, maker = np.random.default_rng(0), NetworkMaker()
    ports = [[maker.input(j, i) for i in range(4)] for j in range(variables)]
    blocks, edges = [list(ports[j]) for j in range(variables)], 0
    share = wanted // (2 * variables)
    while len(blocks) > 1:
        joined = []
        for left, right in zip(blocks[::2], blocks[1::2], strict=False):
            sums, budget = [], share
            while budget > 0:
                fan_in = int(rng.integers(2, 61))
                terms = [
                    maker.product([left[rng.integers(len(left))], right[rng.integers(len(right))]])
                    for _ in range(fan_in)
                ]
                weights = rng.random(fan_in) + 0.01
                sums.append(maker.sum(terms, (weights / weights.sum()).tolist()))
                budget -= 3 * fan_in
                edges += 3 * fan_in
            joined.append(sums)
        blocks = joined + ([blocks[-1]] if len(blocks) % 2 else [])
    weights = rng.random(len(blocks[0])) + 0.01
    maker.sum(blocks[0], (weights / weights.sum()).tolist())
    return maker, edges


def used_part(maker):
    """The network without the nodes its root does not reach."""
    reached = np.zeros(len(maker.kind), dtype=bool)
    reached[-1] = True
    for node in reversed(range(len(maker.kind))):
        if reached[node]:
            reached[maker.child[maker.start[node] : maker.start[node + 1]]] = True
    place, kept = {}, NetworkMaker()
    for node in np.flatnonzero(reached).tolist():
        span = slice(maker.start[node], maker.start[node + 1])
        below = [place[child] for child in maker.child[span]]
        if maker.kind[node] == 2:
            place[node] = kept.input(maker.variable[node], maker.component[node])
        elif maker.kind[node] == 1:
            place[node] = kept.product(below)
        else:
            place[node] = kept.sum(below, maker.weight[span])
    return kept


def test_a_large_irregular_network_is_evaluated_in_layers():
    maker, edges = irregular()
    model = SPN(used_part(maker).finish(), dtype=torch.float64)
    assert edges > 50_000
    assert len(model.circuit.layers) < 150
    leaves = torch.randn(
        (2, 40, 4), dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    found = model.contract(leaves)
    weights, network = model.edge_weights(), model.network
    value = np.empty((len(network), 2))
    for node in range(len(network)):
        span = slice(network.start[node], network.start[node + 1])
        below = value[network.child[span]]
        if network.kind[node] == 2:
            value[node] = leaves[:, network.variable[node], network.component[node]]
        elif network.kind[node] == 1:
            value[node] = below.sum(0)
        else:
            value[node] = np.logaddexp.reduce(np.log(weights[span])[:, None] + below)
    close(found, value[-1], rtol=1e-11)
    close(model.posterior(leaves).sum(-1), np.ones((2, 40)), rtol=1e-9)
    assert model.sample(5, generator=torch.Generator()).shape == (5, 40)
    assert model.is_normalised()
