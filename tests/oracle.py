"""The truth by brute force: coefficient tensors and their queries, from the definitions.

Only numpy and itertools: no evaluator, no messages passed along a tree, nothing of the library.
Everything is exponential and meant for a handful of variables. Tables may be arrays of
`fractions.Fraction` (dtype object); tensors, `contract`, `marginal`, `condition` are then exact.

* From tables to W: `tree_tensor`, `ht_tensor`, `hmm_tensor`, `cp_tensor`, `spn_tensor`.
* From W to answers: `contract`, `log_density`, `posterior`, `marginal`, `condition`, `matricize`.
* Latent states, explanations and expected counts: `oracle_joint.py`, built on this file.

A row of data is one array of leaves (d, max k_j): line j holds, for component i of variable j, its
log-density at x_j ("logs"; 0 where x_j is missing) or any number ("leaves"). Columns beyond k_j are
ignored, as they are in the library.
"""

import functools
import itertools
import math
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

Node = Hashable
Tables = Mapping[Node, np.ndarray]


# ---------------------------------------------------------------- from tables to the tensor


def outer(vectors: Iterable[np.ndarray]) -> np.ndarray:
    """v_1 (x) v_2 (x) ..."""
    return functools.reduce(np.multiply.outer, vectors)


def cp_tensor(weights: Sequence, factors: Sequence[np.ndarray]) -> np.ndarray:
    """sum_s w_s f_1[s] (x) .. (x) f_d[s]; weights (r,), factors one (r, k_j) per variable."""
    return sum(w * outer([f[s] for f in factors]) for s, w in enumerate(weights))


def hmm_tensor(
    initial: Sequence,
    transition: np.ndarray,
    emission: np.ndarray | Sequence[np.ndarray] | None = None,
    variables: int | None = None,
) -> np.ndarray:
    """The sum over all state paths of initial * transitions * emissions.

    initial (r,); transition (r, r) for every step or (d-1, r, r); emission (r, k) for every
    variable, one (r, k_j) per variable, or None where states are components. `variables` is needed
    where none of them tells d.
    """
    if variables is None:
        variables = len(transition) + 1 if np.ndim(transition) == 3 else len(emission)
    steps = transition if np.ndim(transition) == 3 else [transition] * (variables - 1)
    if emission is None:
        emission = np.eye(len(initial), dtype=int)
    emissions = emission if np.ndim(emission[0]) == 2 else [emission] * variables
    total = 0
    for path in itertools.product(range(len(initial)), repeat=variables):
        weight = initial[path[0]]
        for step, (before, after) in zip(steps, itertools.pairwise(path), strict=True):
            weight = weight * step[before][after]
        total = total + weight * outer([e[s] for e, s in zip(emissions, path, strict=True)])
    return total


def tree_tensor(parents: Mapping[Node, Node], root: Node, d: int, tables: Tables) -> np.ndarray:
    """W of a latent tree model: the sum over the states of all latents (nodes other than 0..d-1).

    Tables: root (1, r), latent (r_parent, r), leaf (r_parent, k_j). A node without one repeats its
    parent's state. The cost is the product of all numbers of states, times the size of W.
    """
    sizes = tree_sizes(parents, root, tables)
    latents = [node for node in sizes if node not in range(d)]
    total = 0
    for states in itertools.product(*(range(sizes[node]) for node in latents)):
        chosen = dict(zip(latents, states, strict=True))
        rows = {node: row(node, parents, chosen, sizes, tables) for node in sizes}
        weight = math.prod(rows[node][chosen[node]] for node in latents)
        total = total + weight * outer([rows[j] for j in range(d)])
    return total


