"""Commands on a user's own tables: names, blanks, constants, and errors a person can act on."""

from __future__ import annotations

import csv
import io as text
import math
from pathlib import Path

import numpy
import pytest
import torch

from mixtures import HMM, SPN, TMM, io, load, save
from mixtures.cli.main import main

pandas = pytest.importorskip("pandas")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def people(folder):
    """A table with text, blanks, counts, a constant column and a true/false one."""
    draws = numpy.random.default_rng(0)
    tall = draws.random(120) < 0.5
    frame = pandas.DataFrame(
        {
            "height (cm)": numpy.where(tall, 180, 160) + draws.normal(0, 3, 120),
            "size": numpy.where(tall, "large", "small"),
            "planet": 3,
            "left-handed": draws.random(120) < 0.2,
            "steps": draws.poisson(6000, 120),
        }
    )
    frame.loc[::7, "height (cm)"] = numpy.nan
    frame.loc[::5, "size"] = None
    frame.to_csv("people.csv", index=False)
    return frame


def fitted(*more):
    return main(["fit", "people.csv", "--iterations", "15", "--states", "2", "--components", "2",
                 "--out", "model.safetensors", *more])  # fmt: skip


@pytest.mark.parametrize("model", ["tmm", "deep", "hmm", "ltm", "ht", "spn"])
def test_every_class_is_fitted_scored_and_sampled(people, model, capsys):
    assert fitted("--model", model) == 0
    assert "saved to model.safetensors" in capsys.readouterr().out
    assert main(["score", "model.safetensors", "people.csv"]) == 0
    assert "120 rows, mean log-likelihood -" in capsys.readouterr().out
    assert main(["sample", "model.safetensors", "-n", "7", "--seed", "3"]) == 0
    rows = list(csv.DictReader(text.StringIO(capsys.readouterr().out)))
    assert len(rows) == 7 and list(rows[0]) == list(people.columns)
    assert {row["size"] for row in rows} <= {"large", "small"}
    assert {row["planet"] for row in rows} == {"3"}


def test_scores_are_those_of_the_model_in_the_file(people):
    fitted()
    assert main(["score", "model.safetensors", "people.csv", "--out", "scores.csv"]) == 0
    scores = numpy.loadtxt("scores.csv", skiprows=1)
    model = load("model.safetensors")
    x = numpy.column_stack(
        [
            people["height (cm)"],
            people["size"].map({"large": 0.0, "small": 1.0}),
            numpy.zeros(120),
            people["left-handed"],
            people["steps"],
        ]
    ).astype(float)
    expected = model.log_prob(x).detach().numpy()
    numpy.testing.assert_allclose(scores, expected, rtol=1e-8)


def test_blanks_are_filled_and_nothing_else_is_changed(people):
    fitted("--model", "tmm")
    assert main(["complete", "model.safetensors", "people.csv", "--out", "whole.csv"]) == 0
    whole = pandas.read_csv("whole.csv")
    assert not whole.isna().any().any()
    for name in people.columns:
        known = people[name].notna()
        assert (whole.loc[known, name].astype(str) == people.loc[known, name].astype(str)).all()
    both = people["size"].isna() & people["height (cm)"].notna()
    guess = (
        whole.loc[both, "size"] == numpy.where(people["height (cm)"] > 170, "large", "small")[both]
    )
    assert guess.mean() == 1


def test_a_joint_draw_fills_blanks_with_known_categories(people):
    fitted()
    arguments = ["complete", "model.safetensors", "people.csv", "--how", "sample", "--out", "w.csv"]
    assert main(arguments) == 0
    assert set(pandas.read_csv("w.csv")["size"]) == {"large", "small"}


def test_converting_keeps_densities_and_columns(people, capsys):
    fitted("--model", "ltm")
    assert main(["convert", "model.safetensors", "--to", "spn", "--out", "spn.safetensors"]) == 0
    assert "exact    yes" in capsys.readouterr().out
    one, other = load("model.safetensors"), load("spn.safetensors")
    assert isinstance(other.coefficients, SPN)
    x = numpy.array([[170.0, 0, 0, 1, 6000], [math.nan, 1, 0, 0, 6001]])
    torch.testing.assert_close(one.log_prob(x), other.log_prob(x))
    assert io.inspect("spn.safetensors")["metadata"] == io.inspect("model.safetensors")["metadata"]


def test_an_exponential_conversion_is_refused_until_it_is_asked_for(folder, capsys):
    save(HMM(8, 2, 2), "hmm.safetensors")
    arguments = ["convert", "hmm.safetensors", "--to", "tmm", "--out", "tmm.safetensors"]
    assert main(arguments) == 2
    assert "exponential" in capsys.readouterr().err
    assert main([*arguments, "--budget", "1000"]) == 0
    assert isinstance(load("tmm.safetensors"), TMM)


def test_ranks_are_those_of_theory(folder, capsys):
    save(HMM(6, 2, 2, dtype=torch.float64), "hmm.safetensors")
    assert main(["ranks", "hmm.safetensors", "--rows", "0,2,4"]) == 0
    assert "8 (a minor" in capsys.readouterr().out  # 2^(6/2)
    assert main(["ranks", "hmm.safetensors"]) == 0


