"""Execute the notebooks in place and keep in their files only what a change of content changes.

    python notebooks/refresh.py [notebook.ipynb ...]      all of this folder if none is named

Kernel details, times and split output streams are normalised away, so that a diff shows what a
reader would see change. Needs `pip install -e ".[notebooks]"`. A cell that fails or writes to
standard error leaves the file as it was and stops the run.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
KEPT = ("tags",)  # what a cell's metadata may hold
TIMEOUT = 600  # seconds for one cell


def normalised(notebook: dict[str, Any]) -> dict[str, Any]:
    """The notebook with stable ids, counts in order, whole streams, no volatile metadata."""
    cells, count = [], 0
    for place, cell in enumerate(notebook["cells"]):
        kept: dict[str, Any] = {
            "cell_type": cell["cell_type"],
            "id": cell.get("id") or f"cell-{place}",
            "metadata": {
                key: cell["metadata"][key] for key in ("tags",) if key in cell["metadata"]
            },
            "source": _lines(cell["source"]),
        }
        if cell["cell_type"] == "code":
            count += 1
            kept["execution_count"] = count
            kept["outputs"] = [_output(held, count) for held in _merged(cell["outputs"])]
        cells.append(kept)
    ids = [cell["id"] for cell in cells]
    repeated = {name for name in ids if ids.count(name) > 1}
    if repeated:
        raise ValueError(f"expected every cell to have an id of its own, got {sorted(repeated)}")
    metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def written(notebook: dict[str, Any]) -> str:
    """The text of a normalised notebook's file."""
    return json.dumps(notebook, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def executed(path: Path) -> dict[str, Any]:
    """The notebook with the outputs of a fresh kernel that starts in its folder."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(path.parent)}}
    client = NotebookClient(
        notebook,
        timeout=TIMEOUT,
        startup_timeout=TIMEOUT,  # a busy machine takes long to start a kernel
        kernel_name=KERNEL["name"],
        resources=resources,
        record_timing=False,
    )
    return json.loads(nbformat.writes(client.execute()))


def refresh(path: Path) -> bool:
    """Execute and rewrite one notebook; whether its file has changed."""
    found = normalised(executed(path))
    for cell in found["cells"]:
        if any(held.get("name") == "stderr" for held in cell.get("outputs", [])):
            raise SystemExit(f"{path.name}: cell {cell['id']} writes to standard error")
    text = written(found)
    changed = path.read_text(encoding="utf-8") != text
    if changed:
        path.write_text(text, encoding="utf-8")
    return changed


def main(arguments: Sequence[str]) -> int:
    """Refresh the notebooks that are named, all of this folder if none is."""
    paths = [Path(name) for name in arguments] or sorted(HERE.glob("*.ipynb"))
    for path in paths:
        print(f"{path.name}: {'changed' if refresh(path) else 'unchanged'}")
    return 0


def _lines(source: str | list[str]) -> list[str]:
    """Text as a list of lines: a diff then shows lines."""
    return ("".join(source)).splitlines(keepends=True)


def _merged(outputs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Consecutive pieces of one stream joined: how they are split depends on timing."""
    found: list[dict[str, Any]] = []
    for held in outputs:
        stream = held.get("name")
        if stream is not None and found and found[-1].get("name") == stream:
            joined = "".join(found[-1]["text"]) + "".join(held["text"])
            found[-1] = {**found[-1], "text": joined}
        else:
            found.append(dict(held))
    return found


def _output(held: dict[str, Any], count: int) -> dict[str, Any]:
    """One output with its text in lines and the count of its cell."""
    if held["output_type"] == "stream":
        return {**held, "text": _lines(held["text"])}
    if held["output_type"] == "execute_result":
        held = {**held, "execution_count": count}
    held = {**held, "metadata": {}}
    text = {key: _lines(part) for key, part in held["data"].items() if key.startswith("text/")}
    return {**held, "data": {**held["data"], **text}}


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
