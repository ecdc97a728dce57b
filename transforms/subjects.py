"""The tensors that the rank analyzers understand: tree models, circuits, arrays, tensorly
tensors.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from functools import cached_property, singledispatch
from typing import Any

import numpy
import torch
from flint import fmpz
from torch import Tensor

from mixtures.coefficients import CoefficientTensor
from mixtures.combination import Combination
from mixtures.entries import Dense
from mixtures.mixture import Mixture
from mixtures.semiring import Modular
from mixtures.treetensor import TreeTensor
from transforms import circuits
from transforms.contraction import Contraction
from transforms.cuts import Capacities, Separation, capacities, sides
from transforms.elimination import (
    as_integers,
    bits,
    denominator,
    is_exact,
    pivot_columns,
    random_residues,
    rank_modulo,
    reduced,
)
from transforms.exact import Subject, grid
from transforms.minors import Minor
from transforms.probes import probed
from transforms.tensortree import TensorTree, from_cp, from_model, from_train, from_tucker


class TreeSubject(Subject):
    """A tensor tree: tree models, CP, tensor trains, Tucker tensors."""

    def __init__(self, network: TensorTree, model: CoefficientTensor | None = None) -> None:
        self.network, self.model, self.shape = network, model, network.shape

    @cached_property
    def capacities(self) -> Capacities:
        """What cuts cost."""
        return capacities(self.network)

    def bound(self, rows: Sequence[int]) -> tuple[int, str]:
        cut = Separation(self.network, self.capacities, rows).total()
        return cut, f"the cheapest cut has dimension {cut}"

    def minor(self, rows: Sequence[int], p: int, rng: numpy.random.Generator, limit: int) -> Minor:
        separation = Separation(self.network, self.capacities, rows)
        size = min(limit, separation.total())
        quick = probed(self.network, separation, lambda array: reduced(array, p), p, rng, size)
        if quick is not None:
            return quick
        found = Contraction(self.network, separation, p, rng, limit).minor()
        return Minor(p, found[0][:limit], found[1][:limit])

    def values(self, vectors: Tensor, p: int) -> Tensor:
        if self.model is not None:
            return self.model.contract(vectors, Modular(p))
        return self.network.contract(vectors, lambda array: reduced(array, p), p)

    def dense(self) -> numpy.ndarray:
        if self.model is not None:
            return self.model.dense().detach().cpu().double().numpy()
        return self.network.dense()

    def scaling(self) -> tuple[int, float]:
        return self._scaling

    @cached_property
    def _scaling(self) -> tuple[int, float]:
        arrays = [numpy.asarray(array) for array in self.network.arrays()]
        scale = math.prod(denominator(array) for array in arrays)
        if self.model is not None:  # entries are probabilities
            return scale, math.log2(scale)
        return scale, sum(bits(array) + math.log2(max(array.shape)) for array in arrays)


class CircuitSubject(Subject):
    """Any coefficient tensor, known through contractions modulo p only."""

    def __init__(self, model: CoefficientTensor, parts: Sequence[Subject] = ()) -> None:
        self.model, self.parts, self.shape = model, parts, model.shape

    def bound(self, rows: Sequence[int]) -> tuple[int, str]:
        whole = circuits.rank_bound(self.model.circuit, self.model.arrays, rows)
        if not self.parts:
            return whole, f"the sums of the circuit bound the rank by {whole}"
        added = sum(part.bound(rows)[0] for part in self.parts)
        return min(whole, added), f"the parts of the combination have ranks of {added} in all"

    def minor(self, rows: Sequence[int], p: int, rng: numpy.random.Generator, limit: int) -> Minor:
        """A grid of random product vectors, enlarged until its rank falls short of its size."""
        height, width = sides(self.shape, rows)
        size, found = min(64, limit), 0
        while True:
            left = self._probes(rng, p, rows, min(size + 5, height), mine=True)
            right = self._probes(rng, p, rows, min(size + 5, width), mine=False)
            grid = self._grid(left, right, p)
            columns = pivot_columns(grid, p)
            found = len(columns)
            if found <= size or size >= limit:
                break
            size = min(2 * size, limit)
        kept = pivot_columns(grid[:, columns].T, p)
        return Minor(p, left[kept][:limit].numpy(), right[columns][:limit].numpy())

    def values(self, vectors: Tensor, p: int) -> Tensor:
        return self.model.contract(vectors.to(self.model.device), Modular(p)).cpu()

    def dense(self) -> numpy.ndarray:
        return self.model.dense().detach().cpu().double().numpy()

    def scaling(self) -> tuple[int, float]:
        return self._scaling

    @cached_property
    def _scaling(self) -> tuple[int, float]:
        exponent = circuits.exponent(self.model.circuit, self.model.arrays)
        return 2**exponent, float(exponent)

    def _probes(
        self, rng: numpy.random.Generator, p: int, rows: Sequence[int], count: int, *, mine: bool
    ) -> Tensor:
        """Random product vectors on one side, ones on the other: (count, d, max k)."""
        probes = random_residues(rng, (count, len(self.shape), max(self.shape)), p)
        for j in range(len(self.shape)):
            if (j in set(rows)) != mine:
                probes[:, j] = 1
        return probes

    def _grid(self, left: Tensor, right: Tensor, p: int) -> Tensor:
        return grid(self, left, right, p)


class ArraySubject(Subject):
    """An array written out."""

    def __init__(self, array: numpy.ndarray) -> None:
        self.array, self.shape = array, array.shape

    def check_exact(self) -> None:
        if not is_exact(self.array):
            raise ValueError(
                f"expected an array of integers or Fractions, got {self.array.dtype}: rounded "
                f"numbers have no certain rank; pass within=eps for bounds that hold within eps"
            )

    def bound(self, rows: Sequence[int]) -> tuple[int, str]:
        return min(sides(self.shape, rows)), "the size of the matrix"

    def minor(self, rows: Sequence[int], p: int, rng: numpy.random.Generator, limit: int) -> Minor:
        columns = [j for j in range(len(self.shape)) if j not in rows]
        residues = reduced(self.exact, p).permute([*rows, *columns])
        matrix = residues.reshape(sides(self.shape, rows))
        some = pivot_columns(matrix, p)[:limit]
        kept = pivot_columns(matrix[:, some].T, p)
        return Minor(p, self._places(rows, kept), self._places(columns, some))

    def _places(self, variables: Sequence[int], chosen: Sequence[int]) -> numpy.ndarray:
        places = numpy.full((len(chosen), len(self.shape)), -1)
        sizes, which = [self.shape[j] for j in variables], numpy.asarray(chosen, dtype=numpy.intp)
        if sizes:
            places[:, list(variables)] = numpy.array(numpy.unravel_index(which, sizes)).T
        return places

    @cached_property
    def exact(self) -> numpy.ndarray:
        """The array as integers, up to a factor."""
        return as_integers(self.array)

    def values(self, vectors: Tensor, p: int) -> Tensor:
        result = reduced(self.exact, p)[None].expand(len(vectors), *self.shape)
        for j, k in enumerate(self.shape):
            weights = vectors[:, j, :k].reshape(len(vectors), k, *[1] * (len(self.shape) - 1 - j))
            result = (result * weights % p).sum(1) % p
        return result

    def integers(self) -> numpy.ndarray:
        return self.exact

    def dense(self) -> numpy.ndarray:
        return self.array.astype(numpy.float64)

    def approximate(self) -> numpy.ndarray:
        return self.dense()

    def scaling(self) -> tuple[int, float]:
        return 1, float(bits(self.exact))


class DenseSubject(ArraySubject):
    """A model that is its entries: the floats it stores are what it is."""

    def check_exact(self) -> None:
        """Stored numbers of a model are exact."""


@singledispatch
def subject(W: Any) -> Subject:
    """The tensor behind a model, an array or a tensorly tensor.

    Raises ValueError for anything else.
    """
    network = _of_tensorly(W)
    if network is not None:
        return TreeSubject(network)
    array = numpy.asarray(W)
    if array.ndim == 0 or array.size == 0 or array.dtype.kind not in "biufO":
        raise ValueError(
            f"expected a coefficient tensor, an array or a tensorly CP, TT or Tucker tensor, "
            f"got {type(W).__name__} {array.dtype} of shape {array.shape}"
        )
    if array.dtype.kind == "f" and not numpy.isfinite(array).all():
        raise ValueError("expected finite numbers, got NaN or infinity")
    return ArraySubject(array)


@subject.register
def _(W: Subject) -> Subject:
    return W


@subject.register
def _(W: Tensor) -> Subject:
    return subject(W.detach().cpu().numpy())


@subject.register
def _(W: Mixture) -> Subject:
    return subject(W.coefficients)


@subject.register
def _(W: CoefficientTensor) -> Subject:
    return CircuitSubject(W)


@subject.register
def _(W: Combination) -> Subject:
    return CircuitSubject(W, [subject(part) for part in W.parts])


@subject.register
def _(W: Dense) -> Subject:
    return DenseSubject(W.dense().cpu().numpy())


@subject.register
def _(W: TreeTensor) -> Subject:
    return TreeSubject(from_model(W), W)


def _of_tensorly(W: Any) -> TensorTree | None:
    """The network of a tensorly tensor; None of anything else."""
    tensorly = sys.modules.get("tensorly")  # where it was never imported nothing is a tensor of it
    if tensorly is None:
        return None
    kinds: dict[type, Callable[[], TensorTree]] = {
        tensorly.cp_tensor.CPTensor: lambda: from_cp(W.weights, W.factors),
        tensorly.tt_tensor.TTTensor: lambda: from_train(W.factors),
        tensorly.tucker_tensor.TuckerTensor: lambda: from_tucker(W.core, W.factors),
    }
    return next((make() for kind, make in kinds.items() if isinstance(W, kind)), None)


def cp_terms(W: Any) -> int | None:
    """How many terms a CP tensor of tensorly has; None of anything else."""
    tensorly = sys.modules.get("tensorly")
    if tensorly is None or not isinstance(W, tensorly.cp_tensor.CPTensor):
        return None
    return int(W.factors[0].shape[1])


def verify_minor(W: Any, minor: Minor) -> bool:
    """Whether a minor of a tensor is regular modulo its prime, which proves rank >= its size.

    The modulus is tested for primality, rows and columns for using different variables, and the
    minor is evaluated entry by entry (models: by their own circuit) and eliminated.
    """
    if minor.size == 0:
        return True
    exact = subject(W)
    left, right = minor.vectors(exact.shape, True), minor.vectors(exact.shape, False)
    overlap = (left != 1).any((0, 2)) & (right != 1).any((0, 2))
    if overlap.any() or not fmpz(minor.prime).is_prime():
        return False
    values = grid(exact, torch.as_tensor(left), torch.as_tensor(right), minor.prime)
    return rank_modulo(values, minor.prime) == minor.size
