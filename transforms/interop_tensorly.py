"""CP models and chains as tensorly's CP and tensor train formats, and back."""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatch
from typing import Any

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

from mixtures import HMM, HT, TMM, ConversionError
from mixtures.coefficients import CoefficientTensor
from mixtures.tree import Node, Tree
from transforms.expand import train_order
from transforms.factors import contracted, of_form, states
from transforms.fields import Floats
from transforms.forms import Form, normalised, put_together, take_apart
from transforms.upward import is_star

SINGLE = 1e-5  # the same in single precision
TOLERANCE = 1e-9  # how far from one the entries of a tensor may sum, in double precision


@singledispatch
def to_tensorly(model: CoefficientTensor) -> Any:
    """A CP model as a `CPTensor`, an HMM or a tensor train as a `TTTensor`, of tensorly's backend.

    CP: weights (r,) and factors (k_j, r). TT: cores (r, k_j, r'), a chain's bonds being its
    states. Raises ConversionError for anything else, and for chains in another order than 0..d-1.

    >>> to_tensorly(TMM(3, components=2, states=4)).rank
    4
    """
    raise ConversionError(
        f"tensorly has CP and tensor trains: expected a CP model (TMM), an HMM or an HT on a "
        f"caterpillar, got {type(model).__name__}; convert(.., HMM) or convert(.., TMM) may help"
    )


@to_tensorly.register
def _(model: TMM) -> Any:
    import tensorly
    from tensorly.cp_tensor import CPTensor

    if not is_star(model.tree):
        raise ConversionError(
            "a deep TMM is no CP model; convert(convert(.., LTM), TMM, budget=..) makes one"
        )
    form = take_apart(model, Floats())
    tables = [form.tables[j] for j in range(model.variables)]
    eye = Floats().eye(model.states(model.tree.root))
    factors = [tensorly.tensor((eye if t is None else t).T.numpy()) for t in tables]
    top = form.tables[model.tree.root]
    assert top is not None
    return CPTensor((tensorly.tensor(top[0].numpy()), factors))


@to_tensorly.register
def _(model: HMM) -> Any:
    _check_order(model.tree.leaves)
    emission = [Floats().read(table) for table in model.emission]
    moves = [Floats().read(table) for table in model.transition]
    cores = [e[:, :, None] * t[:, None] for e, t in zip(emission, moves, strict=False)]
    cores.append(emission[-1][:, :, None])
    cores[0] = torch.einsum("z,zib->ib", Floats().read(model.initial), cores[0])[None]
    return _train(cores)


@to_tensorly.register
def _(model: HT) -> Any:
    order = train_order(model.tree)
    if order is None:
        raise ConversionError(f"{model.tree!r} is no caterpillar, so the HT is no tensor train")
    _check_order(order)
    form = take_apart(model, Floats())
    source = of_form(form, Floats())
    outside, inside = states(form)
    cores: list[Tensor] = []
    for j in order:
        node = form.tree.parent[j]
        first = j == 0 or form.tree.parent[j - 1] != node
        before = outside[node] if first else outside[j]
        after = tuple(x for x in inside[node] if x not in outside[j] or node not in form.joint)
        after = after if j + 1 < model.variables else ()
        own = {*before, *after, *outside[j], j}
        factors = [f for f in source.factors if set(f.labels) <= own and (first or j in f.labels)]
        core = contracted(Floats(), factors, (*before, j, *after), source.sizes)
        cores.append(core.reshape((len(before) and core.shape[0]) or 1, model.shape[j], -1))
    return _train(cores)


def _check_order(order: Sequence[int]) -> None:
    if list(order) != list(range(len(order))):
        raise ConversionError(
            f"a tensor train has its variables in the order 0..d-1, this chain in the order "
            f"{tuple(order[:8])}; convert(.., HMM, order=range(d)) makes one"
        )


def _train(cores: Sequence[Tensor]) -> Any:
    import tensorly
    from tensorly.tt_tensor import TTTensor

    return TTTensor([tensorly.tensor(core.numpy()) for core in cores])


