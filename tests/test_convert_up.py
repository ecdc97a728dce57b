"""Up the hierarchy: the same tensor, number for number, at linear size."""

from __future__ import annotations

import math
import time
from fractions import Fraction

import numpy as np
import pytest
import torch

from mixtures import HMM, HT, LTM, SPN, TMM, CoefficientTensor, Dense, Tree
from mixtures.treetensor import TreeTensor
from transforms.convert import convert, converters

from oracle import spn_tensor
from oracle_models import listing
from zoo import TREES, ZOO, fresh, rows

UPWARD = [(TMM, HMM), (TMM, LTM), (HMM, LTM), (LTM, HT)]


def exact(model: CoefficientTensor) -> np.ndarray:
    """W as fractions, from the model's own tables, by the oracle."""
    return listing(model, Fraction).tensor(model.shape)


def of_class(kind: type) -> list[str]:
    return [name for name in TREES if name.split()[0] == kind.__name__]


def pairs() -> list[tuple[str, type]]:
    found = [(name, target) for source, target in UPWARD for name in of_class(source)]
    return [
        (name, target)
        for name, target in found
        if not (name.startswith("TMM deep") and target is HMM)
    ]


@pytest.mark.parametrize(("name", "target"), pairs(), ids=lambda x: getattr(x, "__name__", x))
def test_upward_maps_keep_every_stored_number(name, target):
    source = fresh(name)
    found = convert(source, target)
    assert type(found) is target
    assert (exact(found) == exact(source)).all()


@pytest.mark.parametrize("name", ZOO)
def test_any_model_is_a_network_of_the_same_stored_numbers(name):
    source = fresh(name)
    found = convert(source, SPN)
    assert (exact(found) == exact(source)).all()
    assert found.shape == source.shape
    if found is not source:  # a network may hold weights of zero of its own
        assert found.size == found.to_networkx().number_of_edges() <= source.size


@pytest.mark.parametrize("name", ["LTM zeros", "HMM deterministic", "SPN wide"])
def test_networks_keep_the_type_of_the_tables(name):
    found = convert(fresh(name, torch.float32), SPN)
    assert found.dtype == torch.float32
    assert (exact(found) == exact(fresh(name, torch.float32))).all()


@pytest.mark.parametrize(("variables", "edges"), [(4, 38), (8, 86)])
def test_a_balanced_tree_has_the_edges_of_theory(variables, edges):
    network = convert(LTM(Tree.balanced(variables), 2, 2), SPN)
    assert network.to_networkx().number_of_edges() == edges == network.size
    d, r, k, latents = variables, 2, 2, variables - 1
    assert edges == r + (latents - 1 + d) * r + (latents - 1) * r**2 + d * r * k


@pytest.mark.parametrize(("d", "r", "k"), [(2, 3, 2), (5, 2, 4), (7, 4, 3)])
def test_a_cp_model_is_a_chain_of_the_stated_size(d, r, k):
    source = TMM(d, k, r)
    chain = convert(source, HMM)
    assert source.size == r + d * r + d * r * k
    assert chain.size == r + (d - 1) * r + 2 * (d - 1) * r + d * r * k
    assert [chain.table(d + j) for j in range(1, d)] == [None] * (d - 1)
    assert chain.stored == source.stored


@pytest.mark.parametrize("name", [n for n in of_class(TMM) if "deep" not in n])
def test_the_triangle_commutes(name):
    """TMM -> HMM -> LTM -> SPN has the numbers of TMM -> LTM, TMM -> SPN and HMM -> SPN."""
    source = fresh(name)
    chain = convert(source, HMM)
    tree = convert(chain, LTM)
    networks = [convert(model, SPN) for model in (tree, chain, source)]
    for model in (chain, tree, convert(source, LTM), *networks):
        assert (exact(model) == exact(source)).all()
    assert len({network.size for network in networks}) == 1


@pytest.mark.parametrize("name", [n for n in TREES if not n.startswith("HT")])
def test_ties_are_kept(name):
    source = fresh(name)
    targets = [HT] if name.startswith("LTM") else [LTM, HT]
    for target in targets:
        found = convert(source, target)
        assert (found.stored, found.num_parameters) == (source.stored, source.num_parameters)
        assert tied(found) == tied(source)


def test_a_network_unties_and_says_the_size():
    source = HMM(6, 2, 3, shared=True)
    assert source.stored == 3 + 9 + 6
    assert convert(source, SPN).stored == 3 + 5 * 9 + 6 * 6


def tied(model: TreeTensor) -> set[frozenset]:
    """Which nodes share a table."""
    groups: dict = {}
    for node in model.tree.nodes:
        groups.setdefault(model.place(node), set()).add(node)
    return {frozenset(group) for place, group in groups.items() if place is not None}


def test_a_factor_shared_by_all_variables_is_one_emission_table():
    chain = convert(TMM(6, 3, 2, shared=True), HMM)
    assert len({chain.place(j) for j in range(6)}) == 1


