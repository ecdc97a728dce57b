"""The machine and the moment of a measurement."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUSY = 1.2  # above this load average two threads have no two cores to run on
SETTLE = 90.0  # seconds to wait for what this program itself has added to the load average


def load() -> float:
    """The load average over one minute."""
    return os.getloadavg()[0]


def cores() -> int:
    """The cores this process may run on."""
    return len(os.sched_getaffinity(0)) if platform.system() == "Linux" else os.cpu_count() or 1


def commit() -> str:
    """The commit of this clone, with a + where files differ from it."""
    try:
        found = _git("rev-parse", "--short", "HEAD")
        return found + ("+" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def stamp() -> dict[str, str]:
    """When and on what."""
    return {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "commit": commit(),
        "cores": str(cores()),
        "load": f"{load():.2f}",
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def quiet(threads: int, settle: float = SETTLE) -> str:
    """ "" if a timing at so many threads makes sense now, else why not.

    For two or more threads the load average must come down to 1.2 within `settle` seconds.
    """
    if threads > cores():
        return f"{threads} threads, but {cores()} cores"
    if threads == 1:
        return ""
    waited = 0.0
    while load() > BUSY and waited < settle:
        time.sleep(5)
        waited += 5
    return "" if load() <= BUSY else f"load average {load():.2f}, above {BUSY}: not timed"


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()
