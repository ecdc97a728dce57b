"""Upward passes over scalar networks in compiled loops, with numba installed (the extra `fast`).

They compute what the steps of a plan do, in blocks of rows that stay in the cache. To compile them
takes seconds, once for an installation: they are for large work, and the steps are the reference.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from math import log
from typing import Any

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from mixtures.networkfold import NetworkFold
from mixtures.networkplan import Plan
from mixtures.tape import BLOCK, NONE, tape_of

LEAST = 2**27  # values of nodes, over the rows of a call, from which on a network is compiled
SHARE = 1024  # rows that are worth a thread of their own


def serves(work: int, device: torch.device) -> bool:
    """Whether so many values of nodes are to be computed in compiled loops, and can be."""
    return work >= LEAST and device.type == "cpu" and kernel() is not None


@cache
def kernel() -> Callable[..., None] | None:
    """The loops; None without numba, or with one that does not fit this NumPy."""
    try:
        from mixtures.tapekernel import evaluate
    except ImportError:
        return None
    return evaluate


class CompiledPass:
    """A plan with its weights, and the tables of patterns that some of its rows are read off.

    given: how many rows of the plan come from outside.
    """

    def __init__(
        self, plan: Plan, given: int, flat: Tensor, fold: NetworkFold | None = None
    ) -> None:
        self.dtype = flat.dtype
        self.tape = tape_of(plan, given, None if fold is None else fold.plan)
        self.weights = flat[torch.from_numpy(self.tape.places)].double().numpy()
        logs = flat.new_empty(0) if fold is None else fold.values
        self.tables = _mantissas(logs[torch.from_numpy(self.tape.entries)])

    def contract(self, rows: int, given: Tensor | None, codes: Tensor | None = None) -> Tensor:
        """The values of so many rows, (n,): given logarithms (rows given, n), symbols (d, n)."""
        nothing = torch.empty((0, rows))
        more = max(0, BLOCK - rows)
        mantissas = _mantissas(pad(nothing if given is None else given, (0, more)))
        numbers = pad((nothing if codes is None else codes).to(torch.int16), (0, more))
        arrays = (*self.tables, *mantissas, numbers.contiguous().numpy())
        out = numpy.empty(rows + more)
        threads = min(torch.get_num_threads(), 1 + rows // SHARE)
        bounds = [len(out) * i // threads for i in range(threads + 1)]
        if threads == 1:
            self._run(arrays, out, 0, len(out))
        else:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(partial(self._run, arrays, out), bounds[:-1], bounds[1:]))
        return torch.from_numpy(out[:rows]).to(self.dtype)

    def _run(self, arrays: Sequence[Any], out: NDArray[Any], start: int, stop: int) -> None:
        run, tape = kernel(), self.tape
        assert run is not None
        sizes = (tape.slots, tape.widest, tape.root)
        run(tape.code, self.weights, *arrays, *sizes, start, stop, out)


def _mantissas(logs: Tensor) -> tuple[NDArray[numpy.float64], NDArray[numpy.int64]]:
    """Numbers m and whole numbers e so that the logarithms are those of m 2^e, 1 <= m < 2."""
    exponents = (logs.double() / log(2)).floor_()
    mantissas = torch.sub(logs, exponents, alpha=log(2)).exp_()
    zero = logs == -torch.inf
    mantissas.masked_fill_(zero, 0)
    return mantissas.numpy(), exponents.masked_fill_(zero, NONE).long().numpy()