def test_info_names_the_columns_and_draws_a_picture(people, capsys):
    pytest.importorskip("matplotlib")
    for model in ("ltm", "spn"):
        fitted("--model", model)
        capsys.readouterr()
        assert main(["info", "model.safetensors", "--picture", "picture.png"]) == 0
        out = capsys.readouterr().out
        assert "size: 2 categories: large, small" in out and "planet: always 3" in out
        assert Path("picture.png").read_bytes().startswith(b"\x89PNG")


def test_arrays_and_parquet_are_tables_too(folder, people):
    numpy.save("x.npy", numpy.random.default_rng(0).normal(size=(60, 3)))
    assert main(["fit", "x.npy", "--iterations", "3", "--out", "x.safetensors"]) == 0
    assert main(["score", "x.safetensors", "x.npy"]) == 0
    pytest.importorskip("pyarrow")
    people.to_parquet("people.parquet")
    assert main(["fit", "people.parquet", "--iterations", "3", "--out", "p.safetensors"]) == 0
    assert main(["score", "p.safetensors", "people.csv"]) == 0


def test_columns_may_be_left_out_and_told_what_they_are(people):
    fitted("--drop", "planet", "--kind", "steps=poisson")
    columns = io.inspect("model.safetensors")["metadata"]["columns"]
    assert [column["name"] for column in columns] == ["height (cm)", "size", "left-handed", "steps"]
    assert columns[-1]["kind"] == "poisson"


WRONG = {
    "nothing there": (["fit", "nothing.csv"], "there is no file nothing.csv"),
    "not a table": (["fit", "people.xlsx"], "expected a .csv, .tsv, .parquet or .npy file"),
    "an empty file": (["fit", "empty.csv"], "cannot be read as a table"),
    "a header only": (["fit", "header.csv"], "holds no data: 0 rows"),
    "no header": (["fit", "numbers.csv"], "give --no-header if it is data"),
    "a column twice": (["fit", "twice.csv"], "two columns named 'a': names must differ"),
    "all blank": (["fit", "blank.csv"], "column 'b' has no values at all: leave it out with"),
    "names of people": (["fit", "names.csv"], "300 different values .* too many to be categories"),
    "infinite": (["fit", "infinite.csv"], "column 'a' holds infinite numbers"),
    "drop what is not": (["fit", "people.csv", "--drop", "x"], "--drop x: there is no such column"),
    "kind of nothing": (["fit", "people.csv", "--kind", "x=poisson"], "there is no such column"),
    "no such kind": (["fit", "people.csv", "--kind", "size=cauchy"], "expected one of gaussian"),
    "text as numbers": (["fit", "people.csv", "--kind", "size=gaussian"], "cannot be gaussian"),
    "a picture of nothing": (["info", "people.csv"], "is no saved model"),
    "other columns": (["score", "model.safetensors", "numbers.csv", "--no-header"], "lacks: he"),
    "a new category": (["score", "model.safetensors", "huge.csv"], "row 1: 'huge' is none of the"),
    "text in numbers": (["score", "model.safetensors", "text.csv"], "row 0: expected a number"),
    "a bare tensor": (["sample", "tensor.safetensors"], "was not made by `python -m mixtures fit`"),
    "no such variable": (["ranks", "model.safetensors", "--rows", "0,9"], "variables are 0 to 4"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_a_user_can_mend_is_one_line_and_exit_code_two(case, people, folder, capsys):
    fitted()
    (folder / "empty.csv").write_text("")
    (folder / "header.csv").write_text("a,b\n")
    (folder / "numbers.csv").write_text("1,2\n3,4\n")
    (folder / "twice.csv").write_text("a,b,a\n1,2,3\n")
    (folder / "blank.csv").write_text("a,b\n1,\n2,\n")
    (folder / "names.csv").write_text("name\n" + "\n".join(f"name {n}" for n in range(300)))
    (folder / "infinite.csv").write_text("a\n1.5\ninf\n")
    (folder / "people.xlsx").write_text("")
    people.iloc[:3].assign(size=["small", "huge", "large"]).to_csv("huge.csv", index=False)
    people.iloc[:3].assign(steps="many").to_csv("text.csv", index=False)
    save(TMM(2, 2, 2), "tensor.safetensors")
    capsys.readouterr()
    arguments, message = WRONG[case]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    with pytest.raises(ValueError, match=message):
        raise ValueError(error)


def test_a_missing_extra_says_what_to_install(people, capsys, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "pandas", None)
    assert main(["fit", "people.csv"]) == 2
    assert "pip install 'homogeneous-mixtures[data]'" in capsys.readouterr().err


def test_an_interrupted_fit_still_saves_the_best_so_far(people, capsys, monkeypatch):
    from mixtures.learn import methods

    advance = methods.FullBatch.advance
    calls = []

    def interrupted(self):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return advance(self)

    monkeypatch.setattr(methods.FullBatch, "advance", interrupted)
    assert fitted() == 0
    assert "interrupted: this is the best model so far" in capsys.readouterr().out
    assert load("model.safetensors").variables == 5


@pytest.mark.parametrize(
    "command", ["fit", "score", "sample", "complete", "convert", "ranks", "info"]
)
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0
    assert f"python -m mixtures {command}" in capsys.readouterr().out


def test_a_table_on_its_side_is_pointed_out(folder, capsys):
    numpy.save("side.npy", numpy.random.default_rng(0).normal(size=(4, 60)))
    arguments = ["fit", "side.npy", "--iterations", "2", "--states", "2", "--components", "2"]
    assert main(arguments) == 0
    assert "is the table on its side?" in " ".join(capsys.readouterr().out.split())
