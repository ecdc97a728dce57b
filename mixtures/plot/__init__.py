"""Pictures: every function takes `ax=` and returns the axes; matplotlib is imported when one is
drawn.
"""

from mixtures.plot.axes import axes
from mixtures.plot.curves import curves
from mixtures.plot.densities import density
from mixtures.plot.images import images, sheet
from mixtures.plot.networks import network
from mixtures.plot.sequences import posteriors
from mixtures.plot.tensors import matrix
from mixtures.plot.trees import chain, tree

__all__ = [
    "axes",
    "chain",
    "curves",
    "density",
    "images",
    "matrix",
    "network",
    "posteriors",
    "sheet",
    "tree",
]
