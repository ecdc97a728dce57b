"""Learning on several ranks is learning on one, and no rank waits for ever for another."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import ranks
import torch
from mixture_cases import SOME
from torch import distributed

from mixtures.learn import Batch, Running, em, fit, stochastic_em
from mixtures.learn.parallel import Ranks, connect, shard

pytestmark = pytest.mark.skipif(
    not distributed.is_available() or not distributed.is_gloo_available(), reason="needs gloo"
)


def assert_same(one, two, tolerance=1e-10):
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, two[name], rtol=tolerance, atol=tolerance)


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 3])
def test_ranks_with_unequal_shards_give_the_tables_of_one(size, tmp_path):
    """Every family; ranks begin with different parameters, and the third has no rows."""
    found = ranks.run("same_tables", size, tmp_path)
    for name in SOME:
        model, x, observed, weights = ranks.rows_of(name)
        exact = em(model, x, observed=observed, weights=weights, pseudo_count=0.3)
        steps = list(itertools.islice(exact, 3))
        for rank in range(size):
            state, theirs = found[rank][name]
            assert_same(state, model.state_dict())
            np.testing.assert_allclose(theirs, steps, rtol=1e-10, atol=1e-10)
            assert theirs == found[0][name][1]  # bit for bit: decisions depend on them


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 3])
def test_a_step_takes_one_batch_of_every_rank_that_has_some_left(size, tmp_path):
    found = ranks.run("same_batches", size, tmp_path)
    model, running, steps = ranks.chain(), Running(), []
    for epoch in range(2):
        (a, b, c), (d,), _ = (ranks.batches_of(rank, epoch) for rank in range(3))
        whole = [Batch(torch.cat([a, d])), b, c]
        steps += stochastic_em(model, whole, pseudo_count=0.1, running=running)
    for state, theirs, rows in found:
        assert_same(state, model.state_dict())
        np.testing.assert_allclose(theirs, steps, rtol=1e-10, atol=1e-10)
        assert theirs == found[0][1]
        assert rows == running.rows == 12


@pytest.mark.slow
def test_fit_takes_the_same_decisions_on_all_ranks(tmp_path):
    one, two = ranks.run("fitted", 2, tmp_path)
    for method in one:
        state, history, (x, held_out) = one[method]
        other_state, other, _ = two[method]
        assert_same(state, other_state, 0.0)
        assert history.kept == other.kept and len(history) == len(other)
        values = [step[:3] for step in history.steps]
        assert values == [step[:3] for step in other.steps]
        assert [r[:3] for r in history.restarts] == [r[:3] for r in other.restarts]
        assert history.converged and other.converged
        assert 0 < history.kept == len(history) - 3  # stopped early: three steps gained nothing
        model = ranks.chain()
        model.load_state_dict(state)
        assert history.best.log_likelihood == pytest.approx(model.score(x), rel=1e-10)
        assert history.best.validation == pytest.approx(model.score(held_out), rel=1e-10)
        assert history.best.validation == max(step.validation for step in history.steps)


@pytest.mark.slow
def test_an_interrupt_of_one_rank_ends_all_at_the_same_step(tmp_path):
    one, two = ranks.run("interrupted", 2, tmp_path)
    assert one[1].interrupted and two[1].interrupted
    assert len(one[1]) == len(two[1]) == 7
    assert_same(one[0], two[0], 0.0)
    assert one[2] and two[2]


@pytest.mark.slow
def test_what_fails_on_one_rank_fails_on_all(tmp_path):
    one, two = ranks.run("refused", 2, tmp_path)
    assert two["bad row"].startswith("ValueError: column 3, row 0: 2 is outside")
    assert one["bad row"].startswith("RankError: rank 1 failed: ValueError: column 3, row 0: 2")
    for name, what in {
        "other model": "shapes of tables must be the same on all ranks",
        "other tree": "structure of the model must be the same",
        "other pseudo-count": "pseudo_count and other options must be the same on all ranks",
        "other options": "options of fit must be the same on all ranks",
        "no rows": "expected rows with weight on at least one rank",
        "descend": "method 'descend' takes no group",
        "no batches": "at least one batch",
    }.items():
        for found in (one, two):
            assert found[name].startswith("ValueError: ") and what in found[name]


@pytest.mark.slow
@pytest.mark.parametrize(("scenario", "within"), [("died", 30.0), ("silent", 30.0)])
def test_a_lost_rank_is_an_error_and_the_best_so_far_is_kept(scenario, within, tmp_path):
    found, nothing = ranks.run(scenario, 2, tmp_path)
    words, seconds, state, expected = found
    assert nothing is None
    assert words.startswith("RankError: rank 0 of 2 lost another one")
    assert seconds < within
    assert_same(state, expected)


@pytest.mark.slow
def test_the_example_program_runs_under_torchrun(tmp_path):
    x = ranks.chain(5).sample(50, generator=torch.Generator().manual_seed(0))
    np.save(tmp_path / "x.npy", x.numpy())
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
    command += ["2", "-m", "mixtures.cli.parallel", str(tmp_path / "x.npy")]
    command += ["--family", "Bernoulli", "--states", "2", "--out", str(tmp_path / "model.pt")]
    environment = {**os.environ, **ranks.THREADS, "GLOO_SOCKET_IFNAME": "lo"}
    root = Path(__file__).parent.parent
    done = subprocess.run(
        command, env=environment, cwd=root, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("log-likelihood") == 1  # rank 0 alone speaks
    assert "50 rows on 2 ranks" in done.stdout
    assert torch.load(tmp_path / "model.pt")


def test_without_a_group_one_process_is_all_ranks():
    alone = Ranks(None)
    assert (alone.rank, alone.size, alone.total(2.5), alone.first(True)) == (0, 1, 2.5, 0)
    assert torch.equal(shard(torch.arange(5), None), torch.arange(5))
    with connect() as group:
        assert group is None
    model = ranks.chain()
    assert len(fit(model, [[0, 1, 0, 1]], max_iter=1, group=None)) == 1


def test_what_is_no_process_group_is_refused():
    for wrong in (distributed.GroupMember.NON_GROUP_MEMBER, "gloo"):
        with pytest.raises(ValueError, match="process group"):
            next(em(ranks.chain(), [[0, 1, 0, 1]], group=wrong))
