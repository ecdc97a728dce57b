"""The arguments of `python -m mixtures`: the tour, and commands for one's own tables."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mixtures.errors import ConversionError

DESCRIPTION = """\
A tensor-network zoo of homogeneous mixture models.

Without a command: a tour of the library on handwritten digits, ending with a
report in HTML (about two minutes). The commands work on your own tables:

  python -m mixtures fit people.csv --model ltm --out people.safetensors
  python -m mixtures score people.safetensors others.csv
  python -m mixtures sample people.safetensors -n 5
  python -m mixtures complete people.safetensors others.csv --out whole.csv
  python -m mixtures convert people.safetensors --to spn --out spn.safetensors
  python -m mixtures ranks people.safetensors --rows 0,2
  python -m mixtures info people.safetensors --picture tree.png

Tables are .csv (first line: names), .tsv, .parquet or .npy; blank cells are
missing values, which every command understands. `COMMAND --help` says more.
"""

FIT = """\
Text, true/false and whole numbers with at most 20 different values become
categories (kept by name), all other numbers Gaussian; --kind overrides.

models:
{models}

The best model so far is saved also when you press Ctrl-C.

  python -m mixtures fit iris.csv --drop id --kind petals=poisson --states 6
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command: 0 on success, 2 for what a user can mend, 130 when interrupted."""
    given = _parser().parse_args(arguments)
    try:
        _one_thread()
        given.run(given)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has had enough
        sys.stderr.close()
        return 0
    except (ConversionError, ValueError, ImportError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _one_thread() -> None:
    """Tables of this size gain little from more, and lose a hundredfold beside another process."""
    import torch

    torch.set_num_threads(1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m mixtures",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--out", type=Path, default=Path("mixtures-tour"), help="folder for the tour's report"
    )
    parser.add_argument("--iterations", type=_positive, default=30, help="EM steps for each model")
    parser.add_argument("--seed", type=int, default=0, help="seed of all random draws")
    parser.set_defaults(run=_tour)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for add in (_fit, _score, _sample, _complete, _convert, _ranks, _info):
        add(commands)
    return parser


def _tour(given: argparse.Namespace) -> None:
    from mixtures.cli import tour

    tour.run(given.out, given.iterations, given.seed)


def _command(name: str) -> Callable[[argparse.Namespace], None]:
    """A command of mixtures.cli.commands, imported when it is called."""

    def run(given: argparse.Namespace) -> None:
        from mixtures.cli import commands

        getattr(commands, name)(given)

    return run


def _add(commands: Any, name: str, says: str, epilog: str = "") -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=says,
        description=says[0].upper() + says[1:] + ".",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=_command(name))
    return parser


def _fit(commands: Any) -> None:
    models = {
        "tmm": "a mixture of products: one latent above all columns (CP)",
        "deep": "the deep tensorial mixture: a balanced tree over the columns in order",
        "hmm": "a hidden Markov model along the columns in order",
        "ltm": "a latent tree: one latent a column, joined by a Chow-Liu tree of the data",
        "ht": "full hierarchical Tucker on a balanced tree",
        "spn": "a random sum-product network",
    }
    listed = "\n".join(f"  {name:5}{says}" for name, says in models.items())
    parser = _add(commands, "fit", "fit a model to a table", FIT.format(models=listed))
    _data(parser)
    parser.add_argument("--model", choices=list(models), default="ltm", help="default: ltm")
    parser.add_argument("--out", type=Path, default=Path("model.safetensors"), help="file to write")
    parser.add_argument("--states", type=_positive, default=8, help="states of a latent")
    parser.add_argument("--components", type=_positive, default=8, help="densities of a column")
    parser.add_argument("--iterations", type=_positive, default=200, help="EM steps at most")
    parser.add_argument("--restarts", type=_positive, default=1, help="the best one is kept")
    parser.add_argument(
        "--validation", type=_share, default=0.1, help="share of rows to stop early by"
    )
    parser.add_argument(
        "--pseudo-count", type=float, default=0.1, help="of every table, against overfitting"
    )
    parser.add_argument("--drop", action="append", default=[], metavar="COLUMN", help="leave out")
    parser.add_argument(
        "--kind",
        action="append",
        default=[],
        type=_kind,
        metavar="COLUMN=KIND",
        help="gaussian, categorical or poisson",
    )
    parser.add_argument("--seed", type=int, default=0)


def _score(commands: Any) -> None:
    parser = _add(commands, "score", "log-likelihood of a table under a model")
    _model(parser)
    _data(parser)
    parser.add_argument("--out", type=Path, help="CSV with one log-likelihood a row")


def _sample(commands: Any) -> None:
    parser = _add(commands, "sample", "new rows drawn from a model, as CSV")
    _model(parser)
    parser.add_argument("-n", type=_positive, default=10, help="how many rows")
    parser.add_argument("--out", type=Path, help="file, default: print")
    parser.add_argument("--seed", type=int, default=0)


def _complete(commands: Any) -> None:
    parser = _add(commands, "complete", "fill the blank cells of a table, as CSV")
    _model(parser)
    _data(parser)
    parser.add_argument(
        "--how",
        choices=["best", "sample"],
        default="best",
        help="best: the mean, or the likeliest category; sample: a joint draw",
    )
    parser.add_argument("--out", type=Path, help="file, default: print")
    parser.add_argument("--seed", type=int, default=0)


def _convert(commands: Any) -> None:
    parser = _add(commands, "convert", "the same model in another class, with a certificate")
    _model(parser)
    parser.add_argument("--to", required=True, choices=["tmm", "hmm", "ltm", "ht", "spn"])
    parser.add_argument("--out", type=Path, required=True, help="file to write")
    parser.add_argument(
        "--budget", type=_positive, help="edges allowed where the way down is exponential"
    )


def _ranks(commands: Any) -> None:
    parser = _add(commands, "ranks", "certified ranks of a model's coefficient tensor")
    _model(parser)
    parser.add_argument("--rows", type=_numbers, help="variables on one side of the cut: 0,2,5")


def _info(commands: Any) -> None:
    parser = _add(commands, "info", "what a saved model is")
    _model(parser)
    parser.add_argument("--picture", type=Path, help="draw its tree or network to this file")


def _model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, help="a file that fit or convert saved")


def _data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", type=Path, help="a .csv, .tsv, .parquet or .npy file")
    parser.add_argument("--no-header", action="store_true", help="the first line is data")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {text}")
    return number


def _share(text: str) -> float:
    number = float(text)
    if not 0 <= number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 0 and below 1, got {text}")
    return number


def _kind(text: str) -> tuple[str, str]:
    name, equals, kind = text.rpartition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"expected COLUMN=KIND, got {text}")
    return name, kind


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected numbers of variables such as 0,2,5, got {text}"
        ) from None
