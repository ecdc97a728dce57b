"""Trained transformers: the task is what it says, networks are independent, runs are kept."""

from __future__ import annotations

import io
import itertools
import math
from dataclasses import replace

import matplotlib
import matplotlib.pyplot
import numpy
import pytest
import torch
from rich.console import Console

from mixtures.errors import SizeError
from transforms.attention import (
    BUDGETS,
    GRID,
    CompositionTask,
    Settings,
    Transformers,
    TransformerShape,
    best_depth,
    design,
    learning_curves,
    loss_against_depth,
    loss_at_budgets,
    measured,
    spread,
    sweep,
    train,
    tuned,
)
from transforms.attention_runs import read, write
from transforms.attention_training import main, stream

matplotlib.use("Agg")
SMALL = Settings(
    CompositionTask(3, (1, 2)), steps=20, batch=16, seeds=(0, 1), learning_rates=(0.01,)
)


# ---------------------------------------------------------------- the task


def test_targets_are_the_iterated_composition():
    task = CompositionTask(5, (1, 2, 4, 7))
    tokens, targets = task.draw(20, torch.Generator().manual_seed(0))
    for row, answers in zip(tokens.tolist(), targets.tolist(), strict=True):
        first, second = row[:5], [symbol - 5 for symbol in row[5:]]
        assert sorted(first) == sorted(second) == list(range(5))
        for i, found in enumerate(answers):
            reached, place = [], i
            for _ in range(7):
                place = second[first[place]]
                reached.append(place)
            assert found == [reached[hop - 1] for hop in task.hops]


def test_separation_ranks_of_the_task_are_those_of_the_table_written_out():
    every = list(itertools.permutations(range(3)))
    for hop in (1, 2, 3):
        table = numpy.zeros((len(every), len(every)))
        for (s, a), (t, b) in itertools.product(enumerate(every), repeat=2):
            place = 0
            for _ in range(hop):
                place = b[a[place]]
            table[s, t] = place == 0
        assert CompositionTask(3).separation_rank(hop) == numpy.linalg.matrix_rank(table)


def test_more_hops_need_a_higher_rank_up_to_all_permutations():
    assert [CompositionTask(5).separation_rank(hop) for hop in (1, 2, 4)] == [5, 50, 120]


def test_tasks_that_are_none_or_too_large_to_write_out_are_refused():
    with pytest.raises(ValueError, match="points to be an integer above 1, got 1"):
        CompositionTask(1)
    with pytest.raises(ValueError, match="hops to be distinct positive integers"):
        CompositionTask(3, (1, 1))
    with pytest.raises(SizeError, match="at most 5 points"):
        CompositionTask(6).separation_rank(1)


# ---------------------------------------------------------------- the networks


def test_weights_between_embeddings_are_those_that_the_shape_counts():
    shape = TransformerShape(6, 3, heads=2)
    networks = Transformers(shape, symbols=5, positions=4, outputs=7, seeds=[0])
    total = sum(weight.numel() for weight in networks.parameters())
    assert total - shape.width * (5 + 4 + 7) == shape.parameters == 12 * 3 * 36


def test_a_network_is_the_transformer_written_out():
    """One token at a time, with loops over heads and numpy: the definition."""
    shape = TransformerShape(4, 2, heads=2)
    networks = Transformers(
        shape, symbols=5, positions=3, outputs=2, seeds=[3], dtype=torch.float64
    )
    held = {name: value[0].detach().numpy() for name, value in networks.named_parameters()}
    tokens = torch.tensor([[[4, 0, 2]]])

    def normed(x):
        return (x - x.mean(-1, keepdims=True)) / numpy.sqrt(x.var(-1, keepdims=True) + 1e-5)

    def gelu(x):
        return x * (1 + numpy.vectorize(math.erf)(x / math.sqrt(2))) / 2

    x = held["symbols"][[4, 0, 2]] + held["positions"]
    for block in range(2):
        q, k, v = numpy.split(normed(x) @ held[f"read.{block}"], 3, axis=1)
        seen = numpy.zeros_like(x)
        for head, i in itertools.product((slice(0, 2), slice(2, 4)), range(3)):
            scores = numpy.exp(k[:, head] @ q[i, head] / math.sqrt(2))
            seen[i, head] = scores / scores.sum() @ v[:, head]
        x = x + seen @ held[f"mixed.{block}"]
        x = x + gelu(normed(x) @ held[f"up.{block}"]) @ held[f"down.{block}"]
    expected = normed(x) @ held["unembedding"]
    numpy.testing.assert_allclose(networks(tokens)[0, 0].detach().numpy(), expected, rtol=1e-9)


