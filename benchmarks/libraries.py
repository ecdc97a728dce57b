"""The libraries that are compared: what to install, and what is imported."""

from __future__ import annotations

from typing import NamedTuple


class Library(NamedTuple):
    """Requirements for pip, and the module that tells whether they are there.

    built_against_torch: it has no wheels, and building it apart would build against another torch.
    """

    module: str
    requirements: tuple[str, ...] = ()
    built_against_torch: bool = False


TORCH = "torch==2.13.0"  # the same for all that use it, or kernels would be compared, not libraries

LIBRARIES = {
    "mixtures": Library("mixtures"),
    "bare": Library("torch"),
    "nodewise": Library("numpy"),
    "hmmlearn": Library("hmmlearn", ("hmmlearn>=0.3.3",)),
    "pomegranate": Library("pomegranate", ("pomegranate>=1.1.2", TORCH)),
    "dynamax": Library("dynamax", ("dynamax>=1.0.3",)),
    "cirkit": Library("cirkit", ("libcirkit>=0.3.1", TORCH)),
    "spflow": Library("spflow", ("spflow>=1.1.0", TORCH)),
    "sparc": Library("sparc", ("sparc-pc>=0.8.2",)),
    "pgmpy": Library("pgmpy", ("pgmpy>=1.1.2", TORCH)),
    "tensorly": Library("tensorly", ("tensorly>=0.10.0", TORCH)),
    "torchtt": Library("torchtt", ("torchtt>=0.5.0", TORCH), True),
    "flint": Library("flint", ("python-flint>=0.9.0",)),
    "sklearn": Library("sklearn", ("scikit-learn>=1.9.1",)),
}
NEEDED = {"mixtures:compiled": "numba"}  # the module that an entry needs besides its library
PEERS = tuple(name for name, library in LIBRARIES.items() if library.requirements)
