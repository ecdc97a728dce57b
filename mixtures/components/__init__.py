"""Leaf families: the univariate (or vector-valued) densities that a mixture mixes."""

from mixtures.components.base import Components
from mixtures.components.categorical import Bernoulli, Categorical
from mixtures.components.encoding import Data, encode
from mixtures.components.family import Family
from mixtures.components.gaussian import Gaussian, LogNormal
from mixtures.components.hooks import FAMILIES
from mixtures.components.indicator import Indicator

__all__ = [
    "FAMILIES",
    "Bernoulli",
    "Categorical",
    "Components",
    "Data",
    "Family",
    "Gaussian",
    "Indicator",
    "LogNormal",
    "encode",
]
