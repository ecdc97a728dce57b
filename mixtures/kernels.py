"""The few operations that a walk along a spine consists of, on whatever is quickest at them.

On the CPU this is NumPy, on the tensors' own memory: for products of narrow matrices, look-ups and
exponentials it takes half the time of torch. Elsewhere it is torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy
import torch
from torch import Tensor

from mixtures.threads import one_thread

Native = Any  # an array or a tensor
PRODUCT = 2**18  # NumPy's BLAS multiplies up to so many numbers (m n k) on the calling thread


@dataclass(frozen=True)
class Kernels:
    """`native` views a tensor as what the operations take; `tensor` is the way back."""

    native: Callable[[Tensor], Native]
    tensor: Callable[[Native], Tensor]
    multiply: Callable[..., Native]
    divide: Callable[..., Native]
    matmul: Callable[..., Native]
    exp: Callable[..., Native]
    exp2: Callable[..., Native]
    take: Callable[..., Native]  # rows of a matrix
    walking: Callable[[], AbstractContextManager[Any]]  # held while walking


def _take(table: Any, index: Any, out: Any = None) -> Any:
    return table.take(index, axis=0, mode="clip", out=out)  # quicker; the indices are right


def _select(table: Tensor, index: Tensor, out: Tensor | None = None) -> Tensor:
    found = table.index_select(0, index.reshape(-1)).view(*index.shape, *table.shape[1:])
    return found if out is None else out.copy_(found)


@contextmanager
def _quietly_alone() -> Iterator[None]:
    """Without warnings; and on one thread, as the products are: those of steps are too small."""
    with numpy.errstate(all="ignore"), one_thread():
        yield


NUMPY = Kernels(
    native=lambda tensor: tensor.numpy(),
    tensor=torch.from_numpy,
    multiply=numpy.multiply,
    divide=numpy.divide,
    matmul=numpy.matmul,
    exp=numpy.exp,
    exp2=numpy.exp2,
    take=_take,
    walking=_quietly_alone,
)
TORCH = Kernels(
    native=lambda tensor: tensor,
    tensor=lambda tensor: tensor,
    multiply=torch.mul,
    divide=torch.div,
    matmul=torch.matmul,
    exp=torch.exp,
    exp2=torch.exp2,
    take=_select,
    walking=nullcontext,
)


def kernels_for(like: Tensor) -> Kernels:
    """Those that fit the device."""
    return NUMPY if like.device.type == "cpu" else TORCH
