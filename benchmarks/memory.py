"""Memory of this process: resident now, and at its peak."""

from __future__ import annotations

import contextlib
import resource
import sys
from pathlib import Path

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def resident_bytes() -> int:
    """Resident now; on systems that do not say, the peak so far."""
    return _status("VmRSS") or peak_bytes()


def peak_bytes() -> int:
    """The most that was resident at once since `forget_peak`, or since the start."""
    found = _status("VmHWM")
    if found:
        return found
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def forget_peak() -> None:
    """Start a new peak, where the system can."""
    with contextlib.suppress(OSError):
        CLEAR.write_text("5")


def _status(field: str) -> int:
    """A field of /proc/self/status in bytes; 0 if there is none."""
    with contextlib.suppress(OSError):
        for line in STATUS.read_text(encoding="utf-8").splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
    return 0