def ht_tensor(
    children: Mapping[Node, Sequence[Node]],
    root: Node,
    d: int,
    tables: Tables,
    components: Sequence[int] | None = None,
) -> np.ndarray:
    """W of a hierarchical Tucker model: the sum over the states of all bonds.

    Tables: inner node (b_node, product of its children's bonds, the last child's fastest), leaf
    (b_j, k_j); a leaf without one has b_j = k_j and repeats its bond. The root's bond is 1.
    `components` gives k_j where leaves without tables differ under one node.
    """
    sizes = bond_sizes(children, root, d, tables, components)
    total = 0
    for states in itertools.product(*(range(size) for size in sizes.values())):
        bond = dict(zip(sizes, states, strict=True))
        weight = math.prod(
            tables[node][bond[node]][joint_column(children[node], bond, sizes)]
            for node in sizes
            if node not in range(d)
        )
        leaves = [tables[j][bond[j]] if j in tables else unit(sizes[j], bond[j]) for j in range(d)]
        total = total + weight * outer(leaves)
    return total


def spn_tensor(graph: Any, shape: Sequence[int] | None = None) -> np.ndarray:
    """W of a sum-product network: its polynomial, multiplied out, monomial by monomial.

    `graph` is a networkx.DiGraph, edges from parents to children; nodes carry kind = "sum",
    "product" or "input", inputs also `variable` and `component`; edges below a sum carry `weight`.
    """

    @functools.cache
    def polynomial(node: Node) -> dict[frozenset, Any]:
        kind = graph.nodes[node]["kind"]
        if kind == "input":
            return {frozenset([(graph.nodes[node]["variable"], graph.nodes[node]["component"])]): 1}
        below = [polynomial(child) for child in graph.successors(node)]
        result: dict[frozenset, Any] = {}
        if kind == "sum":
            weights = [graph.edges[node, child]["weight"] for child in graph.successors(node)]
            for weight, terms in zip(weights, below, strict=True):
                for monomial, value in terms.items():
                    result[monomial] = result.get(monomial, 0) + weight * value
            return result
        for chosen in itertools.product(*(terms.items() for terms in below)):
            monomial = frozenset().union(*(m for m, _ in chosen))
            result[monomial] = result.get(monomial, 0) + math.prod(value for _, value in chosen)
        return result

    terms = {tuple(i for _, i in sorted(m)): value for m, value in polynomial(top(graph)).items()}
    shape = shape or tuple(1 + max(column) for column in zip(*terms, strict=True))
    tensor = np.zeros(shape, dtype=np.asarray(list(terms.values())).dtype)
    for index, value in terms.items():
        tensor[index] = value
    return tensor


# ---------------------------------------------------------------- from the tensor to answers


def contract(W: np.ndarray, leaves: Sequence) -> Any:
    """<W, v_1 (x) .. (x) v_d> = sum_i W[i] prod_j v_j[i_j]."""
    return (W * outer(cut(leaves, W.shape))).sum()


def log_density(W: np.ndarray, logs: Sequence) -> float:
    """Log sum_i W[i] exp(sum_j logs[j, i_j]), at any scale; -inf where nothing is possible."""
    return log_sum(log_terms(W, logs))


def posterior(W: np.ndarray, logs: Sequence) -> list[np.ndarray]:
    """P(component i of variable j | row): one (k_j,) per variable."""
    share = shares(log_terms(W, logs))
    return [marginal(share, [j]) for j in range(W.ndim)]


def marginal(W: np.ndarray, keep: Sequence[int]) -> np.ndarray:
    """W summed over the variables not in `keep`; axes in the order of `keep`."""
    kept = W.sum(axis=tuple(j for j in range(W.ndim) if j not in keep))
    return kept.transpose(np.argsort(np.argsort(keep)))


def condition(W: np.ndarray, leaves: Mapping[int, Sequence]) -> np.ndarray:
    """The tensor over the free variables, given densities {variable: (k_j,)} of the others."""
    ones = [leaves.get(j, np.ones(k, dtype=int)) for j, k in enumerate(W.shape)]
    free = marginal(W * outer(cut(ones, W.shape)), [j for j in range(W.ndim) if j not in leaves])
    return free / free.sum()


