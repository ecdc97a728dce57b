"""Processes that learn together: `python ranks.py SCENARIO RANK SIZE FOLDER` is one of them."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import torch
from torch import distributed

TESTS = Path(__file__).parent
THREADS = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


def run(scenario: str, size: int, folder: Path, timeout: float = 120.0) -> list:
    """Start all ranks of a scenario: what each saved, None of one that saved nothing."""
    environment = {
        **os.environ,
        **THREADS,
        "GLOO_SOCKET_IFNAME": "lo",
        "PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS)]),
    }
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, scenario, str(rank), str(size), str(folder)],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(size)
    ]
    try:
        for process in processes:
            _, errors = process.communicate(timeout=timeout)
            if process.returncode > 0:
                raise AssertionError(errors)
    finally:
        for process in processes:
            process.kill()
    paths = [folder / f"{rank}.pt" for rank in range(size)]
    return [torch.load(p, weights_only=False) if p.exists() else None for p in paths]


# -- data that tests and ranks build alike -------------------------------------------------------

CUTS = [9, 4, 0]  # rows of each rank; the third has none


def rows_of(name: str):
    """A mixture, its rows, which of them were seen, and their weights."""
    from mixture_cases import build, generator

    model = build(name)
    x = model.sample(sum(CUTS), generator=generator(1))
    observed = torch.rand(x.shape[:2], generator=generator(2)) > 0.1
    weights = torch.rand(len(x), generator=generator(3), dtype=torch.float64)
    return model, x, observed, weights


def mine(rank: int) -> slice:
    """The rows of a rank."""
    start = sum(CUTS[:rank])
    return slice(start, start + CUTS[rank])


def chain(seed: int = 0):
    """A hidden Markov chain with Bernoulli leaves."""
    from mixture_cases import generator

    from mixtures import HMM, Mixture
    from mixtures.components import Bernoulli

    leaves = Bernoulli(4, 3, generator=generator(seed + 1))
    return Mixture(HMM(4, 3, 2, generator=generator(seed)), leaves).double()


def batches_of(rank: int, epoch: int = 0) -> list:
    """Unequal batches, of unequal number: rank 0 has three, rank 1 one, rank 2 none."""
    from mixture_cases import generator

    x = chain(5).sample(12, generator=generator(epoch))
    return [[x[:4], x[4:5], x[5:7]], [x[7:12]], []][rank]


# -- scenarios -----------------------------------------------------------------------------------


def same_tables(rank, size, group):
    """EM on every kind of mixture; all ranks but the first begin elsewhere."""
    from mixture_cases import SOME, build

    from mixtures.learn import em

    found = {}
    for name in SOME:
        _, x, observed, weights = rows_of(name)
        model, part = build(name, seed=rank), mine(rank)
        options = {"observed": observed[part], "weights": weights[part], "pseudo_count": 0.3}
        steps = list(itertools.islice(em(model, x[part], group=group, **options), 3))
        found[name] = (model.state_dict(), steps)
    return found


def same_batches(rank, size, group):
    """Stochastic EM on batches of unequal size and number."""
    from mixtures.learn import Running, stochastic_em

    model, running = chain(rank), Running()
    steps = []
    for epoch in range(2):
        given = batches_of(rank, epoch)
        steps += stochastic_em(model, given, pseudo_count=0.1, running=running, group=group)
    return model.state_dict(), steps, running.rows


def fitted(rank, size, group):
    """fit with validation, restarts and early stopping, by both methods."""
    from mixture_cases import generator

    from mixtures.learn import fit

    found = {}
    x, held_out = (
        chain(5).sample(60, generator=generator(1)),
        chain(5).sample(30, generator=generator(2)),
    )
    for method in ("em", "stochastic_em"):
        model = chain(rank)
        part = slice(0, 41) if rank == 0 else slice(41, 60)
        seen = slice(0, 7) if rank == 0 else slice(7, 30)
        history = fit(
            model,
            x[part],
            validation=held_out[seen],
            method=method,
            restarts=2,
            patience=3,
            max_iter=1000,
            generator=generator(rank),
            group=group,
        )
        found[method] = (model.state_dict(), history, (x, held_out))
    return found


def interrupted(rank, size, group):
    """Ctrl-C on rank 1 alone."""
    from mixture_cases import generator

    from mixtures.components import Bernoulli
    from mixtures.learn import fit

    model, x = chain(rank), chain(5).sample(40, generator=generator(rank))
    count, honest = itertools.count(), Bernoulli._collect

    def signalling(self, data, weights):
        if rank == 1 and next(count) == 7:
            os.kill(os.getpid(), signal.SIGINT)
        return honest(self, data, weights)

    Bernoulli._collect = signalling
    history = fit(model, x, tol=0, start="model", group=group)
    restored = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    return model.state_dict(), history, restored


def refused(rank, size, group):
    """What differs between ranks, or fails on one, is an error on all, and they can go on."""
    from mixtures import HMM, LTM, Mixture, Tree
    from mixtures.components import Bernoulli
    from mixtures.learn import em, fit

    x = [[0, 1, 0, 1]] * 3
    trees = [Tree.balanced(4), Tree({4: [0, 2], 5: [1, 3], 6: [4, 5]})]
    attempts = {
        "bad row": lambda: next(em(chain(), [[0, 1, 0, 2 * rank]], group=group)),
        "other model": lambda: next(
            em(Mixture(HMM(4, 3, 2 + rank), Bernoulli(4, 3)), x, group=group)
        ),
        "other tree": lambda: next(
            em(Mixture(LTM(trees[rank], 3, 2), Bernoulli(4, 3)), x, group=group)
        ),
        "other pseudo-count": lambda: next(em(chain(), x, pseudo_count=float(rank), group=group)),
        "other options": lambda: fit(chain(), x, max_iter=3 + rank, group=group),
        "no rows": lambda: next(em(chain(), torch.zeros(0, 4), group=group)),
        "descend": lambda: fit(chain(), x, method="descend", group=group),
        "no batches": lambda: _no_batches(group),
    }
    found = {}
    for name, attempt in attempts.items():
        try:
            found[name] = attempt()
        except (ValueError, RuntimeError) as error:
            found[name] = f"{type(error).__name__}: {error}"
    return found


def _no_batches(group):
    from mixtures.learn import stochastic_em

    return list(stochastic_em(chain(), [], group=group))


def died(rank, size, group):
    """Rank 1 is killed in the middle of learning."""
    return _lost(rank, group, lambda: os.kill(os.getpid(), signal.SIGKILL))


def silent(rank, size, group):
    """Rank 1 stops answering."""
    return _lost(rank, group, lambda: time.sleep(10) or sys.exit(0))


def _lost(rank, group, end):
    from mixtures.components import Bernoulli
    from mixtures.learn import fit

    count, honest = itertools.count(), Bernoulli._collect

    def ending(self, data, weights):
        if rank == 1 and next(count) == 5:
            end()
        return honest(self, data, weights)

    Bernoulli._collect = ending
    model, twin, began = chain(), chain(), time.perf_counter()
    try:
        fit(model, [[0, 1, 0, 1]] * 3, tol=0, start="model", group=group)
    except RuntimeError as error:
        seconds = time.perf_counter() - began
        fit(twin, [[0, 1, 0, 1]] * 6, tol=0, start="model", max_iter=5)
        return f"{type(error).__name__}: {error}", seconds, model.state_dict(), twin.state_dict()


TIMEOUTS = {"silent": 3.0}


def main(scenario: str, rank: int, size: int, folder: Path) -> None:
    """One rank."""
    torch.set_num_threads(1)
    store = distributed.FileStore(str(folder / "store"), size)
    timeout = timedelta(seconds=TIMEOUTS.get(scenario, 60.0))
    distributed.init_process_group("gloo", timeout=timeout, store=store, rank=rank, world_size=size)
    torch.save(globals()[scenario](rank, size, distributed.group.WORLD), folder / f"{rank}.pt")
    if scenario not in ("died", "silent"):
        distributed.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
