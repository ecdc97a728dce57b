"""`python -m mixtures`: what it writes, prints and returns."""

from __future__ import annotations

import runpy
import sys

import pytest

from mixtures.cli import digits
from mixtures.cli.main import main


def test_the_main_job_writes_pictures_and_says_where(tmp_path, capsys):
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    out = tmp_path / "new" / "folder"
    assert main(["--iterations", "1", "--out", str(out)]) == 0
    pictures = sorted(out.glob("*.png"))
    assert pictures
    assert all(picture.read_bytes().startswith(b"\x89PNG") for picture in pictures)
    printed = capsys.readouterr().out
    assert str(out) in printed
    for model in ("TMM", "HMM", "LTM", "HT", "SPN"):
        assert model in printed


@pytest.mark.parametrize(
    "arguments",
    [
        ["--iterations", "0"],
        ["--iterations", "-3"],
        ["--iterations", "many"],
        ["--nonsense"],
        ["x"],
    ],
)
def test_bad_arguments_end_with_two_before_anything_runs(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(digits, "run", lambda *given: pytest.fail("it ran"))
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert "usage: python -m mixtures" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_help_says_what_the_options_are(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0
    assert {"--out", "--iterations", "--seed"} <= set(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("failure", "code", "said"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (ImportError("pip install this"), 2, "pip install this"),
    ],
)
def test_interruptions_and_missing_extras_have_codes_of_their_own(
    failure, code, said, monkeypatch, capsys, tmp_path
):
    def fail(*given):
        raise failure

    monkeypatch.setattr(digits, "run", fail)
    assert main(["--out", str(tmp_path)]) == code
    assert said in capsys.readouterr().err


def test_the_module_runs_with_its_arguments(monkeypatch):
    seen = []
    monkeypatch.setattr(digits, "run", lambda *given: seen.append(given))
    monkeypatch.setattr(sys, "argv", ["mixtures", "--iterations", "7", "--seed", "3"])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_module("mixtures", run_name="__main__")
    assert not stopped.value.code
    assert seen[0][1:] == (7, 3)
