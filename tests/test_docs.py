"""The documentation says what is true: its code runs, and every page is in the navigation."""

from __future__ import annotations

import re

import pytest

from test_readme import ROOT, code_blocks, run_blocks

PAGES = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))


@pytest.mark.parametrize("name", [page for page in PAGES if "reference" not in page])
def test_the_python_blocks_of_a_page_run_one_after_another(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (ROOT / name).read_text(encoding="utf-8")
    if not code_blocks(text, "python"):
        assert "```python" not in text
        return
    run_blocks(text, str(ROOT / name))


def test_every_page_is_in_the_navigation_and_every_entry_is_a_page():
    listed = re.findall(r": ([\w/]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    assert sorted(f"docs/{page}" for page in listed) == PAGES


def test_everything_public_is_in_the_reference():
    import mixtures
    import mixtures.components
    import mixtures.learn
    import transforms

    text = "\n".join((ROOT / page).read_text() for page in PAGES if "reference" in page)
    known = set(re.findall(r"^::: ([\w.]+)", text, re.MULTILINE))
    small = {"Explanation", "Semiring", "inputs", "pinned", "load", "save", "Diagonal"}
    expected = {f"mixtures.{name}" for name in mixtures.__all__ if name not in small}
    expected |= {f"mixtures.learn.{name}" for name in mixtures.learn.__all__}
    expected |= {f"transforms.{name}" for name in transforms.__all__}
    families = mixtures.components.__all__
    expected |= {f"mixtures.components.{name}" for name in families if name[0].isupper()}
    assert expected - {"mixtures.components.FAMILIES"} <= known
