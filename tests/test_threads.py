"""Passes on one thread leave torch's number of threads as it was."""

from __future__ import annotations

import threading

import pytest
import torch

from mixtures import HMM, Mixture, span
from mixtures.components import Categorical, Gaussian
from mixtures.learn import em
from mixtures.threads import one_thread


@pytest.fixture(autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_the_number_of_threads_is_put_back_even_after_errors():
    with pytest.raises(KeyError), one_thread():
        assert torch.get_num_threads() == 1
        with one_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 1
        raise KeyError
    assert torch.get_num_threads() == 2


def test_other_threads_keep_theirs():
    found, go, done = [], threading.Event(), threading.Event()

    def other():
        found.append(torch.get_num_threads())
        go.set()
        assert done.wait(10)
        found.append(torch.get_num_threads())

    thread = threading.Thread(target=other)
    thread.start()
    assert go.wait(10)
    with one_thread():
        done.set()
        thread.join()
    assert found == [2, 2]


@pytest.mark.parametrize("family", [Categorical, Gaussian])
def test_chains_are_walked_on_one_thread_and_callers_never_see_it(family, monkeypatch):
    g = torch.Generator().manual_seed(0)
    components = (
        Gaussian(12, 3, generator=g) if family is Gaussian else family(12, 3, 4, generator=g)
    )
    model = Mixture(HMM(12, 3, 3, generator=g), components)
    x = torch.rand(50, 12) if family is Gaussian else torch.randint(0, 4, (50, 12), generator=g)
    inside, walk = [], span.Span._walk

    def watched(self, *given):
        inside.append(torch.get_num_threads())
        return walk(self, *given)

    monkeypatch.setattr(span.Span, "_walk", watched)
    with torch.no_grad():
        model.log_prob(x)
    assert torch.get_num_threads() == 2
    steps = em(model, x)
    next(steps)
    assert torch.get_num_threads() == 2
    sweep = model.sweep(model.encode(x))
    next(sweep)
    assert torch.get_num_threads() == 2
    sweep.close()
    assert torch.get_num_threads() == 2
    assert inside and set(inside) == {1}