def matricize(W: np.ndarray, rows: Sequence[int]) -> np.ndarray:
    """W as a matrix: `rows` index its rows, the others its columns, the last one fastest."""
    columns = [j for j in range(W.ndim) if j not in rows]
    return W.transpose([*rows, *columns]).reshape(math.prod(W.shape[j] for j in rows), -1)


# ---------------------------------------------------------------- sizes, rows, logs


def tree_sizes(parents: Mapping[Node, Node], root: Node, tables: Tables) -> dict[Node, int]:
    """Number of states of every node (components of a leaf), the root first."""
    sizes: dict[Node, int] = {}
    for node in top_down(children_of(parents), root):
        sizes[node] = tables[node].shape[1] if node in tables else sizes[parents[node]]
    return sizes


def bond_sizes(
    children: Mapping[Node, Sequence[Node]],
    root: Node,
    d: int,
    tables: Tables,
    components: Sequence[int] | None = None,
) -> dict[Node, int]:
    """Dimension of the bond above every node, the root first."""
    known = {node: table.shape[0] for node, table in tables.items()}
    known |= {j: components[j] for j in range(d) if components is not None and j not in tables}
    for node, below in children.items():
        free = [child for child in below if child not in known]
        rest = tables[node].shape[1] // math.prod(known[c] for c in below if c in known)
        known |= dict.fromkeys(free, round(rest ** (1 / max(1, len(free)))))
        columns = math.prod(known[child] for child in below)
        assert columns == tables[node].shape[1], f"bonds below {node} make {columns} columns"
    return {node: known[node] for node in top_down(children, root)}


def children_of(parents: Mapping[Node, Node]) -> dict[Node, list[Node]]:
    """The children of every inner node, in the order in which `parents` names them."""
    children: dict[Node, list[Node]] = {}
    for child, parent in parents.items():
        children.setdefault(parent, []).append(child)
    return children


def top_down(children: Mapping[Node, Sequence[Node]], node: Node) -> Iterator[Node]:
    """Every node below `node` and itself, parents before children."""
    yield node
    for child in children.get(node, ()):
        yield from top_down(children, child)


def row(
    node: Node, parents: Mapping[Node, Node], chosen: Mapping[Node, int], sizes: Any, tables: Tables
) -> np.ndarray:
    """The distribution of a node given its parent's chosen state; without a table, that state."""
    state = chosen[parents[node]] if node in parents else 0
    return tables[node][state] if node in tables else unit(sizes[node], state)


def unit(size: int, state: int) -> np.ndarray:
    """The indicator of one state; integers, so that exact arithmetic stays exact."""
    return np.eye(size, dtype=int)[state]


def joint_column(below: Sequence[Node], bond: Mapping[Node, int], sizes: Mapping[Node, int]) -> int:
    """The column of a joint state of the children, the last child's state running fastest."""
    return functools.reduce(lambda column, child: column * sizes[child] + bond[child], below, 0)


def top(graph: Any) -> Node:
    """The one node without parents."""
    (node,) = (node for node, degree in graph.in_degree() if degree == 0)
    return node


def cut(leaves: Sequence, shape: Sequence[int]) -> list[np.ndarray]:
    """The first k_j columns of line j, for every variable j."""
    return [np.asarray(line)[:k] for line, k in zip(leaves, shape, strict=True)]


def log_terms(W: np.ndarray, logs: Sequence) -> np.ndarray:
    """Log W[i] + sum_j logs[j, i_j], of the shape of W."""
    with np.errstate(divide="ignore"):
        return np.log(W.astype(float)) + functools.reduce(np.add.outer, cut(logs, W.shape))


def log_sum(terms: np.ndarray) -> float:
    """Log sum exp of all terms; -inf for none."""
    best = terms.max(initial=-np.inf)
    return float(best + np.log(np.exp(terms - best).sum())) if best > -np.inf else -np.inf


def shares(terms: np.ndarray) -> np.ndarray:
    """exp(terms), normalised; a row of probability zero has none."""
    assert log_sum(terms) > -np.inf, "a row of probability zero has no posterior"
    return np.exp(terms - log_sum(terms))
