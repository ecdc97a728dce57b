"""Imports that take little time: of modules when they are needed, and without garbage collected."""

from __future__ import annotations

import gc
import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any


@contextmanager
def undisturbed() -> Iterator[None]:
    """No garbage is collected meanwhile: what modules make stays, and looking through all that
    torch made, to find nothing, takes longer than all imports of this package.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


class Later(ModuleType):
    """A module that is imported once something of it is asked for.

    >>> Later("fractions").Fraction(1, 2)
    Fraction(1, 2)
    """

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self.__name__), name)
