"""Structures as JSON: tuples and arrays are marked, so that they come back as what they were."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from functools import singledispatch
from numbers import Integral, Real
from typing import Any

import numpy
import torch
from torch import Tensor

Arrays = MutableMapping[str, Tensor]


@singledispatch
def written(value: Any, arrays: Arrays) -> Any:
    """A value for JSON; arrays go to `arrays` and leave their name.

    Raises ValueError for what has no such form: names of nodes and latents must be strings,
    numbers, None or tuples of them.

    >>> written({"node": ("left", 3)}, {})
    {'node': {'tuple': ['left', 3]}}
    """
    raise ValueError(
        f"a {type(value).__name__} cannot be saved ({value!r}): nodes and latents must be named by "
        f"strings, numbers or tuples of them"
    )


@written.register(str)
@written.register(bool)
@written.register(type(None))
def _(value: Any, arrays: Arrays) -> Any:
    return value


@written.register
def _(value: Integral, arrays: Arrays) -> int:
    return int(value)


@written.register
def _(value: Real, arrays: Arrays) -> float:
    return float(value)


@written.register
def _(value: tuple, arrays: Arrays) -> dict[str, Any]:  # type: ignore[type-arg]
    return {"tuple": [written(entry, arrays) for entry in value]}


@written.register
def _(value: list, arrays: Arrays) -> list[Any]:  # type: ignore[type-arg]
    return [written(entry, arrays) for entry in value]


@written.register
def _(value: dict, arrays: Arrays) -> dict[str, Any]:  # type: ignore[type-arg]
    return {str(key): written(entry, arrays) for key, entry in value.items()}


@written.register
def _(value: numpy.ndarray, arrays: Arrays) -> dict[str, str]:
    name = f"arrays.{sum(key.startswith('arrays.') for key in arrays)}"
    arrays[name] = torch.from_numpy(numpy.ascontiguousarray(value))
    return {"array": name}


def read(value: Any, arrays: Mapping[str, Tensor]) -> Any:
    """What `written` wrote."""
    if isinstance(value, list):
        return [read(entry, arrays) for entry in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {"tuple"}:
        return tuple(read(entry, arrays) for entry in value["tuple"])
    if set(value) == {"array"}:
        return arrays[value["array"]].numpy()
    return {key: read(entry, arrays) for key, entry in value.items()}
