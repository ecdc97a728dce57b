"""How many states any latent tree needs, on any tree: the least rank over all balanced cuts."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

import numpy
import torch
from torch import Tensor

from mixtures import Modular
from mixtures.coefficients import CoefficientTensor
from mixtures.network import members
from transforms.elimination import rank_modulo

PRIME = 2**31 - 1
ENTRIES = 2**10  # of the tensor whose cuts are all tried
SAMPLED = 2000  # variables whose correlations are looked at
WORK = 2**24  # numbers that go into its evaluation


@dataclass(frozen=True)
class Needed:
    """`states` is a proven lower bound, from all balanced cuts of `variables`."""

    states: int
    variables: tuple[int, ...]
    cuts: int

    def __str__(self) -> str:
        scope = members(sum(1 << j for j in self.variables))
        return (
            f"Any LTM of this tensor, on any tree, has a latent whose number of states is at "
            f"least {self.states}: the least rank over all {self.cuts} cuts of the variables "
            f"{scope} with a third of them or more on either side (certified modulo {PRIME}). An "
            f"SPN can stay as it is; convert(.., TMM, budget=..) writes out its induced trees"
        )


def states_needed(model: CoefficientTensor, *, generator: torch.Generator | None = None) -> Needed:
    """A certified lower bound on the states of any LTM, on whatever tree, with the model's tensor.

    Every tree over m >= 3 leaves has a latent whose removal leaves parts that can be joined to two
    groups of at least m/3 leaves each; the rank of W across that cut is at most the latent's
    states. So the least rank over all such cuts is a lower bound. W is restricted to a few
    variables first, the others contracted with random vectors (no rank grows by that), where all
    cuts would be too many. Ranks modulo a prime never exceed ranks. Cost: at most 2^m eliminations
    for the m variables that are kept.
    """
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    best = Needed(1, tuple(range(model.variables)), 0)
    for variables in _choices(model):
        if len(variables) < 3:
            continue
        tensor = restricted(model, variables, generator)
        found, cuts = least_rank(tensor, best.states if best.cuts else 0)
        if found > best.states or not best.cuts:
            best = Needed(found, variables, cuts)
    return best


def _choices(model: CoefficientTensor) -> list[tuple[int, ...]]:
    """Sets of variables small enough for all their cuts, spread over the model."""
    d = model.variables
    entries = max(8, min(ENTRIES, WORK // (d * max(model.shape))))
    everything = tuple(range(d))
    if prod(model.shape) <= entries:
        return [everything]
    starts = sorted({0, d // 3, 2 * d // 3})
    orders = [*near(model, starts), *(everything[s:] + everything[:s] for s in starts)]
    found = []
    for order in orders:
        chosen: list[int] = []
        for j in order:
            if (
                prod(model.shape[c] for c in chosen) * model.shape[j] <= entries
                and len(chosen) < 10
            ):
                chosen.append(j)
        found.append(tuple(sorted(chosen)))
    return list(dict.fromkeys(found))


def near(model: CoefficientTensor, starts: Sequence[int]) -> list[tuple[int, ...]]:
    """Variables that depend on one another, from each start on, by the correlations of a sample."""
    generator = torch.Generator(device=model.device).manual_seed(0)
    sample = model.sample(512, generator=generator)[:, :SAMPLED].cpu().double().numpy()
    centred = sample - sample.mean(0)
    spread = numpy.sqrt((centred**2).mean(0)) + 1e-12
    dependence = numpy.abs(centred.T @ centred / len(sample)) / numpy.outer(spread, spread)
    found = []
    for start in starts:
        order = [min(start, len(dependence) - 1)]
        while len(order) < min(16, len(dependence)):
            pull = dependence[order].max(0)
            pull[order] = -1
            order.append(int(pull.argmax()))
        found.append(tuple(order))
    return found


def restricted(
    model: CoefficientTensor, variables: Sequence[int], generator: torch.Generator
) -> Tensor:
    """Residues of W contracted with random vectors at all but the given variables."""
    d, most = model.variables, max(model.shape)
    shape = [model.shape[j] for j in variables]
    rest = torch.randint(1, PRIME, (d, most), generator=generator)
    index = torch.cartesian_prod(*(torch.arange(k) for k in shape)).reshape(-1, len(shape))
    step = max(1, 2**20 // (d * most))
    parts = []
    for rows in index.split(step):
        leaves = rest.expand(len(rows), d, most).clone()
        leaves[:, list(variables)] = torch.nn.functional.one_hot(rows, most)
        parts.append(model.contract(leaves.to(model.device), Modular(PRIME)).cpu())
    return torch.cat(parts).reshape(shape)


def least_rank(tensor: Tensor, enough: int = 0) -> tuple[int, int]:
    """The least rank over all balanced cuts, and their number; stops at `enough` or below."""
    least, cuts = min(tensor.numel(), 2**62), 0
    for rows in balanced_cuts(tensor.ndim):
        columns = [j for j in range(tensor.ndim) if j not in rows]
        height = prod(tensor.shape[j] for j in rows)
        matrix = tensor.permute(*rows, *columns).reshape(height, -1)
        least, cuts = min(least, rank_modulo(matrix, PRIME)), cuts + 1
        if least <= enough:
            break
    return least, cuts


def balanced_cuts(variables: int) -> Iterator[tuple[int, ...]]:
    """One side of every cut that leaves at least a third of the variables on either side.

    >>> list(balanced_cuts(3))
    [(0,), (1,), (2,)]
    """
    for size in range((variables + 2) // 3, variables // 2 + 1):
        for rows in itertools.combinations(range(variables), size):
            if 2 * size < variables or 0 in rows:
                yield rows
