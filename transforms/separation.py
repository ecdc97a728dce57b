"""Separations: how much larger a shallow model must be than the deep one whose tensor it holds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from mixtures import HMM, LTM, TMM, Tree
from mixtures.treetensor import TreeTensor
from transforms.bounds import min_cut
from transforms.formulas import alternate_blocks
from transforms.generic import generic_rank
from transforms.matchings import three_matchings
from transforms.optional import needed
from transforms.profiles import all_cuts
from transforms.ranks import Rank, rank
from transforms.separators import along
from transforms.shallow import clamping, generic_cp_rank
from transforms.witness import witness

if TYPE_CHECKING:
    import pandas

Row = dict[str, Any]
COLUMNS = (
    "deep", "shallow", "d", "r", "k", "deep_size", "predicted", "certified", "constructed", "exact",
    "growth", "how",
)  # fmt: skip


def compare(
    deep: Any,
    shallow: Any,
    sizes: Sequence[int],
    *,
    states: int = 2,
    components: int | None = None,
    shared: bool = False,
    generator: torch.Generator | None = None,
) -> pandas.DataFrame:
    """What a shallow class needs to hold the tensors of a deep one: a row for every number of
    variables.

    deep, shallow: classes or their names. ("TMM", "CP"), ("HMM", "TMM"), ("LTM", "TMM"): components
    of a mixture of products; ("LTM", "HMM"): states of a chain in the order of the leaves; ("LTM",
    "levels"): states of a balanced tree with one level less, down to one; ("SPN", "LTM"): states of
    any latent tree for a mixture of three matchings; ("untied", "tied"): odd | even rank of the
    two.

    `predicted` is the theory's value, `certified` a proven lower bound for almost all parameters,
    `constructed` the size of something that exists (missing where nothing was built), `deep_size`
    the deep model's edges; all Python integers. Needs pandas. Raises ValueError for other pairs.

    >>> table = compare("LTM", "TMM", [4, 8, 16])
    >>> [int(value) for value in table.certified]
    [4, 16, 256]
    """
    pandas = needed("pandas", "a table of sizes")
    key = (_name(deep), _name(shallow))
    if key not in PAIRS:
        raise ValueError(f"expected one of the pairs {sorted(PAIRS)}, got {key}")
    k = states if components is None else components
    rows = [row for d in sizes for row in PAIRS[key](d, states, k, shared, generator)]
    filled = [{"deep": key[0], "shallow": key[1], "r": states, "k": k, **row} for row in rows]
    for row in filled:
        row.setdefault("exact", row["certified"] == row["constructed"])
    return pandas.DataFrame(filled, columns=list(COLUMNS), dtype=object)


def growth(table: Any, column: str = "certified") -> dict[str, float]:
    """Least-squares fits of the logarithm of a column: exponents, and the errors they leave (in
    bits).

    `per_variable`: size ~ 2^(a d) (exponential); `power`: size ~ d^a (polynomial). The fit with the
    smaller error tells which growth it is; Python integers of any length are fine.
    """
    d = [float(value) for value in table.d]
    y = [math.log2(int(value)) for value in table[column]]
    if len(set(d)) < 3:
        raise ValueError(f"expected at least three different sizes to fit, got {sorted(set(d))}")
    exponential, first = _fit(d, y)
    polynomial, second = _fit([math.log2(value) for value in d], y)
    return {
        "per_variable": exponential,
        "per_variable_error": first,
        "power": polynomial,
        "power_error": second,
    }


# -- the pairs ------------------------------------------------------------------------------------


def _to_products(build: Callable[..., TreeTensor], paths: Callable[[int], int]) -> Any:
    """Components of a mixture of products, exactly r^nu for r <= k."""

    def rows(d: int, r: int, k: int, shared: bool, generator: Any) -> list[Row]:
        deep = build(d, k, r, shared)
        found: Rank = generic_cp_rank(deep)
        if shared:  # ties may stand in the way of a witness: look for a minor instead
            found = _tied_lower(deep, found, generator)
        return [
            {
                "d": d,
                "deep_size": deep.size,
                "predicted": r ** paths(d) if r <= k else None,
                "certified": found.lower,
                "constructed": clamping(deep).size,
                "growth": "exponential in d",
                "how": found.how,
            }
        ]

    return rows


def _tied_lower(deep: TreeTensor, found: Rank, generator: Any) -> Rank:
    evens = alternate_blocks(deep.variables, 1)
    tied = generic_rank(deep, evens, generator=generator)
    return tied if tied.lower > found.lower else found


def _to_chain(d: int, r: int, k: int, shared: bool, generator: Any) -> list[Row]:
    """States of an HMM in the order of the leaves of a balanced tree: polynomial in d for fixed
    r.
    """
    deep = TMM(d, k, r, arity=2, shared=shared)
    cuts = [min_cut(deep, range(q)) for q in range(1, d)]
    worst = max(range(1, d), key=lambda q: cuts[q - 1])
    found = generic_rank(deep, range(worst), generator=generator)
    return [
        {
            "d": d,
            "deep_size": deep.size,
            "predicted": r ** math.ceil(math.log2(d) / 2),
            "certified": found.lower,
            "constructed": _chain_states(deep),
            "growth": "polynomial in d for fixed r: about d^(log2(r)/2)",
            "how": f"rank of the first {worst} variables: {found.how}",
        }
    ]


def _chain_states(deep: TreeTensor) -> int:
    """The states of the HMM whose state is that of small separators of the tree, variable by
    variable.
    """
    states = {node: deep.states(node) for node in deep.tree.inner}
    steps = along(deep.tree, states, range(deep.variables))
    return max(math.prod(deep.states(node) for node in nodes) for nodes in steps)


def _to_levels(d: int, r: int, k: int, shared: bool, generator: Any) -> list[Row]:
    """States of a balanced tree cut off after L levels, its top a star: r^(d/2^L)."""
    deep = TMM(d, k, r, arity=2, shared=shared)
    rows = []
    for level in range(1, int(math.log2(d))):
        blocks = alternate_blocks(d, 2 ** (level - 1))
        found = _alternating(deep, blocks, shared, generator)
        rows.append(
            {
                "d": d,
                "deep_size": deep.size,
                "predicted": r ** (d // 2**level),
                "certified": found.lower,
                "constructed": clamping(TMM(d // 2 ** (level - 1), r, r, arity=2)).size,
                "growth": f"{level} levels: exponential in d / 2^{level}",
                "how": f"alternate blocks of {2 ** (level - 1)}: {found.how}",
            }
        )
    return rows


def _alternating(
    deep: TreeTensor, rows: tuple[int, ...], shared: bool, generator: torch.Generator | None
) -> Rank:
    """A generic rank: by a witness, or where ties stand in its way by a minor."""
    if shared:
        return generic_rank(deep, rows, generator=generator)
    found = witness(deep, rows)
    return Rank(found.rank, min_cut(deep, rows), str(found), found)


def _matchings(d: int, r: int, k: int, shared: bool, generator: Any) -> list[Row]:
    """States of any latent tree that holds a mixture of three matchings.

    A tree has an edge with at least a third of the variables on either side, where its rank is at
    most the number of states: the least rank over all such cuts is a lower bound.
    """
    deep = three_matchings(d, k)
    cuts = [rows for rows in all_cuts(d) if math.ceil(d / 3) <= len(rows) <= d - math.ceil(d / 3)]
    found = [rank(deep, rows, generator=generator) for rows in cuts]
    least = min(found, key=lambda held: held.lower)
    return [
        {
            "d": d,
            "deep_size": deep.size,
            "predicted": None,
            "certified": least.lower,
            "constructed": None,
            "growth": "exponential in d (expanders)",
            "how": f"the least rank of {len(cuts)} balanced cuts: {least.how}",
        }
    ]


def _untied(d: int, r: int, k: int, shared: bool, generator: Any) -> list[Row]:
    """Odd | even ranks without ties, and with: the same for r <= k."""
    evens = alternate_blocks(d, 1)
    free = generic_rank(TMM(d, k, r, arity=2), evens, generator=generator)
    deep = TMM(d, k, r, arity=2, shared=True)
    tied = generic_rank(deep, evens, generator=generator)
    return [
        {
            "d": d,
            "deep_size": deep.size,
            "predicted": min(r, k) ** (d // 2),
            "certified": tied.lower,
            "constructed": None,
            "exact": tied.exact is not None and tied.exact == free.exact,
            "growth": "the same as without ties",
            "how": tied.how,
        }
    ]


PAIRS: dict[tuple[str, str], Callable[[int, int, int, bool, Any], list[Row]]] = {
    ("TMM", "CP"): _to_products(
        lambda d, k, r, shared: TMM(d, k, r, arity=2, shared=shared), lambda d: d // 2
    ),
    ("LTM", "TMM"): _to_products(
        lambda d, k, r, shared: LTM(Tree.balanced(d), k, r), lambda d: d // 2
    ),
    ("HMM", "TMM"): _to_products(
        lambda d, k, r, shared: HMM(d, k, r, shared=shared), lambda d: d // 2
    ),
    ("LTM", "HMM"): _to_chain,
    ("LTM", "levels"): _to_levels,
    ("SPN", "LTM"): _matchings,
    ("untied", "tied"): _untied,
}


def _name(model: Any) -> str:
    return model if isinstance(model, str) else str(model.__name__)


def _fit(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """Slope of the least-squares line, and the root mean square of what it leaves."""
    n = len(x)
    centre, level = sum(x) / n, sum(y) / n
    spread = sum((a - centre) ** 2 for a in x)
    slope = sum((a - centre) * (b - level) for a, b in zip(x, y, strict=True)) / spread
    rest = [b - level - slope * (a - centre) for a, b in zip(x, y, strict=True)]
    return slope, math.sqrt(sum(e * e for e in rest) / n)


if __name__ == "__main__":
    from transforms.catalogue import main

    raise SystemExit(main())
