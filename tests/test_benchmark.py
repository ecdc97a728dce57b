"""The experiment runner: what it reads, chooses, resumes and quotes."""

from __future__ import annotations

import csv
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from mixture_cases import generator

from mixtures import LTM, TMM, Mixture, Tree
from mixtures.components import Indicator
from mixtures.learn.benchmark import blocks, cli, forest, models, report, run, search
from mixtures.learn.benchmark.data import load, names, published
from mixtures.learn.benchmark.depth import states_for, structures, two_levels
from mixtures.learn.benchmark.results import Line, Results, Rows, paired
from mixtures.tables import random_rows

PUBLISHED = """dataset,model,test_ll,status
toy,Good,-1.0,recalled
toy,Better,-2.5,read
toy,Worse,-9.0,read
toy,Own,-0.5,computed
"""


def tiny(folder, name="toy", columns=5, rows=(60, 20, 30)):
    """A set in which columns depend on each other; one is constant, two are equal."""
    truth = TMM(columns, 2, 3, generator=generator(2))
    mixture = Mixture(truth, Indicator(columns, 2))
    parts = [mixture.sample(n, generator=generator(n)).numpy() for n in rows]
    for part in parts:
        part[:, 1] = 1
        part[:, 3] = part[:, 2]
    packed = [np.packbits(part.astype(np.uint8), axis=1) for part in parts]
    names = dict(zip(("train", "valid", "test"), packed, strict=True))
    np.savez(folder / f"{name}.npz", n_vars=columns, **names)
    return parts


def plan(folder, **changes):
    given = {"datasets": ["toy"], "models": list(run.MODELS), "minutes": 0.01, "seed": 0}
    return run.Plan(folder, **(given | changes))


def line(**changes):
    values = {"dataset": "toy", "model": "LTM", "test": -2.0, "test_error": 0.1, "valid": -2.0}
    values |= {"num_parameters": 3, "edges": 4, "minutes": 1.0, "cpu_minutes": 1.0}
    values |= {"budget_minutes": 2.0, "seed": 0, "commit": "abc", "chosen": {"states": 2}}
    return Line.of(**(values | changes))


def test_packed_sets_and_texts_are_read_as_they_were_written(tmp_path):
    parts = tiny(tmp_path)
    folder = tmp_path / "texts"
    folder.mkdir()
    for name, part in zip(("train", "valid", "test"), parts, strict=True):
        np.savetxt(folder / f"other.{name}.data", part, fmt="%d", delimiter=",")
    for name in ("toy", "other"):
        split = load(tmp_path, name)
        assert split.name == name and split.variables == 5
        for found, expected in zip(split[1:], parts, strict=True):
            assert np.array_equal(found.numpy(), expected)


def test_the_sets_of_a_folder_are_found(tmp_path):
    folder = tmp_path / "more"
    folder.mkdir()
    tiny(tmp_path), tiny(folder, "other")
    (folder / "text.train.data").write_text("0,1\n", encoding="utf-8")
    np.savez(tmp_path / "sequences.npz", **np.load(tmp_path / "toy.npz"), train_lengths=[1])
    assert names(tmp_path) == ["other", "text", "toy"]
    assert names(tmp_path / "nowhere") == []


def test_sets_that_are_no_sets_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no nothing\.npz"):
        load(tmp_path, "nothing")
    np.savez(tmp_path / "bad.npz", train=np.zeros((2, 1), np.uint8))
    with pytest.raises(ValueError, match="lacks n_vars, test, valid"):
        load(tmp_path, "bad")
    for part in ("train", "valid", "test"):
        (tmp_path / f"two.{part}.data").write_text("0,2\n", encoding="utf-8")
    with pytest.raises(ValueError, match="zeros and ones"):
        load(tmp_path, "two")
    (tmp_path / "two.train.data").write_text("0,1,1\n", encoding="utf-8")
    with pytest.raises(ValueError, match="2 columns, train 3"):
        load(tmp_path, "two")


