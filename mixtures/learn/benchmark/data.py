"""Sets of binary data in a folder, cut into rows to train, validate and test on."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, NamedTuple

import numpy
import torch
from torch import Tensor

PARTS = ("train", "valid", "test")
MEMBERS = {*PARTS, "n_vars"}  # of an .npz


class Split(NamedTuple):
    """Rows (n, d) of zeros and ones: to learn from, to choose by, to report."""

    name: str
    train: Tensor
    valid: Tensor
    test: Tensor

    @property
    def variables(self) -> int:
        """d, the number of columns."""
        return self.train.shape[1]

    def ordered(self, order: list[int]) -> Split:
        """The same rows with columns in another order."""
        return Split(self.name, *(part[:, order] for part in self[1:]))


class Published(NamedTuple):
    """A figure read in a publication: whose it is, and the mean log-likelihood of test rows."""

    model: str
    test: float


def names(folder: Path) -> list[str]:
    """The sets there are in a folder and its subfolders, in alphabetical order: those `load` reads.

    A file that holds more than a set does is of another kind, and left out.
    """
    found = set()
    for place in _places(folder):
        found |= {path.stem for path in place.glob("*.npz") if _members(path) == MEMBERS}
        found |= {path.name.removesuffix(".train.data") for path in place.glob("*.train.data")}
    return sorted(found)


def _places(folder: Path) -> list[Path]:
    return [folder, *sorted(path for path in folder.glob("*") if path.is_dir())]


def _members(path: Path) -> set[str]:
    with numpy.load(path) as held:
        return set(held)


def load(folder: Path, name: str) -> Split:
    """The set `name`: NAME.npz of packed rows, or texts NAME.train.data, .valid.data, .test.data.

    Both are also looked for in the subfolders of `folder`. An .npz holds `train`, `valid` and
    `test`, packed along their rows by `numpy.packbits`, and `n_vars`; texts hold lines of 0 and 1
    between commas. FileNotFoundError where there is neither, ValueError for anything but zeros and
    ones, unequal columns, or a part without rows.
    """
    for place in _places(folder):
        if (place / f"{name}.npz").exists():
            return _checked(name, _packed(place / f"{name}.npz"))
        if (place / f"{name}.train.data").exists():
            texts = [
                numpy.loadtxt(place / f"{name}.{p}.data", delimiter=",", ndmin=2) for p in PARTS
            ]
            return _checked(name, texts)
    raise FileNotFoundError(f"no {name}.npz and no {name}.train.data in {folder} or its folders")


def _packed(path: Path) -> list[Any]:
    with numpy.load(path) as held:
        missing = MEMBERS - set(held)
        if missing:
            raise ValueError(
                f"{path} lacks {', '.join(sorted(missing))}; is it a set of this kind?"
            )
        count = int(held["n_vars"])
        return [numpy.unpackbits(held[part], axis=1, count=count) for part in PARTS]


def _checked(name: str, arrays: list[Any]) -> Split:
    for part, array in zip(PARTS, arrays, strict=True):
        if array.size == 0:
            raise ValueError(f"the {part} part of {name} has no entries")
        if array.shape[1] != arrays[0].shape[1]:
            widths = f"{array.shape[1]} columns, train {arrays[0].shape[1]}"
            raise ValueError(f"the {part} part of {name} has {widths}")
        if not bool(numpy.isin(array, (0, 1)).all()):
            raise ValueError(f"the {part} part of {name} must hold zeros and ones only")
    return Split(name, *(torch.from_numpy(array.astype(numpy.int64)) for array in arrays))


def published(folder: Path) -> dict[str, list[Published]]:
    """Of every set the figures of published.csv, those with status `read` only, best first.

    Columns dataset, model, test_ll, status; recalled figures are nobody's, computed ones are not
    published. Empty where the folder and its subfolders hold no such file.
    """
    found: dict[str, list[Published]] = {}
    for path in (folder / "published.csv", *sorted(folder.glob("*/published.csv"))):
        if path.exists():
            with path.open(newline="", encoding="utf-8") as file:
                for line in csv.DictReader(file):
                    if line["status"] == "read":
                        figure = Published(line["model"], float(line["test_ll"]))
                        found.setdefault(line["dataset"], []).append(figure)
            break
    return {name: sorted(figures, key=lambda f: -f.test) for name, figures in found.items()}
