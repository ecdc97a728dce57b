"""The arguments of `python -m mixtures`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the main job; 0 on success, 130 when interrupted, 2 when an extra is missing."""
    parser = argparse.ArgumentParser(
        prog="python -m mixtures", description=__import__("mixtures").__doc__
    )
    parser.add_argument(
        "--out", type=Path, default=Path("mixtures-digits"), help="folder for pictures"
    )
    parser.add_argument("--iterations", type=int, default=30, help="EM iterations for each model")
    parser.add_argument("--seed", type=int, default=0, help="seed of all random draws")
    given = parser.parse_args(arguments)
    if given.iterations < 1:
        parser.error(f"--iterations must be at least 1, got {given.iterations}")
    from mixtures.cli import digits

    try:
        digits.run(given.out, given.iterations, given.seed)
    except KeyboardInterrupt:
        print("interrupted; what was drawn so far is in", given.out, file=sys.stderr)
        return 130
    except ImportError as missing:
        print(missing, file=sys.stderr)
        return 2
    return 0
