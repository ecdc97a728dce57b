"""A tensor-network zoo of homogeneous mixture models."""

from mixtures.coefficients import CoefficientTensor, Dense, Explanation, pinned
from mixtures.combination import Combination
from mixtures.errors import ConversionError, SizeError, StructureError
from mixtures.ltm import LTM
from mixtures.semiring import Linear, Log, Max, Modular, Sample, Semiring
from mixtures.tables import Table
from mixtures.tree import Tree

__all__ = [
    "LTM",
    "CoefficientTensor",
    "Combination",
    "ConversionError",
    "Dense",
    "Explanation",
    "Linear",
    "Log",
    "Max",
    "Modular",
    "Sample",
    "Semiring",
    "SizeError",
    "StructureError",
    "Table",
    "Tree",
    "pinned",
]