def from_tensorly(
    tensor: Any, *, dtype: torch.dtype | None = None, device: torch.device | str | None = None
) -> TMM | HT:
    """A non-negative `CPTensor` as a TMM, a non-negative `TTTensor` as an HT on a caterpillar.

    The entries of the tensor must sum to one (up to 1e-9, or 1e-5 where `dtype` is single). Raises
    ConversionError naming the part with a negative entry: a factorisation with signs is no mixture,
    even of a non-negative tensor.
    A component without mass gets uniform factors.
    """
    import tensorly
    from tensorly.cp_tensor import CPTensor
    from tensorly.tt_tensor import TTTensor

    dtype = torch.get_default_dtype() if dtype is None else dtype
    like = TMM(1, 1, 1, dtype=dtype, device=device)
    if isinstance(tensor, CPTensor):
        factors = [tensorly.to_numpy(factor) for factor in tensor.factors]
        weights = None if tensor.weights is None else tensorly.to_numpy(tensor.weights)
        return _from_cp(weights, factors, like)
    if isinstance(tensor, TTTensor):
        return _from_train([tensorly.to_numpy(core) for core in tensor.factors], like)
    raise ValueError(f"expected a CPTensor or a TTTensor, got {type(tensor).__name__}")


def _from_cp(weights: NDArray | None, factors: list[NDArray], like: TMM) -> TMM:
    weights = numpy.ones(factors[0].shape[1]) if weights is None else weights
    parts = {"weights": weights} | {f"factor {j}": f for j, f in enumerate(factors)}
    _check_signs(parts)
    d, over = len(factors), Floats()
    tables: dict[Node, Tensor | None] = {d: over.read(torch.as_tensor(weights))[None]}
    tables.update((j, over.read(torch.as_tensor(f)).T) for j, f in enumerate(factors))
    form = Form(Tree.star(d), tables, _shapes(tables))
    return put_together(TMM, _checked(form, like), over, like)


def _from_train(cores: list[NDArray], like: TMM) -> HT:
    _check_signs({f"core {j}": core for j, core in enumerate(cores)})
    if cores[0].shape[0] != 1 or cores[-1].shape[2] != 1:
        raise ValueError("the first and the last bond of a tensor train must be 1")
    d, over = len(cores), Floats()
    tree = Tree.caterpillar(d)
    held = [over.read(torch.as_tensor(core)) for core in cores]
    tables: dict[Node, Tensor | None] = {d - 1: held[-1][:, :, 0]}
    sizes: dict[Node, tuple[int, int]] = {d - 1: (held[-1].shape[0], held[-1].shape[1])}
    for j in range(d - 1):
        core, node = held[j], tree.parent[j]
        tables[node], tables[j] = core.reshape(core.shape[0], -1), None
        sizes[node], sizes[j] = (len(core), core[0].numel()), (core.shape[1], core.shape[1])
    if d == 1:
        tables[1], sizes[1] = over.ones(1, 1), (1, 1)
    form = _checked(Form(tree, tables, sizes, frozenset(tree.inner)), like)
    return put_together(HT, form, over, like)


def _check_signs(parts: dict[str, NDArray]) -> None:
    for name, array in parts.items():
        if not (array >= 0).all():
            worst = float(array.min())
            raise ConversionError(
                f"{name} has the entry {worst:.4g}: a factorisation with negative entries is no "
                f"mixture; refit with a non-negative decomposition (tensorly.decomposition."
                f"non_negative_parafac), or convert the dense tensor"
            )


def _shapes(tables: dict[Node, Tensor | None]) -> dict[Node, tuple[int, int]]:
    return {v: (t.shape[0], t.shape[1]) for v, t in tables.items() if t is not None}


def _checked(form: Form, like: TMM) -> Form:
    """Normalised tables; ValueError unless the root holds a mass of one, to rounding."""
    found = normalised(form, Exactly())
    top = found.tables[form.tree.root]
    assert top is not None
    mass = float(top.sum())
    if abs(mass - 1) > (TOLERANCE if like.dtype == torch.float64 else SINGLE):
        raise ValueError(
            f"the entries of the tensor must sum to one, but they sum to {mass:.12g}; divide the "
            f"weights (or the first core) by that"
        )
    return normalised(form, Floats())


class Exactly(Floats):
    """Floats whose root keeps its mass."""

    def whole(self, mass: Tensor) -> Tensor:
        """One: nothing is divided."""
        return torch.ones_like(mass)