def test_only_figures_read_in_publications_are_quoted(tmp_path):
    (tmp_path / "published.csv").write_text(PUBLISHED, encoding="utf-8")
    assert [tuple(f) for f in published(tmp_path)["toy"]] == [("Better", -2.5), ("Worse", -9.0)]
    assert published(tmp_path / "nowhere") == {}
    results = Results(tmp_path / "out")
    results.begin()
    results.add(line(), Rows(np.zeros(3), np.array([-1.0, -2.0, -3.0])))
    (first, best) = report.table(results, published(tmp_path))
    assert (first["best_published"], first["published_test"]) == ("Better", -2.5)
    assert first["beats_published"] is True
    assert best["model"] == report.ZOO
    (without, _) = report.table(results, {})
    assert without["best_published"] is without["beats_published"] is None


def test_paired_errors_are_those_computed_by_hand():
    one, two = np.array([-1.0, -2.0, -4.0, -1.0]), np.array([-2.0, -2.0, -4.0, -4.0])
    found = paired(one, two)  # gaps 1, 0, 0, 3: mean 1, squares 0 + 1 + 1 + 4 over 3
    assert found.mean == pytest.approx(1.0)
    assert found.error == pytest.approx(math.sqrt(6 / 3) / math.sqrt(4))
    assert not found.clear
    assert paired(one + 3, two).clear
    assert paired(one[:1], two[:1]).error == math.inf
    with pytest.raises(ValueError, match="pairs"):
        paired(one, two[:2])


def test_the_table_compares_each_line_with_the_ltm_row_by_row(tmp_path):
    results = Results(tmp_path)
    results.begin()
    rows = {"LTM": [-3.0, -2.0, -4.0], "TMM": [-3.5, -2.5, -6.0]}
    for model, values in rows.items():
        added = line(model=model, test=float(np.mean(values)), valid=-1.0 - len(rows[model]))
        results.add(added, Rows(np.zeros(2), np.array(values)))
    records = {r["model"]: r for r in report.table(results, {})}
    gaps = np.array([-0.5, -0.5, -2.0])
    assert records["TMM"]["gain_over_LTM"] == pytest.approx(gaps.mean())
    assert records["TMM"]["gain_error"] == pytest.approx(gaps.std(ddof=1) / math.sqrt(3))
    assert records["LTM"]["gain_over_LTM"] == 0
    results.add(line(seed=1, valid=-0.5, test=-1.0), Rows(np.zeros(2), np.full(3, -1.0)))
    again = {r["model"]: r for r in report.table(results, {})}
    assert again["LTM"]["seed"] == 1  # it did better on the validation rows
    assert again["TMM"]["gain_over_LTM"] == pytest.approx(-3.0)


@pytest.mark.slow
def test_a_run_goes_on_where_it_was_broken_off(tmp_path, monkeypatch):
    tiny(tmp_path)
    results = Results(tmp_path / "out")
    first = list(itertools.islice(run.run(plan(tmp_path), results), 2))
    assert [made.model for made in first] == ["TMM", "HMM"]
    with results.path.open("a", encoding="utf-8") as file:
        file.write('toy,LTM,-2.0,0.1,"{""sta')  # as a process that was killed leaves it
    rest = list(run.run(plan(tmp_path), results))
    assert [made.model for made in rest] == ["LTM", "SPN", run.FOREST]
    assert list(run.run(plan(tmp_path), results)) == []
    again = list(run.run(plan(tmp_path, models=["TMM"], seed=1), results))
    assert [made.seed for made in again] == [1]
    lines = results.lines()
    assert lines[:2] == first and len(lines) == 6
    assert len({made.commit for made in lines}) == 1
    for made in lines:
        rows = results.rows(made)
        assert made.test == pytest.approx(rows.test.mean())
        assert made.valid == pytest.approx(rows.valid.mean())
        assert np.isfinite(rows.test).all()