def test_networks_side_by_side_are_the_networks_alone():
    shape, sizes = TransformerShape(4, 2), {"symbols": 6, "positions": 6, "outputs": 3}
    together = Transformers(shape, **sizes, seeds=[0, 7])
    alone = Transformers(shape, **sizes, seeds=[7])
    tokens = torch.randint(6, (2, 5, 6), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(together(tokens)[1:], alone(tokens[1:]))


@pytest.mark.parametrize(("sizes", "name"), [((0, 1), "width"), ((4, 1.5), "depth")])
def test_impossible_shapes_are_refused(sizes, name):
    with pytest.raises(ValueError, match=f"{name} to be a positive integer"):
        TransformerShape(*sizes)
    with pytest.raises(ValueError, match="heads to divide width, got 3 heads for width 4"):
        TransformerShape(4, 1, heads=3)


# ---------------------------------------------------------------- training


def test_training_learns_one_hop_and_one_layer_does_not_learn_two():
    """The mechanism of the measurement: a layer for the first hop, another one for the second."""
    settings = Settings(CompositionTask(3, (1, 2)), steps=300, batch=32, seeds=(0,))
    [one] = train(TransformerShape(16, 1), 0.01, settings)
    [two] = train(TransformerShape(16, 2), 0.01, settings)
    assert one.by_hop[0] < 0.4 < one.by_hop[1]  # a guess costs ln 3 = 1.1
    assert max(two.by_hop) < 0.2
    assert two.history[-1] < two.history[0]
    assert one.test == pytest.approx(sum(one.by_hop) / 2, abs=1e-3)


def test_every_seed_sees_rows_of_its_own_and_always_the_same():
    task = CompositionTask(4, (1,))
    tokens, targets = stream(task, [0, 1])(50)
    again, _ = stream(task, [1])(50)
    assert tokens.shape == (2, 50, 8)
    assert targets.shape == (2, 50, 4, 1)
    assert torch.equal(tokens[1], again[0])
    assert not torch.equal(tokens[0], tokens[1])


def test_seeds_determine_runs_and_do_not_depend_on_their_company():
    shape = TransformerShape(8, 1)
    first, again = (train(shape, 0.01, SMALL) for _ in range(2))
    [alone] = train(shape, 0.01, replace(SMALL, seeds=(1,)))
    for one, other in zip(first, again, strict=True):
        assert replace(one, seconds=0.0) == replace(other, seconds=0.0)
    assert alone.test == pytest.approx(first[1].test, abs=1e-3)
    assert first[0].test != first[1].test


def test_an_interrupted_sweep_goes_on_where_it_stopped(tmp_path):
    path, shapes = tmp_path / "runs.csv", [TransformerShape(4, 1), TransformerShape(4, 2)]
    next(sweep(path, shapes, SMALL))  # interrupted after the first shape
    before = read(path)
    assert [run.depth for run in before] == [1, 1]
    trained = [runs[0].shape for runs in sweep(path, shapes, SMALL)]
    assert trained == shapes[1:]
    held = read(path)
    assert held[:2] == before
    assert [run.depth for run in held] == [1, 1, 2, 2]
    assert list(sweep(path, shapes, SMALL)) == []
    more = replace(SMALL, seeds=(0, 1, 2))
    assert len(list(sweep(path, shapes, more))) == 2
    assert [run.seed for run in read(path)] == [0, 1, 0, 1, 2, 2]
    with pytest.raises(ValueError, match="give another file"):
        list(sweep(path, shapes, replace(SMALL, steps=21)))


def test_files_that_hold_no_runs_are_refused(tmp_path):
    path = tmp_path / "other.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="to have the columns"):
        read(path)


def test_the_command_trains_prints_and_resumes(tmp_path):
    out = io.StringIO()
    arguments = ["--out", str(tmp_path / "r.csv"), "--steps", "2", "--seeds", "1", "--shape", "4x1"]
    assert main(arguments, Console(file=out, width=200)) == 0
    assert out.getvalue().count("width 4, depth 1") == len(Settings().learning_rates)
    assert main(arguments, Console(file=(again := io.StringIO()))) == 0
    assert again.getvalue() == ""
    with pytest.raises(SystemExit, match="expected a shape such as 16x2"):
        main([*arguments[:-1], "4"])


# ---------------------------------------------------------------- the runs that ship


def test_the_shipped_runs_are_the_design_with_every_seed(tmp_path):
    runs, settings = measured(), Settings()
    assert {run.shape for run in runs} == set(design())
    pairs = {(run.shape, run.learning_rate) for run in runs}
    assert {rate for _, rate in pairs} <= set(settings.learning_rates)
    expected = set(itertools.product(pairs, settings.seeds))
    assert {((run.shape, run.learning_rate), run.seed) for run in runs} == expected
    assert len(runs) == len(expected)
    for run in runs:
        assert (run.points, run.hops) == (settings.task.points, settings.task.hops)
        assert (run.steps, run.batch) == (settings.steps, settings.batch)
        assert run.test == pytest.approx(sum(run.by_hop) / len(run.by_hop), abs=2e-4)
    write(tmp_path / "copy.csv", runs)
    assert read(tmp_path / "copy.csv") == runs


def test_budgets_match_their_weights_and_the_grid_is_in_the_design():
    shapes = {(shape.width, shape.depth) for shape in design()}
    for budget, widths in BUDGETS.items():
        for depth, width in widths.items():
            assert abs(depth * width**2 / budget - 1) < 0.16
            assert (width, depth) in shapes
    assert shapes >= {(width, depth) for width, depths in GRID.items() for depth in depths}


def test_rates_are_chosen_by_validation_and_depths_by_test():
    [run] = train(TransformerShape(4, 1), 0.01, replace(SMALL, steps=1, seeds=(0,)))
    good = [
        replace(run, learning_rate=0.1, seed=seed, validation=1.0 + seed, test=5.0 + seed)
        for seed in (0, 2)
    ]
    bad = [replace(run, learning_rate=0.2, seed=seed, validation=2.1, test=0.0) for seed in (0, 2)]
    deep = [replace(held, depth=2, test=7.0) for held in good]
    chosen = tuned([*bad, *good, *deep])
    assert chosen == {(4, 1): good, (4, 2): deep}
    assert spread(good) == (6.0, math.sqrt(2), (5.0, 7.0))
    assert best_depth({1: 4, 2: 4}, chosen) == (1, spread(good))


# ---------------------------------------------------------------- pictures


def bars(ax):
    """{label: (depths rounded, means)} of the error bars on an axes."""
    return {
        held.get_label(): ([round(x) for x in held[0].get_xdata()], list(held[0].get_ydata()))
        for held in ax.containers
    }


def test_pictures_of_losses_show_the_means_of_the_runs():
    chosen = tuned(measured())
    drawn = bars(loss_against_depth(chosen, widths=[8, 32]))
    assert set(drawn) == {"width 8", "width 32"}
    depths, means = drawn["width 32"]
    assert depths == list(GRID[32])
    assert means == [spread(chosen[32, depth]).mean for depth in depths]
    drawn = bars(loss_at_budgets(chosen, BUDGETS))
    for budget, widths in BUDGETS.items():
        depths, means = drawn[f"about {12 * budget:,} weights"]
        assert means == [spread(chosen[widths[depth], depth]).mean for depth in depths]
    ax = learning_curves(chosen, [(32, 2)])
    (line,) = ax.get_lines()
    expected = numpy.mean([run.history for run in chosen[32, 2]], 0)
    numpy.testing.assert_allclose(line.get_ydata(), expected)
    matplotlib.pyplot.close("all")
