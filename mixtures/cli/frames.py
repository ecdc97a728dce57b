"""Files with named columns, as rows of numbers and back: categories by name, blanks missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy
from numpy.typing import NDArray

KINDS = ("gaussian", "categorical", "poisson")
FEW = 20  # whole numbers with at most so many different values, often met, count as categories
MOST_CATEGORIES = 200


@dataclass(frozen=True)
class Column:
    """A column of a user's file: its name, its family, and the names of its categories if any."""

    name: str
    kind: str
    categories: tuple[str, ...] = ()

    def config(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {**asdict(self), "categories": list(self.categories)}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Column:
        """What `config` described."""
        return cls(config["name"], config["kind"], tuple(config["categories"]))


def read_frame(path: Path, *, header: bool = True) -> Any:
    """A data frame from a .csv, .tsv, .parquet or .npy file.

    Raises ValueError with the reason where that is not possible.
    """
    if not path.exists():
        raise ValueError(f"there is no file {path}")
    readers = {".csv": ",", ".txt": ",", ".tsv": "\t"}
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return _from_array(path)
    pandas = _pandas()
    if suffix == ".parquet":
        return _parquet(path)
    if suffix not in readers:
        raise ValueError(f"{path}: expected a .csv, .tsv, .parquet or .npy file, got {suffix!r}")
    try:
        options = {"sep": readers[suffix], "encoding_errors": "strict"}
        frame = pandas.read_csv(path, header=0 if header else None, **options)
        if header:  # pandas would rename the second of two equal names
            first = pandas.read_csv(path, header=None, nrows=1, dtype=str, **options)
            frame.columns = first.iloc[0].fillna("").tolist()
    except (pandas.errors.ParserError, pandas.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read as a table: {error}") from None
    frame.columns = [str(name).strip() for name in frame.columns]
    if header and len(frame.columns) and all(map(_is_number, frame.columns)):
        raise ValueError(
            f"the first line of {path} holds only numbers: give --no-header if it is data"
        )
    return checked(frame, path)


def checked(frame: Any, path: Path) -> Any:
    """The frame, unless it is empty or two columns share a name."""
    if frame.shape[0] == 0 or frame.shape[1] == 0:
        raise ValueError(f"{path} holds no data: {frame.shape[0]} rows, {frame.shape[1]} columns")
    twice = frame.columns[frame.columns.duplicated()]
    if len(twice):
        raise ValueError(f"{path} has two columns named {twice[0]!r}: names must differ")
    return frame


def learn_columns(frame: Any, kinds: Mapping[str, str]) -> list[Column]:
    """What each column of a frame is: text, bool and few whole numbers are categories, the rest is
    Gaussian; `kinds` {name: kind} overrides. Raises ValueError naming the column that will not do.
    """
    for name, kind in kinds.items():
        if kind not in KINDS:
            raise ValueError(f"--kind {name}: expected one of {', '.join(KINDS)}, got {kind!r}")
        if name not in frame.columns:
            raise ValueError(f"--kind {name}: there is no such column; there are {_list(frame)}")
    return [_column(frame[name], str(name), kinds.get(str(name))) for name in frame.columns]


def encode(frame: Any, columns: Sequence[Column]) -> NDArray[numpy.float64]:
    """Rows (n, d) of numbers, NaN where a cell is blank, for columns known by name.

    Other columns are ignored. Raises ValueError for columns that are missing and categories that
    are unknown.
    """
    absent = [column.name for column in columns if column.name not in frame.columns]
    if absent:
        raise ValueError(
            f"the model was fitted on columns that this file lacks: {', '.join(absent[:8])}; "
            f"it has {_list(frame)}"
        )
    return numpy.column_stack([_encoded(frame[column.name], column) for column in columns])


def decode(rows: Any, columns: Sequence[Column]) -> Any:
    """A data frame from rows (n, d): categories by name, counts as whole numbers."""
    pandas = _pandas()
    values = numpy.asarray(rows, dtype=float)
    found = {}
    for column, numbers in zip(columns, values.T, strict=True):
        if column.kind == "categorical":
            names = numpy.array(column.categories, dtype=object)
            found[column.name] = names[numbers.round().astype(int)]
        elif column.kind == "poisson":
            found[column.name] = numbers.round().astype(int)
        else:
            found[column.name] = numbers
    return pandas.DataFrame(found)


def _column(values: Any, name: str, kind: str | None) -> Column:
    known = values.dropna()
    if not len(known):
        raise ValueError(f"column {name!r} has no values at all: leave it out with --drop {name}")
    numeric = known.dtype.kind in "iuf"
    if kind in ("gaussian", "poisson") and not numeric:
        raise ValueError(f"column {name!r} holds {known.iloc[0]!r}, so it cannot be {kind}")
    if numeric and not numpy.isfinite(known.to_numpy(dtype=float)).all():
        raise ValueError(f"column {name!r} holds infinite numbers: leave them blank or mend them")
    if kind is None:
        kind = "categorical" if not numeric or _few_whole(known) else "gaussian"
    if kind != "categorical":
        return Column(name, kind)
    return Column(name, kind, _categories(known, name))


def _categories(known: Any, name: str) -> tuple[str, ...]:
    found = sorted(known.unique())
    if len(found) > MOST_CATEGORIES:
        raise ValueError(
            f"column {name!r} has {len(found)} different values ({_text(found[0])!r}, "
            f"{_text(found[1])!r}, ..), too many to be categories: leave it out with --drop {name}"
        )
    return tuple(dict.fromkeys(_text(value) for value in found))


def _few_whole(known: Any) -> bool:
    values = known.to_numpy(dtype=float)
    different = len(numpy.unique(values))
    if different == 1:
        return True
    few = different == 2 or (different <= FEW and 3 * different <= len(values))
    return few and bool((values == values.round()).all())


def _encoded(values: Any, column: Column) -> NDArray[numpy.float64]:
    missing = values.isna().to_numpy()
    if column.kind != "categorical":
        return _numbers(values, missing, column)
    place = {name: float(number) for number, name in enumerate(column.categories)}
    codes = numpy.full(len(values), numpy.nan)
    different, which = numpy.unique(
        [_text(value) for value in values[~missing]], return_inverse=True
    )
    for name in different:
        if name not in place:
            row = int(numpy.flatnonzero(~missing)[(different[which] == name).argmax()])
            raise ValueError(
                f"column {column.name!r}, row {row}: {str(name)!r} is none of the categories the "
                f"model knows: {', '.join(column.categories[:8])}"
            )
    if len(different):
        codes[~missing] = numpy.array([place[name] for name in different])[which]
    return codes


def _numbers(values: Any, missing: NDArray[Any], column: Column) -> NDArray[numpy.float64]:
    try:
        return values.to_numpy(dtype=float, na_value=numpy.nan)  # type: ignore[no-any-return]
    except (TypeError, ValueError):
        wrong = [row for row in numpy.flatnonzero(~missing) if not _is_number(values.iloc[row])]
        row = int(wrong[0]) if wrong else 0
        raise ValueError(
            f"column {column.name!r}, row {row}: expected a number, got {values.iloc[row]!r}"
        ) from None


def _text(value: Any) -> str:
    """How a value is written: whole numbers without a point, so that 1 and 1.0 are one category."""
    if isinstance(value, float) and value == round(value):
        return str(int(value))
    return str(value)


def _is_number(text: Any) -> bool:
    try:
        float(text)
    except (TypeError, ValueError):
        return False
    return True


def _list(frame: Any) -> str:
    names = [str(name) for name in frame.columns]
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _from_array(path: Path) -> Any:
    try:
        array = numpy.load(path, allow_pickle=False)
    except ValueError as error:
        raise ValueError(f"{path} cannot be read as an array: {error}") from None
    if array.ndim != 2:
        raise ValueError(f"{path}: expected an array of rows (n, d), got shape {array.shape}")
    frame = _pandas().DataFrame(array)
    frame.columns = [str(name) for name in frame.columns]
    return checked(frame, path)


def _parquet(path: Path) -> Any:
    pandas = _pandas()
    try:
        frame = pandas.read_parquet(path)
    except ImportError:
        raise ImportError(
            "Parquet files need pyarrow: pip install 'homogeneous-mixtures[data]'"
        ) from None
    except Exception as error:  # pyarrow's errors have no base class of their own
        raise ValueError(f"{path} cannot be read as Parquet: {error}") from None
    frame.columns = [str(name) for name in frame.columns]
    return checked(frame, path)


def _pandas() -> Any:
    try:
        import pandas
    except ImportError:
        raise ImportError("tables need pandas: pip install 'homogeneous-mixtures[data]'") from None
    return pandas
