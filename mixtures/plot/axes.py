"""New axes, and the few colours that all pictures share."""

from __future__ import annotations

from typing import Any

LATENT, VARIABLE, SUM, PRODUCT, LINE = "#4c72b0", "#dd8452", "#4c72b0", "#55a868", "0.55"


def axes(width: float = 6.0, height: float = 4.0) -> Any:
    """New axes to draw on, of so many inches."""
    try:
        from matplotlib import pyplot
    except ImportError:
        raise ImportError(
            "pictures need matplotlib: pip install 'homogeneous-mixtures[plot]'"
        ) from None
    return pyplot.figure(figsize=(width, height), layout="constrained").add_subplot()
