"""The process of one library: `python -m benchmarks.worker LIBRARY CASE THREADS`."""

from __future__ import annotations

import importlib
import json
import os
import statistics
import sys
import time
import traceback
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, TextIO

import numpy

from benchmarks.memory import forget_peak, peak_bytes, resident_bytes
from benchmarks.protocol import Case, Stopwatch

Answer = dict[str, Any]
SLOW = 3.0  # seconds after which one run is warm-up enough


class Worker:
    """Answers the driver's messages about one case of one library."""

    def __init__(self, library: str, case: str) -> None:
        self.library, self.name = library, case
        self.watch: Stopwatch | None = None
        self.before = 0

    def answer(self, message: dict[str, Any]) -> Answer:
        """The answer to one message; an exception becomes an answer, too."""
        actions: dict[str, Callable[..., Answer]] = {
            "load": self._load,
            "warm": self._warm,
            "check": self._check,
            "time": self._time,
            "memory": self._memory,
        }
        try:
            return actions[message.pop("do")](**message)
        except Exception:
            return {"error": traceback.format_exc()}

    def _load(self, arrays: str) -> Answer:
        module = importlib.import_module(f"benchmarks.workers.{self.library}")
        with numpy.load(arrays) as found:
            held = {name: found[name] for name in found.files}
        start = time.perf_counter()
        case: Case = module.CASES[self.name](held)
        seconds = time.perf_counter() - start
        self.watch = Stopwatch(case)
        forget_peak()
        self.before = resident_bytes()
        versions = {name: version(name) for name in module.DISTRIBUTIONS}
        return {"seconds": seconds, "versions": versions}

    def _warm(self) -> Answer:
        assert self.watch is not None
        first = self.watch.once()
        return {"first": first, "second": self.watch.once() if first < SLOW else first}

    def _check(self, to: str) -> Answer:
        assert self.watch is not None
        found = self.watch.results()
        numpy.savez(to, allow_pickle=False, **found)
        return {"keys": sorted(found)}

    def _time(self, least: float) -> Answer:
        assert self.watch is not None
        seconds = self.watch.turn(least)
        return {"seconds": statistics.median(seconds), "runs": len(seconds)}

    def _memory(self) -> Answer:
        return {"before": self.before, "peak": peak_bytes()}


def serve(worker: Worker, asked: TextIO, told: TextIO) -> None:
    """Answer line by line until told to quit or until nobody is left to ask."""
    for line in asked:
        message = json.loads(line)
        if message["do"] == "quit":
            return
        told.write(json.dumps(worker.answer(message)) + "\n")
        told.flush()


def confine(threads: int) -> None:
    """Let this process run on so many cores only, whatever its library makes of the settings."""
    if sys.platform == "linux":
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])


def main() -> None:
    """Speak over standard output, and send what libraries print there to standard error."""
    library, case, threads = sys.argv[1:]
    confine(int(threads))
    told = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    serve(Worker(library, case), sys.stdin, told)


if __name__ == "__main__":
    main()
