"""Laws of trees: every constructor, the order of nodes and children, and what is no tree."""

from __future__ import annotations

import networkx
import pytest
import torch

from mixtures import StructureError, Tree

BUILT = {
    "star": Tree.star(5),
    "one variable": Tree.star(1),
    "chain": Tree.chain(5),
    "chain of one": Tree.chain(1),
    "caterpillar": Tree.caterpillar(5),
    "caterpillar of two": Tree.caterpillar(2),
    "balanced": Tree.balanced(8),
    "balanced, not a power": Tree.balanced(7),
    "ternary": Tree.balanced(10, 3),
    "quad": Tree.quad(4, 4),
    "quad, not a power": Tree.quad(3, 5),
    "random": Tree.random(9, arity=4, generator=torch.Generator().manual_seed(0)),
}
every_tree = pytest.mark.parametrize("name", BUILT)


@every_tree
def test_children_come_before_parents_and_the_root_last(name):
    tree = BUILT[name]
    place = {node: number for number, node in enumerate(tree.nodes)}
    assert all(place[child] < place[parent] for child, parent in tree.parent.items())
    assert tree.nodes[-1] == tree.root == tree.inner[-1]
    assert sorted(tree.leaves) == list(range(tree.variables)) == list(tree.nodes[: tree.variables])
    assert len(tree.nodes) == len(tree.parent) + 1


@every_tree
def test_built_in_trees_name_inner_nodes_from_d_on(name):
    tree = BUILT[name]
    assert sorted(tree.inner) == list(range(tree.variables, len(tree.nodes)))
    if "chain" not in name:
        assert tree.root == len(tree.nodes) - 1


@every_tree
def test_a_tree_survives_every_round_trip(name):
    tree = BUILT[name]
    assert Tree.from_networkx(tree.to_networkx()) == tree
    assert Tree.from_parents(tree.parent).parent == tree.parent
    assert Tree(tree.children) == tree
    assert hash(Tree(tree.children)) == hash(tree)
    assert networkx.is_arborescence(tree.to_networkx())


@every_tree
def test_the_depth_is_the_longest_way_to_a_leaf(name):
    tree = BUILT[name]
    ways = networkx.single_source_shortest_path_length(tree.to_networkx(), tree.root)
    assert tree.depth == max(ways[j] for j in range(tree.variables))


def test_a_star_has_all_variables_under_one_node():
    assert BUILT["star"].children == {5: (0, 1, 2, 3, 4)}


def test_the_latent_of_variable_j_of_a_chain_is_d_plus_j():
    assert Tree.chain(3).children == {3: (0, 4), 4: (1, 5), 5: (2,)}
    assert Tree.chain(3).root == 3
    assert Tree.chain(3).leaves == (0, 1, 2)


def test_a_caterpillar_splits_off_one_variable_at_a_time():
    tree = Tree.caterpillar(4)
    assert tree.children == {4: (2, 3), 5: (1, 4), 6: (0, 5)}
    assert tree.leaves == (0, 1, 2, 3)


@pytest.mark.parametrize("arity", [2, 3, 4])
@pytest.mark.parametrize("d", [2, 3, 5, 8, 13, 27])
def test_the_parts_of_a_balanced_tree_differ_by_at_most_one_larger_first(d, arity):
    tree = Tree.balanced(d, arity)
    below = dict.fromkeys(range(d), 1)
    for node in tree.inner:
        sizes = [below[child] for child in tree.children[node]]
        below[node] = sum(sizes)
        assert sizes == sorted(sizes, reverse=True)
        assert max(sizes) - min(sizes) <= 1
        assert len(sizes) == min(arity, below[node])
    assert tree.leaves == tuple(range(d))


def test_a_quad_tree_joins_neighbouring_pixels():
    tree = Tree.quad(2, 4)
    assert {frozenset(tree.children[node]) for node in tree.inner[:-1]} == {
        frozenset({0, 1, 4, 5}),
        frozenset({2, 3, 6, 7}),
    } or all(len(below) <= 4 for below in tree.children.values())
    square = Tree.quad(4, 4)
    assert {frozenset(square.children[v]) for v in square.inner[:-1]} == {
        frozenset({r * 4 + c, r * 4 + c + 1, r * 4 + c + 4, r * 4 + c + 5})
        for r in (0, 2)
        for c in (0, 2)
    }


def test_random_trees_depend_on_the_generator_alone():
    trees = [Tree.random(8, generator=torch.Generator().manual_seed(s)) for s in (0, 0, 1)]
    assert trees[0] == trees[1]
    assert trees[0] != trees[2]
    assert all(len(below) == 2 for below in trees[0].children.values())


