"""The README says what is true: its code runs, its commands are where .ci/run looks for them."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"


def code_blocks(text: str, language: str) -> list[tuple[int, str]]:
    """The fenced blocks of one language, each with the number of the line before its code."""
    fence = re.compile(rf"^```{language}[ \t]*\n(.*?)^```[ \t]*$", re.MULTILINE | re.DOTALL)
    return [(text.count("\n", 0, m.start(1)), m.group(1)) for m in fence.finditer(text)]


def run_blocks(text: str, name: str) -> dict:
    """Run every python block in one namespace; a traceback points at the line of the text."""
    namespace: dict = {"__name__": "readme"}
    for lines_before, code in code_blocks(text, "python"):
        exec(compile("\n" * lines_before + code, name, "exec"), namespace)
    return namespace


def command_after(text: str, marker: str) -> str | None:
    """The fenced block that follows the comment <!-- marker -->, or None."""
    found = re.search(rf"^<!-- {marker} -->\s*\n```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return found.group(1).strip() if found else None


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_the_python_blocks_of_the_texts_run_one_after_another(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (ROOT / name).read_text(encoding="utf-8")
    assert code_blocks(text, "python"), f"{name} has no ```python block"
    run_blocks(text, str(ROOT / name))


@pytest.mark.parametrize("marker", ["main command", "test command"])
def test_the_readme_gives_one_command_that_does_all_the_set_up(marker):
    command = command_after(README.read_text(encoding="utf-8"), marker)
    assert command, f"README.md has no fenced block after <!-- {marker} -->"
    assert "-m venv .venv" in command
    assert "-c constraints.txt" in command
    target = {"main command": "-m mixtures", "test command": "-m pytest"}[marker]
    assert target in command


def test_blocks_share_a_namespace_and_other_languages_are_left_alone():
    text = "a\n```python\nx = 1\n```\n```bash\nrm -rf x\n```\n```python\ny = x + 1\n```\n"
    assert run_blocks(text, "text")["y"] == 2
    assert code_blocks(text, "python") == [(2, "x = 1\n"), (8, "y = x + 1\n")]


def test_a_failing_block_names_its_line():
    text = "one\n```python\nx = 1\nassert x == 2\n```\n"
    with pytest.raises(AssertionError) as failure:
        run_blocks(text, "README.md")
    assert failure.traceback[-1].lineno + 1 == 4


def test_a_command_without_its_marker_is_not_found():
    assert command_after("```bash\nrun\n```\n", "test command") is None
    assert command_after("<!-- test command -->\n```bash\nrun\n```\n", "test command") == "run"
