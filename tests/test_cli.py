"""`python -m mixtures`: the tour, its report, and how it ends."""

from __future__ import annotations

import html.parser
import runpy
import sys

import pytest

from mixtures.cli import commands, tour
from mixtures.cli.main import main

pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")


class Reader(html.parser.HTMLParser):
    """What a report holds: headings, cells of its tables, pictures, and whatever it loads."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.sources, self.cells, self.now = [], [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.now = tag
        self.sources += [value for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data):
        if self.now in ("td", "th", "h2"):
            self.cells.append(data)


@pytest.fixture(scope="module")
def toured(tmp_path_factory):
    out = tmp_path_factory.mktemp("tour") / "new" / "folder"
    assert main(["--iterations", "1", "--out", str(out)]) == 0
    return out


@pytest.mark.slow
def test_the_tour_tells_the_whole_story_in_one_file_that_loads_nothing(toured):
    files = list(toured.iterdir())
    assert [file.name for file in files] == ["report.html"]
    report = Reader(files[0].read_text(encoding="utf-8"))
    assert all(source.startswith("data:image/png;base64,") for source in report.sources)
    assert len(report.sources) >= 5 and report.tags.count("table") >= 5
    assert not {"script", "link", "iframe"} & set(report.tags)
    for model in ("TMM", "HMM", "LTM", "HT", "SPN"):
        assert report.cells.count(model) >= 2
    assert report.cells.count("81") >= 8  # certified ranks beside theory
    assert "NO" not in report.cells


@pytest.mark.slow
def test_the_tour_can_be_repeated_into_the_same_folder(toured):
    before = (toured / "report.html").stat().st_mtime_ns
    assert main(["--iterations", "1", "--out", str(toured)]) == 0
    assert (toured / "report.html").stat().st_mtime_ns > before


@pytest.mark.parametrize(
    "arguments",
    [
        ["--iterations", "0"],
        ["--iterations", "-3"],
        ["--iterations", "many"],
        ["--nonsense"],
        ["x"],
        ["fit"],
        ["fit", "x.csv", "--validation", "1"],
        ["fit", "x.csv", "--kind", "poisson"],
        ["ranks", "m", "--rows", "0;2"],
    ],
)
def test_bad_arguments_end_with_two_before_anything_runs(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for module, name in ((tour, "run"), (commands, "fit"), (commands, "ranks")):
        monkeypatch.setattr(module, name, lambda *given: pytest.fail("it ran"))
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
        (PermissionError("no place to write"), 2, "no place to write"),
    ],
)
def test_interruptions_and_missing_extras_have_codes_of_their_own(
    failure, code, said, monkeypatch, capsys, tmp_path
):
    def fail(*given):
        raise failure

    monkeypatch.setattr(tour, "run", fail)
    assert main(["--out", str(tmp_path)]) == code
    assert said in capsys.readouterr().err


def test_an_interrupted_tour_leaves_the_report_so_far(monkeypatch, tmp_path, capsys):
    def interrupted(guide, *given):
        guide.chapter("The first chapter", "and no more")
        raise KeyboardInterrupt

    monkeypatch.setattr(tour, "_chapters", interrupted)
    assert main(["--out", str(tmp_path)]) == 130
    assert "The first chapter" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert str(tmp_path / "report.html") in capsys.readouterr().out.replace("\n", "")


def test_a_missing_matplotlib_is_said_before_anything_is_computed(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr(tour, "_chapters", lambda *given: pytest.fail("it ran"))
    assert main(["--out", str(tmp_path)]) == 2
    assert "pip install 'homogeneous-mixtures[plot]'" in capsys.readouterr().err


def test_the_module_runs_with_its_arguments(monkeypatch):
    seen = []
    monkeypatch.setattr(tour, "run", lambda *given: seen.append(given))
    monkeypatch.setattr(sys, "argv", ["mixtures", "--iterations", "7", "--seed", "3"])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_module("mixtures", run_name="__main__")
    assert not stopped.value.code
    assert seen[0][1:] == (7, 3)
