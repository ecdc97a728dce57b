"""Learning from more rows than one would copy: memory beyond the data is bounded, and measured."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import ranks
import torch
from mixture_cases import MIXTURES, build, generator

from mixtures.components import Categorical, Gaussian, columns, seeding

MEBI = 2**20
MEASURE = """
import sys, threading, time
import numpy as np, torch
from mixtures import HMM, Mixture
from mixtures.components import Bernoulli, Gaussian
from mixtures.learn import batches, em, fit, stochastic_em

torch.set_num_threads(1)
path, rows = sys.argv[1], int(sys.argv[2])
family = {"Bernoulli": Bernoulli, "Gaussian": Gaussian}[sys.argv[3]]
x = np.load(path, mmap_mode="r")
model = Mixture(HMM(x.shape[1], 2, 2, emission=False), family(x.shape[1], 2))

def anonymous():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))

before, peak, done = anonymous(), 0.0, False

def watch():
    global peak
    while not done:
        peak = max(peak, anonymous())
        time.sleep(0.002)

watcher = threading.Thread(target=watch)
watcher.start()
"""
LEARN = {
    "em": "fit(model, x, max_iter=1)",
    "stochastic_em": "list(stochastic_em(model, batches(x, 10_000)))",
    "loader": """
class Rows(torch.utils.data.IterableDataset):
    def __iter__(self):
        for start in range(0, rows, 10_000):
            yield torch.from_numpy(np.array(x[start : start + 10_000]))

list(stochastic_em(model, torch.utils.data.DataLoader(Rows(), batch_size=None)))
""",
}


def peak_beyond(path: Path, rows: int, how: str, family: str) -> float:
    """MiB that a fresh process needs beyond the file, which it maps into memory."""
    code = f"{MEASURE}\n{LEARN[how]}\ndone = True\nwatcher.join()\nprint(peak - before)"
    command = [sys.executable, "-c", code, str(path), str(rows), family]
    environment = {**os.environ, **ranks.THREADS}
    root = Path(__file__).parent.parent
    found = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    return float(found.stdout)


def written(path: Path, rows: int, columns: int, dtype: type) -> Path:
    """A file of random numbers, or of zeros and ones."""
    random = np.random.default_rng(0)
    mapped = np.lib.format.open_memmap(path, "w+", dtype, (rows, columns))
    for start in range(0, rows, 10_000):
        draws = random.random((min(10_000, rows - start), columns))
        mapped[start : start + 10_000] = draws if dtype is np.float32 else draws > 0.5
    mapped.flush()
    return path


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_million_rows_of_a_hundred_columns_need_less_than_two_gibibytes(tmp_path):
    """fit: encoding, the starting point, a step of EM and the last measurement."""
    path = written(tmp_path / "x.npy", 10**6, 100, np.float32)
    assert peak_beyond(path, 10**6, "em", "Gaussian") < 2048


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("how", ["stochastic_em", "loader"])
def test_batches_need_no_more_memory_for_more_rows(how, tmp_path):
    few = written(tmp_path / "few.npy", 10**5, 100, np.uint8)
    many = written(tmp_path / "many.npy", 10**6, 100, np.uint8)
    small = peak_beyond(few, 10**5, how, "Bernoulli")
    large = peak_beyond(many, 10**6, how, "Bernoulli")
    assert large < small + 64 and large < 1024  # the file itself is 95 MiB, as float32 four times


@pytest.mark.parametrize("name", list(MIXTURES)[:54:2])
def test_what_is_done_by_blocks_does_not_depend_on_their_size(name, monkeypatch):
    """Encoding and starting points."""
    model = build(name)
    x = model.sample(30, generator=generator(1)).double().numpy()
    x[np.random.default_rng(0).random(x.shape[:2]) < 0.2] = np.nan
    found = []
    for size in (columns.BLOCK, 20):
        for name_of_size in ("BLOCK", "CACHED", "LONGEST"):
            monkeypatch.setattr(columns, name_of_size, size)
        other = build(name)
        data = other.encode(x)
        other.components.initialise(data, generator(2))
        found.append((data, other.components.state_dict()))
    (data, state), (again, other_state) = found
    assert torch.equal(data.observed, again.observed)
    seen = data.observed.reshape(data.observed.shape + (1,) * (x.ndim - data.observed.ndim))
    assert torch.equal(data.values.where(seen, 0), again.values.where(seen, 0))
    for key, value in state.items():
        torch.testing.assert_close(other_state[key], value, rtol=1e-9, atol=1e-12)


def test_symbols_that_no_seed_has_seen_are_possible_from_the_start(monkeypatch):
    """Without pseudo-counts a starting point of some rows only would rule the others out."""
    monkeypatch.setattr(seeding, "MOST_ROWS", 5)
    x = torch.zeros(4000, 2, dtype=torch.long)
    x[-1] = torch.tensor([2, 1])
    leaves = Categorical(2, 2, 3, pseudo_count=0.0)
    data = leaves.encode(x)
    leaves.initialise(data, generator(0))
    assert leaves.log_prob_encoded(data).isfinite().all()


def test_a_value_outside_the_domain_is_found_in_any_block(monkeypatch):
    model = build(next(iter(MIXTURES)))
    x = model.sample(50, generator=generator(1))
    x[37, 1] = 9
    monkeypatch.setattr(columns, "BLOCK", 30)
    with pytest.raises(ValueError, match="column 1, row 37: 9 is outside"):
        model.encode(x)


def test_the_callers_array_is_left_alone_and_not_shared():
    x = np.zeros((3, 2))
    x.flags.writeable = False
    data = Gaussian(2, 1, dtype=torch.float64).encode(x)
    data.values.add_(1)
    assert not x.any()