def test_the_command_writes_the_table_and_its_picture(tmp_path, capsys):
    tiny(tmp_path)
    (tmp_path / "published.csv").write_text(PUBLISHED, encoding="utf-8")
    out = tmp_path / "out"
    options = ["toy", "--data", str(tmp_path), "--out", str(out), "--minutes", "0.005"]
    assert cli.main([*options, "--models", "TMM", "LTM"]) == 0
    with (out / "table.csv").open(newline="", encoding="utf-8") as file:
        records = list(csv.DictReader(file))
    assert [record["model"] for record in records] == ["TMM", "LTM", report.ZOO]
    assert all(record["best_published"] == "Better" for record in records)
    assert (out / "table.png").stat().st_size > 1000
    text = tmp_path / "text.md"
    text.write_text("before\n{}\nold\n{}\nafter\n".format(*report.MARKS), encoding="utf-8")
    everything = ["--data", str(tmp_path), *options[3:], "--models", "TMM", "LTM"]
    assert cli.main([*everything, "--readme", str(text)]) == 0  # all sets, and nothing runs again
    with (out / "results.csv").open(newline="", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 2
    shown = text.read_text(encoding="utf-8")
    assert "old" not in shown and "| toy |" in shown and "-2.50 Better" in shown
    assert cli.main(["nowhere", "--data", str(tmp_path), "--out", str(out)]) == 2
    assert "no nowhere.npz" in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_compares_depths(tmp_path):
    tiny(tmp_path)
    out = tmp_path / "out"
    options = ["depth", "toy", "--data", str(tmp_path), "--out", str(out)]
    assert cli.main([*options, "--parameters", "30", "60", "--walks", "3"]) == 0
    with (out / "depth.csv").open(newline="", encoding="utf-8") as file:
        records = list(csv.DictReader(file))
    assert len(records) == 10
    stars = [record for record in records if record["structure"] == "star"]
    assert [float(record["gain_over_star"]) for record in stars] == [0, 0]
    assert (out / "depth.png").stat().st_size > 1000


def test_the_command_learns_chains_of_frames(tmp_path):
    """Two frames that alternate: two states predict a step but for the first, one cannot."""
    frames = np.array([[1, 0, 1], [0, 1, 1]] * 30)
    lengths = [10] * 4 + [5] * 4
    part = {"train": frames, "valid": frames, "test": frames}
    packed = {name: np.packbits(rows.astype(np.uint8), axis=1) for name, rows in part.items()}
    sizes = {f"{name}_lengths": lengths for name in part}
    np.savez(tmp_path / "jsb_chorales.npz", n_vars=3, **packed, **sizes)
    options = ["chorales", "--data", str(tmp_path), "--out", str(tmp_path), "--walks", "20"]
    assert cli.main([*options, "--states", "1", "2"]) == 0
    with (tmp_path / "chorales.csv").open(newline="", encoding="utf-8") as file:
        one, two = csv.DictReader(file)
    assert float(one["test"]) == pytest.approx(2 * math.log(2), abs=0.05)
    assert float(two["test"]) == pytest.approx(math.log(2) * 8 / 60, abs=0.2)
    assert float(two["test"]) == pytest.approx(float(two["valid"]))
    assert cli.main(["chorales", "--data", str(tmp_path / "x"), "--out", str(tmp_path)]) == 2


def test_matched_sizes_are_the_nearest_there_are(tmp_path):
    tiny(tmp_path, columns=9)
    for make in structures(load(tmp_path, "toy")).values():
        states = states_for(make, 500)
        counts = [make(r, generator()).num_parameters for r in range(2, 2 * states + 4)]
        found = make(states, generator()).num_parameters
        assert abs(found - 500) == min(abs(count - 500) for count in counts)
    assert two_levels(9).depth == 2


def test_models_side_by_side_are_their_mixture():
    tree = Tree.balanced(4)
    parts = [LTM(tree, 2, r, generator=generator(r)).double() for r in (2, 3, 2)]
    expected = sum(part.dense() for part in parts) / 3
    torch.testing.assert_close(blocks.side_by_side(parts).dense(), expected)


def test_a_forest_reports_the_likelihoods_of_its_one_mixture(tmp_path):
    tiny(tmp_path)
    split = load(tmp_path, "toy")
    job = models.Job(split, search.Clock(0.5), generator())
    learned = forest.learn_forest(job, {"states": 3, "group": 2, "mass": 1.0})
    assert learned.chosen["trees"] > 1
    with torch.no_grad():
        expected = learned.model.log_prob(split.test).double().numpy()
    np.testing.assert_allclose(learned.rows(split).test, expected, rtol=1e-5, atol=1e-5)


def test_stacked_weights_are_those_of_greatest_likelihood():
    g = generator(3)
    logs = torch.randn(200, 3, generator=g, dtype=torch.float64)
    weights = forest.stacked(logs, 2000)
    assert float(weights.sum()) == pytest.approx(1)
    likelihood = (logs + weights.log()).logsumexp(1).mean()
    for other in random_rows((500, 3), generator=g, dtype=torch.float64):
        assert (logs + other.log()).logsumexp(1).mean() <= likelihood + 1e-3


def test_the_search_keeps_what_scores_best_on_validation_rows():
    """Rows drawn from a star of three states: two states are too few, and it climbs."""
    truth = Mixture(TMM(6, 2, 3, generator=generator(7)), Indicator(6, 2))
    train, valid = (truth.encode(truth.sample(400, generator=generator(s))) for s in (1, 2))

    def build(setting):
        return Mixture(TMM(6, 2, int(setting["states"]), generator=g), Indicator(6, 2))

    g = generator(0)
    axes = {"mass": (0.1, 1.0), "states": (1, 2, 3)}
    climbing = search.Search(train, valid, build, axes, search.Clock(60), g)
    best = climbing.run({"states": 1, "mass": 0.1})
    assert best.setting["states"] > 1
    assert best.valid == pytest.approx(best.model.score(valid))
    assert best.valid >= max(found.valid for found in climbing.tried.values())


ROOT = Path(__file__).parent.parent


def records(name):
    with (ROOT / "benchmarks" / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_table_in_the_readme_is_that_of_the_file():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert report.with_block(text, records("density.csv")) == text
    block = text[text.index(report.MARKS[0]) : text.index(report.MARKS[1])]
    first = records("density.csv")[0]
    assert f"| {first['dataset']} | {float(first['test']):.2f} |" in block
    assert len(block.splitlines()) == 3 + 8
    with pytest.raises(ValueError, match="one line <!-- density: begin -->"):
        report.with_block("no marks", records("density.csv"))


def test_what_the_readme_says_of_depth_is_what_the_file_says():
    gains = {
        (r["dataset"], r["structure"]): (float(r["gain_over_star"]), float(r["gain_error"]))
        for r in records("depth.csv")
        if r["wanted_parameters"] == "8000"
    }
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for name, structure, pattern in [
        ("dna", "hidden Chow-Liu tree", "{:+.1f}"),
        ("plants", "hidden Chow-Liu tree", "{:+.2f}"),
        ("plants", "chain", "({:+.2f})"),
        ("plants", "two levels", "({:+.2f})"),
        ("plants", "balanced tree", "({:+.2f})"),
        ("nltcs", "chain", "{:+.3f} ± {:.3f}"),
        ("nltcs", "hidden Chow-Liu tree", "{:+.3f} ± {:.3f}"),
    ]:
        assert pattern.format(*gains[name, structure]) in text


def test_what_the_readme_says_of_chorales_is_what_the_file_says():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = [f"{float(r['test']):.2f} with {r['states']}" for r in records("chorales.csv")]
    assert len(found) == 5 and ", ".join(found) in text
