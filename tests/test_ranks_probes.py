"""Laws of probes: minors from random vectors are regular, and where they fall short bases go on."""

from __future__ import annotations

import pytest
import torch

from mixtures import HMM, LTM, Tree
from transforms import rank
from transforms.subjects import verify_minor


def generator():
    return torch.Generator().manual_seed(0)


LARGE = {
    "a block of a chain": (HMM(8, 16, 16, generator=generator(), dtype=torch.float64), range(2, 6)),
    "every other variable": (
        HMM(16, 2, 2, generator=generator(), dtype=torch.float64),
        range(0, 16, 2),
    ),
    "scattered leaves": (
        LTM(Tree.balanced(8), 7, 7, generator=generator(), dtype=torch.float64),
        [0, 2, 5],
    ),
}


@pytest.mark.parametrize("name", LARGE)
def test_large_minors_are_regular_and_meet_the_cheapest_cut(name):
    W, rows = LARGE[name]
    found = rank(W, rows, generator=generator())
    assert found.exact is not None and found.exact >= 256
    assert found.witness.size == found.exact
    assert verify_minor(W, found.witness)


def test_probes_that_fall_short_leave_the_search_to_bases(monkeypatch):
    import transforms.subjects

    monkeypatch.setattr(transforms.subjects, "probed", lambda *arguments: None)
    W, rows = LARGE["a block of a chain"]
    found = rank(W, rows, generator=generator())
    assert found.exact == 256 and found.witness.rows.ndim == 2
    assert verify_minor(W, found.witness)
