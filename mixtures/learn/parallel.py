"""Data-parallel learning: every rank reads its rows, sums are shared, and all ranks stay alike.

The E-step is a sum over rows, so that ranks add up their expected counts and each does the same
M-step. Under `torchrun --nproc-per-node 2 learn.py`, learn.py being

    import numpy
    from mixtures import HMM, Mixture
    from mixtures.components import Gaussian
    from mixtures.learn import fit
    from mixtures.learn.parallel import connect, shard

    with connect() as group:                     # gloo on CPUs, nccl on GPUs; alone: None
        x = numpy.load("x.npy", mmap_mode="r")
        model = Mixture(HMM(x.shape[1], 8, 8), Gaussian(x.shape[1], 8))
        fit(model, shard(x, group), group=group)  # every rank ends with the same model

`em`, `stochastic_em` and `fit` take any process group as `group=`, e.g. one made by
`torch.distributed.init_process_group` (`torch.distributed.group.WORLD`). Ranks begin with the
parameters of rank 0. `python -m mixtures.cli.parallel --help` is such a program.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

from mixtures.mixture import Mixture

Group = distributed.ProcessGroup
Result = TypeVar("Result")

TIMEOUT = 300.0  # seconds after which a silent rank counts as lost
WORST = 1e-4  # by how much, relatively, one model may differ between machines in float32


class RankError(RuntimeError):
    """Another rank failed or was lost, so that this one cannot go on."""


@contextmanager
def connect(timeout: float = TIMEOUT, backend: str | None = None) -> Iterator[Group | None]:
    """The group of all processes that torchrun started; None in a program started alone.

    backend: "nccl" where there are GPUs, of which each local rank takes its own, otherwise "gloo".
    A rank that dies, or is silent for `timeout` seconds, is an error on the others.

    >>> with connect() as group:
    ...     print(group)
    None
    """
    if not {"RANK", "WORLD_SIZE", "MASTER_ADDR"} <= os.environ.keys():
        yield None
        return
    if backend is None:
        backend = "nccl" if torch.cuda.is_available() else "gloo"
    if backend == "nccl":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    distributed.init_process_group(backend, timeout=timedelta(seconds=timeout))
    try:
        yield distributed.group.WORLD
    finally:
        distributed.destroy_process_group()


def shard(x: Any, group: Group | None) -> Any:
    """The rows of x that belong to this rank: a slice, sizes differing by at most one.

    >>> shard([1, 2, 3], None)
    [1, 2, 3]
    """
    ranks = Ranks(group)
    return x[len(x) * ranks.rank // ranks.size : len(x) * (ranks.rank + 1) // ranks.size]


class Ranks:
    """The processes that learn together; without a group this one alone, at no cost.

    Every method is called by all ranks at the same point, and answers all of them alike.

    >>> alone = Ranks(None)
    >>> alone.rank, alone.size, alone.sum([torch.ones(2)])
    (0, 1, [tensor([1., 1.])])
    """

    def __init__(self, group: Group | None, device: torch.device | str = "cpu") -> None:
        if group is not None and not isinstance(group, Group):
            raise ValueError(
                f"group must be a torch.distributed process group that this process belongs to, "
                f"or None, got {group!r}"
            )
        self.group, self.device = group, torch.device(device)
        self.rank = 0 if group is None else distributed.get_rank(group)
        self.size = 1 if group is None else distributed.get_world_size(group)
        self.interrupted = False

    @classmethod
    def of(cls, group: Group | Ranks | None, device: torch.device | str) -> Ranks:
        """The ranks of a group; ranks as they are."""
        return group if isinstance(group, Ranks) else cls(group, device)

    # -- what ranks tell each other --------------------------------------------------------------

    def sum(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """The sums over all ranks of float64 tensors, in one message."""
        if self.group is None:
            return list(tensors)
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        self._all_reduce(flat)
        parts = flat.split([tensor.numel() for tensor in tensors])
        return [part.view_as(like) for part, like in zip(parts, tensors, strict=True)]

    def total(self, value: float) -> float:
        """The sum of a number over all ranks."""
        (found,) = self.sum([torch.tensor(value, dtype=torch.float64, device=self.device)])
        return float(found)

    def first(self, mine: bool) -> int:
        """The lowest rank that says yes; `size` if none does."""
        if self.group is None:
            return 0 if mine else 1
        found = torch.tensor(self.rank if mine else self.size, device=self.device)
        self._all_reduce(found, distributed.ReduceOp.MIN)
        return int(found)

    def same(self, what: str, value: Any) -> None:
        """Raise ValueError, on every rank, unless the value prints the same on all of them."""
        if self.group is None:
            return
        said = self._gathered(repr(value))
        for rank, other in enumerate(said):
            if other != said[0]:
                raise ValueError(
                    f"{what} must be the same on all ranks, got {said[0][:200]} on rank 0 and "
                    f"{other[:200]} on rank {rank}"
                )

    def broadcast(self, model: Mixture, source: int = 0) -> None:
        """Give every rank the parameters of one; ValueError where it is another model."""
        if self.group is None:
            return
        state = {name: value.clone() for name, value in model.state_dict().items()}
        tables = [tuple(array.shape) for array in model.coefficients.arrays]
        self.same("components", model.components.config())
        self.same("classes", [type(model.coefficients).__name__, model.coefficients.dtype])
        self.same("shapes of tables", tables)
        root = distributed.get_global_rank(self.group, source)
        for value in state.values():
            self._call(partial(distributed.broadcast, value, root, self.group))
        model.load_state_dict(state)
        self._check_structure(model)

    @contextmanager
    def together(self) -> Iterator[None]:
        """What fails inside on one rank fails on all; so does what a user interrupts."""
        if self.group is None:
            yield
            return
        failure: Exception | None = None
        try:
            yield
        except RankError:
            raise
        except Exception as error:
            failure = error
        flags = torch.tensor([failure is not None, self.interrupted], device=self.device).long()
        self._all_reduce(flags)
        failed, interrupted = flags.tolist()
        if failed:
            said = self._gathered(
                None if failure is None else f"{type(failure).__name__}: {failure}"
            )
            if failure is not None:
                raise failure
            rank = next(rank for rank, words in enumerate(said) if words is not None)
            raise RankError(f"rank {rank} failed: {said[rank]}")
        if interrupted:
            self.interrupted = False
            raise KeyboardInterrupt

    @contextmanager
    def deferring_interrupts(self) -> Iterator[None]:
        """Ctrl-C on any rank takes effect on all of them, at the end of a `together`.

        A second one, before the first took effect, interrupts at once.
        """
        if self.group is None or threading.current_thread() is not threading.main_thread():
            yield
            return

        def note(*_: Any) -> None:
            if self.interrupted:
                raise KeyboardInterrupt
            self.interrupted = True

        before = signal.signal(signal.SIGINT, note)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    # -- how -------------------------------------------------------------------------------------

    def _check_structure(self, model: Mixture) -> None:
        """Equal tables in unequal trees: told apart by the value of random leaves."""
        tensor = model.coefficients
        size = (1, tensor.variables, max(tensor.shape))
        random = torch.Generator().manual_seed(0)
        leaves = torch.randn(size, generator=random, dtype=torch.float64)
        with torch.no_grad():
            found = float(tensor.contract(leaves.to(tensor.device, tensor.dtype)))
        values = self._gathered(found)
        if any(abs(value - values[0]) > WORST * (1 + abs(values[0])) for value in values):
            raise ValueError("the structure of the model must be the same on all ranks")

    def _all_reduce(self, tensor: Tensor, operation: Any = distributed.ReduceOp.SUM) -> None:
        self._call(partial(distributed.all_reduce, tensor, operation, self.group))

    def _gathered(self, value: Any) -> list[Any]:
        """What every rank says."""
        found: list[Any] = [None] * self.size
        self._call(partial(distributed.all_gather_object, found, value, self.group))
        return found

    def _call(self, message: Callable[[], Result]) -> Result:
        try:
            return message()
        except RuntimeError as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise RankError(
                f"rank {self.rank} of {self.size} lost another one, which has died or did not "
                f"answer within the timeout of the process group; parameters are those of the last "
                f"whole step ({reason})"
            ) from error
