"""Latent trees from distances: additive distances give their tree, many rows give the truth."""

from __future__ import annotations

import os
from pathlib import Path

import networkx
import numpy as np
import pytest
import torch
from mixture_cases import generator

from mixtures import LTM, Mixture, Tree
from mixtures.components import Indicator
from mixtures.learn import fit, latent_tree, log_det_distances, neighbour_joining
from mixtures.newick import parse

FOLDER = os.environ.get("MIXTURES_DATA", Path(__file__).parents[2] / "shared" / "data")
PRIMATES = Path(FOLDER) / "primates.npz"
ACCEPTED = """(Gorilla,(Pongo,(Hylobates,((M_sylvanus,(M_fascicularis,(Macaca_fuscata,M_mulatta))),
    (Saimiri_sciureus,(Tarsius_syrichta,Lemur_catta))))),(Homo_sapiens,Pan));"""


def splits(graph, d):
    """What each inner edge separates: the side without variable 0."""
    found = set()
    for edge in list(graph.edges):
        cut = graph.copy()
        cut.remove_edge(*edge)
        side = next(part for part in networkx.connected_components(cut) if 0 not in part)
        leaves = frozenset(node for node in side if node in range(d))
        if 1 < len(leaves) < d - 1:
            found.add(leaves)
    return found


def binary(d, seed):
    """A random unrooted tree with inner nodes of degree three and lengths on its edges."""
    g = np.random.default_rng(seed)
    graph = networkx.Graph([(0, d), (1, d), (2, d)])
    for leaf in range(3, d):
        edges = list(graph.edges)
        a, b = edges[g.integers(len(edges))]
        graph.remove_edge(a, b)
        graph.add_edges_from([(a, d + leaf), (b, d + leaf), (leaf, d + leaf)])
    for a, b in graph.edges:
        graph.edges[a, b]["length"] = float(g.uniform(0.1, 2))
    return graph


def leaf_distances(graph, d):
    lengths = dict(networkx.all_pairs_dijkstra_path_length(graph, weight="length"))
    return np.array([[lengths[i][j] for j in range(d)] for i in range(d)])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("d", [2, 3, 4, 7, 20])
def test_additive_distances_give_their_tree_and_lengths(d, seed):
    truth = binary(d, seed) if d > 2 else networkx.Graph([(0, 1, {"length": 1.5})])
    expected = leaf_distances(truth, d)
    before = expected.copy()
    found = neighbour_joining(expected)
    assert networkx.is_tree(found)
    assert splits(found, d) == splits(truth, d)
    np.testing.assert_allclose(leaf_distances(found, d), expected, atol=1e-9)
    assert np.array_equal(before, expected)


def copying(k, strength, g):
    noise = torch.rand(k, k, generator=g, dtype=torch.float64)
    noise = noise / noise.sum(-1, keepdim=True)
    return strength * torch.eye(k, dtype=torch.float64) + (1 - strength) * noise


def drawn(k, seed):
    g = generator(seed)
    tree = Tree.random(8, generator=g)
    tables = {node: copying(k, 0.8, g) for node in tree.nodes if node != tree.root}
    tables[tree.root] = torch.full((1, k), 1 / k, dtype=torch.float64)
    return Mixture(LTM.from_tables(tree, tables), Indicator(8, k, dtype=torch.float64))


@pytest.mark.parametrize(("k", "seed"), [(2, 0), (2, 1), (3, 2), (4, 3)])
def test_the_exact_distances_of_a_latent_tree_add_up(k, seed):
    """The rows are all there are, weighed by their probability: no sampling error."""
    model = drawn(k, seed).marginal([0, 2, 5, 7])
    x = torch.cartesian_prod(*[torch.arange(k)] * 4)
    weights = model.log_prob(x).exp()
    D = log_det_distances(x, weights=weights).numpy()
    sums = sorted([D[0, 1] + D[2, 3], D[0, 2] + D[1, 3], D[0, 3] + D[1, 2]])
    assert sums[1] == pytest.approx(sums[2], rel=1e-9)
    assert sums[0] < sums[1]


