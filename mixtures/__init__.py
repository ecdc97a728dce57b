"""A tensor-network zoo of homogeneous mixture models."""

from mixtures.importing import undisturbed

with undisturbed():
    from mixtures.coefficients import CoefficientTensor, Explanation, pinned
    from mixtures.combination import Combination
    from mixtures.entries import Dense
    from mixtures.errors import ConversionError, SizeError, StructureError
    from mixtures.hmm import HMM
    from mixtures.ht import HT, Diagonal
    from mixtures.io import load, save
    from mixtures.ltm import LTM
    from mixtures.mixture import Mixture
    from mixtures.polynomial import inputs
    from mixtures.semiring import Linear, Log, Max, Modular, Sample, Semiring
    from mixtures.spn import SPN
    from mixtures.tables import Table
    from mixtures.tmm import TMM
    from mixtures.tree import Tree

__all__ = [
    "HMM",
    "HT",
    "LTM",
    "SPN",
    "TMM",
    "CoefficientTensor",
    "Combination",
    "ConversionError",
    "Dense",
    "Diagonal",
    "Explanation",
    "Linear",
    "Log",
    "Max",
    "Mixture",
    "Modular",
    "Sample",
    "Semiring",
    "SizeError",
    "StructureError",
    "Table",
    "Tree",
    "inputs",
    "load",
    "pinned",
    "save",
]
