"""Packages that may be absent, imported when they are needed."""

from __future__ import annotations

import importlib
from typing import Any


def needed(module: str, purpose: str) -> Any:
    """The module; ImportError in one sentence that says what to install, where it is absent."""
    package = module.split(".")[0]
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{package} is not installed, and {purpose} needs it: pip install {package}"
        ) from error