def test_names_and_the_order_of_children_are_kept():
    tree = Tree.from_parents({2: "b", 0: "a", "b": "a", 1: "b"})
    assert tree.children == {"b": (2, 1), "a": (0, "b")}
    assert tree.root == "a"
    assert tree.inner == ("b", "a")


def test_newick_reads_labels_lengths_quotes_and_names():
    assert Tree.from_newick("((0,1),2);").children == {3: (0, 1), 4: (3, 2)}
    labelled = Tree.from_newick("((0:0.1,1:0.2)pair:1e-3,2)'the root';")
    assert labelled.children == {"pair": (0, 1), "the root": ("pair", 2)}
    named = Tree.from_newick("(cat,(dog,'it''s'));", names=["cat", "it's", "dog"])
    assert named.leaves == (0, 2, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("((0,1),2;", r"a '\)' is missing"),
        ("(0,1)),2);", r"a '\)' too many"),
        ("0;", "expected one tree"),
        ("(a,b);", "leaf 'a' is no variable number"),
        ("((0,1)x,(2,3)x);", "the same label"),
        ("(0,0);", "two parents"),
        ("(0,2);", r"none of the variables 0\.\.1"),
    ],
)
def test_what_is_no_newick_tree_is_refused(text, message):
    with pytest.raises(StructureError, match=message):
        Tree.from_newick(text)


def test_a_graph_over_variables_gives_each_variable_a_latent():
    tree = Tree.from_graph(networkx.path_graph(5))
    assert tree.root == 5 + 2
    assert all(tree.children[5 + j][0] == j for j in range(5))
    pairs = {frozenset((c - 5, p - 5)) for c, p in tree.parent.items() if c >= 5}
    assert pairs == {frozenset(edge) for edge in networkx.path_graph(5).edges}
    assert Tree.from_graph(networkx.path_graph(3), root=0).root == 3
    assert Tree.from_graph(networkx.empty_graph(1)).children == {1: (0,)}


BAD = {
    "a missing leaf": (lambda: Tree({"a": (0, 2)}), r"leaf 2 .* 0\.\.1, and variable 1 is missing"),
    "a leaf with a name": (lambda: Tree({"a": (0, "x")}), "leaf 'x' is none of the variables"),
    "a boolean": (lambda: Tree({"a": (0, True)}), "leaf True is none of the variables"),
    "two parents": (lambda: Tree({"a": (0, "b"), "b": (0, 1)}), "node 0 has two parents"),
    "two roots": (lambda: Tree({"a": (0,), "b": (1,)}), "'a' and 'b' both have no parent"),
    "a cycle": (lambda: Tree({"a": ("b",), "b": ("a",)}), "cycle through node 'a'"),
    "a cycle aside": (lambda: Tree({"r": (0,), "a": ("b",), "b": ("a", 1)}), "cycle through node"),
    "its own child": (lambda: Tree({"a": ("a", 0)}), "cycle|two parents"),
    "no children": (lambda: Tree({"a": (0, "b"), "b": ()}), "inner node 'b' has no children"),
    "nothing": (lambda: Tree({}), "at least one inner node"),
    "a disconnected graph": (lambda: Tree.from_graph(networkx.empty_graph(3)), "connected"),
    "a graph with a cycle": (lambda: Tree.from_graph(networkx.cycle_graph(3)), "got 3 edges"),
    "other names": (lambda: Tree.from_graph(networkx.Graph([("x", "y")])), r"variables 0\.\.1"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_tree_over_the_variables_is_refused(case):
    build, message = BAD[case]
    with pytest.raises(StructureError, match=message):
        build()


@pytest.mark.parametrize(
    "build",
    [
        lambda: Tree.star(0),
        lambda: Tree.chain(-1),
        lambda: Tree.balanced(4, 1),
        lambda: Tree.quad(0, 3),
        lambda: Tree.random(4, arity=1),
        lambda: Tree.from_networkx(networkx.Graph([(0, 1)])),
        lambda: Tree.from_graph(networkx.path_graph(3), root=7),
    ],
)
def test_sizes_that_make_no_sense_are_refused(build):
    with pytest.raises(ValueError, match=r"at least|expected|must be"):
        build()


def test_deep_trees_need_no_recursion():
    tree = Tree.chain(20_000)
    assert tree.depth == 20_000
    assert Tree.from_parents(tree.parent).leaves == tuple(range(20_000))
