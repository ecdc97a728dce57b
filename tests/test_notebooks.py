"""Notebooks are kept normalised, so that their diffs show what a reader would see change."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import pytest
import torch

from test_readme import code_blocks

FOLDER = Path(__file__).parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
pytestmark = pytest.mark.skipif(not FOLDER.exists(), reason="a distribution without notebooks")


@pytest.fixture
def refresh():
    """The script `notebooks/refresh.py` as a module."""
    spec = importlib.util.spec_from_file_location("refresh", FOLDER / "refresh.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def notebook(*cells):
    return {"cells": list(cells), "metadata": {"kernel": "mine"}, "nbformat": 4}


def code(outputs, **more):
    cell = {"cell_type": "code", "id": "a", "metadata": {}, "source": "1\n2", "outputs": outputs}
    return {**cell, "execution_count": 7, **more}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_executed_and_normalised(path, refresh):
    text = path.read_text(encoding="utf-8")
    held = json.loads(text)
    assert refresh.written(refresh.normalised(held)) == text
    cells = [cell for cell in held["cells"] if cell["cell_type"] == "code"]
    assert any(cell["outputs"] for cell in cells)
    assert "Traceback" not in text


def test_times_counts_kernels_and_split_streams_leave_no_trace(refresh):
    pieces = [{"output_type": "stream", "name": "stdout", "text": part} for part in ("a\n", "b")]
    result = {
        "output_type": "execute_result",
        "execution_count": 7,
        "metadata": {"x": 1},
        "data": {"text/plain": "1\n2"},
    }
    timed = code([*pieces, result], metadata={"execution": {"iopub.execute_input": "now"}})
    whole = {"output_type": "stream", "name": "stdout", "text": ["a\n", "b"]}
    clean = code([whole, {**result, "execution_count": 3, "metadata": {}}], execution_count=3)
    first = refresh.written(refresh.normalised(notebook(timed)))
    assert first == refresh.written(refresh.normalised(notebook(clean)))
    assert "now" not in first
    assert "mine" not in first
    assert refresh.written(refresh.normalised(json.loads(first))) == first


def test_tags_are_kept_and_what_a_reader_sees_is_not_touched(refresh):
    tagged = code([], metadata={"tags": ["hide"], "collapsed": True})
    [cell] = refresh.normalised(notebook(tagged))["cells"]
    assert cell["metadata"] == {"tags": ["hide"]}
    assert "".join(cell["source"]) == "1\n2"


def test_cells_of_one_id_are_refused(refresh):
    with pytest.raises(ValueError, match="an id of its own"):
        refresh.normalised(notebook(code([]), code([])))


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_folded_solutions_run_after_the_notebook(path, monkeypatch):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    monkeypatch.chdir(FOLDER)
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    namespace = {"__name__": "notebook"}
    solutions = []
    before = torch.get_default_dtype()
    try:
        for cell in cells:
            source = "".join(cell["source"])
            if cell["cell_type"] == "code":
                exec(compile(source, path.name, "exec"), namespace)
            else:
                folded = re.findall(r"<details>(.*?)</details>", source, re.DOTALL)
                solutions += [code for text in folded for _, code in code_blocks(text, "python")]
        assert solutions
        for code in solutions:
            exec(compile(code, f"a solution of {path.name}", "exec"), namespace)
    finally:
        torch.set_default_dtype(before)
        torch.set_grad_enabled(True)
        matplotlib.pyplot.close("all")
