"""The driver's side of a worker: a process under the interpreter that has its library."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

from benchmarks.libraries import LIBRARIES, NEEDED

ROOT = Path(__file__).resolve().parent.parent
THREAD_SETTINGS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)


class WorkerError(Exception):
    """A worker that answered with an error, or that died."""


def default_folder() -> Path:
    """Where the peers' environments are: $MIXTURES_PEERS, or benchmarks/.peers."""
    return Path(os.environ.get("MIXTURES_PEERS", ROOT / "benchmarks" / ".peers"))


def interpreter(entry: str, folder: Path) -> str | None:
    """The Python that has a library: its environment's, else this one; None where it is missing, or
    what else the entry needs.
    """
    library = entry.partition(":")[0]
    module, own = LIBRARIES[library].module, folder / library
    if entry in NEEDED and importlib.util.find_spec(NEEDED[entry]) is None:
        return None
    if any(own.glob(f"lib/python*/site-packages/{module}*")):
        return str(own / "bin" / "python")
    found = importlib.util.find_spec(module)
    return None if found is None else sys.executable


class Client:
    """A running worker; `ask` sends one message and waits for the answer."""

    def __init__(self, entry: str, task: str, threads: int, python: str, log: Path) -> None:
        library, _, variant = entry.partition(":")
        case = f"{task}:{variant}" if variant else task
        environment = {**os.environ, **dict.fromkeys(THREAD_SETTINGS, str(threads))}
        environment["PYTHONPATH"] = str(ROOT)
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # peers were compiled by pip
        self.entry, self.log = entry, log
        self.errors: IO[str] = log.open("w", encoding="utf-8")
        self.process = subprocess.Popen(
            [python, "-W", "ignore", "-m", "benchmarks.worker", library, case, str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            env=environment,
            cwd=ROOT,
            text=True,
        )

    def ask(self, do: str, **message: Any) -> dict[str, Any]:
        """The answer to one message; WorkerError with the worker's last words if it has none."""
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps({"do": do, **message}) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise WorkerError(f"the worker died: {self._last_words()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise WorkerError(answer["error"].strip().splitlines()[-1])
        return answer

    def close(self) -> None:
        """Let the process end; kill it if it does not."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write('{"do": "quit"}\n')
            self.process.stdin.close()
            self.process.wait(timeout=5)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        self.errors.close()

    def _last_words(self) -> str:
        self.process.wait()
        text = self.log.read_text(encoding="utf-8").strip().splitlines()
        return text[-1] if text else f"exit code {self.process.returncode}"