@pytest.mark.parametrize(("k", "seed"), [(2, 0), (2, 1), (3, 2)])
@pytest.mark.parametrize("share", [0.0, 0.2])
def test_many_rows_give_the_tree_that_drew_them(k, seed, share):
    model = drawn(k, seed)
    x = model.sample(20_000, generator=generator(seed)).double()
    x[torch.rand(x.shape, generator=generator(9)) < share] = torch.nan
    found, truth = latent_tree(x), model.coefficients.tree
    unrooted = [tree.to_networkx().to_undirected() for tree in (found, truth)]
    assert splits(unrooted[0], 8) == splits(unrooted[1], 8)
    learned = Mixture(LTM(found, k, k, generator=generator()), Indicator(8, k))
    assert fit(learned, x[:100], max_iter=2, progress=False).best.log_likelihood < 0


def test_distances_are_their_definition():
    x = torch.randint(3, (50, 3), generator=generator())
    D = log_det_distances(x, pseudo_count=1.0)
    for i, j in ((0, 1), (1, 2), (2, 0)):
        table = np.full((3, 3), 1 / 9)
        for a, b in x[:, [i, j]].tolist():
            table[a, b] += 1
        p = table / table.sum()
        margins = np.log(p.sum(0)).sum() + np.log(p.sum(1)).sum()
        assert float(D[i, j]) == pytest.approx(margins / 2 - np.log(abs(np.linalg.det(p))))


@pytest.mark.skipif(not PRIMATES.exists(), reason="the alignment is not shipped")
def test_twelve_primates_have_the_accepted_tree():
    held = np.load(PRIMATES)
    x = held["x"].astype(int)
    taxa = [str(name) for name in held["taxa"]]
    found = latent_tree(x.T, observed=(x >= 0).T)
    truth = Tree(parse(ACCEPTED, taxa))
    graphs = [tree.to_networkx().to_undirected() for tree in (found, truth)]
    assert splits(graphs[0], 12) == splits(graphs[1], 12)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="variables 0 and 1 is singular"):
        latent_tree([[0, 0], [1, 0], [0, 0]], components=2)
    assert latent_tree([[0, 0], [1, 1]], components=2, pseudo_count=0.5) == Tree.star(2)
    with pytest.raises(ValueError, match=r"shape \(d, d\)"):
        neighbour_joining([1.0, 2.0])
    for bad in ([[0, 1], [2, 0]], [[0, np.inf], [np.inf, 0]]):
        with pytest.raises(ValueError, match="finite, symmetric"):
            neighbour_joining(bad)


def parted(tree):
    """The splits of a rooted tree."""
    return splits(tree.to_networkx().to_undirected(), tree.variables)


def alignment(taxa: int, sites: int, seed: int):
    """Sequences of four letters evolved along a random binary tree, (sites, taxa)."""
    g = torch.Generator().manual_seed(seed)
    tree = Tree.random(taxa, generator=g)
    stay = 0.8 * torch.eye(4, dtype=torch.float64) + 0.05
    tables = {node: stay for node in tree.nodes if node != tree.root}
    tables[tree.root] = torch.full((1, 4), 0.25, dtype=torch.float64)
    W = LTM.from_tables(tree, tables)
    return tree, W.sample(sites, generator=g).double()


def test_alignments_with_gaps_empty_and_constant_sites_give_their_tree():
    tree, x = alignment(12, 6000, 0)
    g = torch.Generator().manual_seed(1)
    x[torch.rand(x.shape, generator=g) < 0.1] = torch.nan
    x[::50] = torch.nan  # nothing but gaps
    x[1::50] = 2.0  # the same letter everywhere
    assert parted(latent_tree(x)) == parted(tree)


def test_equal_taxa_are_neighbours():
    _, x = alignment(6, 2000, 2)
    tree = latent_tree(torch.cat([x, x[:, 2:3]], 1))
    assert tree.parent[2] == tree.parent[6] or frozenset({2, 6}) in parted(tree)
    both = latent_tree(torch.cat([x, x], 1))
    pairs = {frozenset({j, j + 6}) for j in range(1, 6)}
    assert pairs <= parted(both)


def test_thirty_taxa_are_joined_rightly():
    tree, x = alignment(30, 20_000, 3)
    assert parted(latent_tree(x)) == parted(tree)


def test_newick_there_and_back():
    tree, _ = alignment(9, 1, 4)
    names = ["a b", "it's", *"cdefghi"]
    again = Tree.from_newick(tree.to_newick(names), names)
    assert parted(again) == parted(tree)
    assert parted(Tree.from_newick(tree.to_newick())) == parted(tree)
    with pytest.raises(ValueError, match="9 different names"):
        tree.to_newick(["a"] * 9)
