"""One virtual environment for each peer: they pin versions that exclude one another."""

from __future__ import annotations

import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

from benchmarks.libraries import LIBRARIES, TORCH


def install(peers: Sequence[str], folder: Path) -> dict[str, str]:
    """Make the environments that are not there yet; {peer: "" or pip's last words}."""
    found = {}
    for peer in peers:
        print(f"{peer}: {' '.join(LIBRARIES[peer].requirements)}", flush=True)
        found[peer] = _one(peer, folder / peer)
        print(f"{peer}: {found[peer] or 'installed'}", flush=True)
    return found


def _one(peer: str, where: Path) -> str:
    python = where / "bin" / "python"
    if not python.exists():
        venv.create(where, with_pip=True)
    words, trouble = LIBRARIES[peer].requirements, ""
    if LIBRARIES[peer].built_against_torch:
        trouble = _pip(python, "setuptools", "wheel", "numpy", TORCH)
        words = ("--no-build-isolation", *words)
    return trouble or _pip(python, "numpy", *words)


def _pip(python: Path, *words: str) -> str:
    """Install; "" or pip's last words."""
    done = subprocess.run(
        [str(python), "-m", "pip", "install", "-q", *words],
        stdout=sys.stderr,
        stderr=subprocess.PIPE,
        text=True,
    )
    lines = [line for line in done.stderr.strip().splitlines() if not line.startswith("WARNING")]
    return "" if done.returncode == 0 else (lines or ["pip failed"])[-1]