def test_a_chain_may_emit_the_variables_in_another_order():
    source = TMM(4, 2, 3, dtype=torch.float64)
    chain = convert(source, HMM, order=[2, 0, 3, 1])
    assert chain.tree.leaves == (2, 0, 3, 1)
    assert (exact(chain) == exact(source)).all()


def build(name: str, d: int, r: int, k: int) -> CoefficientTensor:
    makers = {
        "TMM": lambda: TMM(d, k, r),
        "HMM": lambda: HMM(d, k, r),
        "LTM": lambda: LTM(Tree.balanced(d), k, r),
        "HT": lambda: HT(Tree.balanced(d), k, r),
    }
    return makers[name]()


GRIDS = {
    "d": [(2**p + 1, 2, 2) for p in range(8, 12)],
    "r": [(12, r, 3) for r in (8, 16, 32, 48)],
    "k": [(12, 3, k) for k in (256, 512, 1024, 2048)],
}


@pytest.mark.parametrize("along", GRIDS)
@pytest.mark.parametrize(
    ("source", "target", "most"),
    [
        ("TMM", HMM, 3),
        ("TMM", LTM, 1),
        ("TMM", SPN, 1),
        ("HMM", LTM, 1),
        ("HMM", SPN, 1),
        ("LTM", HT, 1),
        ("LTM", SPN, 1),
        ("HT", SPN, 1),
    ],
)
def test_upward_maps_are_linear_in_edges(source, target, most, along):
    grid = [(d, r, min(k, 64) if source == "HT" else k) for d, r, k in GRIDS[along]]
    if source == "HT":
        grid = [(d, min(r, 4 + r // 8), k) for d, r, k in grid]
    models = [build(source, *sizes) for sizes in grid]
    before = np.log([model.size for model in models])
    after = np.log([convert(model, target).size for model in models])
    assert np.exp(after - before).max() <= most
    if len(set(before)) > 1:
        assert abs(np.polyfit(before, after, 1)[0] - 1) < 0.02


@pytest.mark.parametrize("name", ["TMM", "HMM", "LTM", "HT"])
def test_ten_thousand_variables_take_seconds(name):
    source = build(name, 10_000, 2, 2)
    before = time.perf_counter()
    found = convert(source, SPN)
    assert time.perf_counter() - before < 60  # seconds on an idle machine
    assert found.size <= source.size
    assert source.variables == found.variables == 10_000


def test_a_network_evaluates_to_what_its_source_does():
    source = LTM(Tree.random(300, arity=3), 2, 3, dtype=torch.float64)
    leaves = torch.rand(3, 300, 2, dtype=torch.float64).log()
    with torch.no_grad():
        torch.testing.assert_close(
            convert(source, SPN).contract(leaves), source.contract(leaves), rtol=1e-12, atol=1e-10
        )


def test_states_that_are_never_reached_have_no_nodes():
    start = torch.tensor([1.0, 0.0, 0.0])
    stay = torch.eye(3)
    emission = rows(torch.Generator(), torch.float32, 4, 3, 2)
    network = convert(HMM.from_tables(start, stay, emission), SPN)
    assert network.size == 1 + 3 + 4 * 2 + 3 * 2  # start, moves, emissions, products: one path


def test_a_convertible_model_is_returned_as_it_is():
    model = HMM(3, 2, 2)
    assert convert(model, HMM) is convert(model, HMM, order=range(3)) is model
    tree = LTM(Tree.balanced(8), 2, 2)
    assert convert(tree, LTM, tree=Tree.balanced(8)) is tree


def test_the_graph_of_converters_states_costs_and_formulas():
    graph = converters()
    linear = [(TMM, LTM), (TMM, SPN), (HMM, LTM), (LTM, HT), (LTM, SPN), (HT, SPN), (HMM, SPN)]
    for pair in linear:
        assert graph.edges[pair]["cost"] == "linear"
    for *_, edge in graph.edges(data=True):
        assert edge["exact"] and edge["formula"] and edge["ways"]
        assert edge["cost"] in ("linear", "polynomial", "exponential")
    assert graph.edges[LTM, TMM]["cost"] == "exponential"
    assert {way["cost"] for way in graph.edges[LTM, TMM]["ways"]} == {"linear", "exponential"}
    assert set(graph) >= {TMM, HMM, LTM, HT, SPN, Dense}


def test_the_target_shares_no_parameters_with_the_source():
    source = HMM(3, 2, 2, dtype=torch.float64)
    found = convert(source, LTM)
    before = exact(found)
    with torch.no_grad():
        for parameter in source.parameters():
            parameter.add_(torch.rand_like(parameter))
    assert (exact(found) == before).all()
    assert math.isclose(float(sum(before.ravel())), 1)


def test_the_oracle_agrees_on_the_graph():
    source = fresh("LTM quad")
    W = spn_tensor(convert(source, SPN).to_networkx(), source.shape)
    np.testing.assert_allclose(W, source.dense().numpy(), rtol=1e-12)
