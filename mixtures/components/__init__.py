"""Leaf families: the univariate (or vector-valued) densities that a mixture mixes."""

from mixtures.components.base import Components
from mixtures.components.categorical import Bernoulli, Categorical
from mixtures.components.concatenated import Concatenated
from mixtures.components.counts import Binomial, Poisson
from mixtures.components.encoding import Data, encode
from mixtures.components.family import Family
from mixtures.components.gaussian import Gaussian, LogNormal
from mixtures.components.hooks import FAMILIES
from mixtures.components.indicator import Indicator
from mixtures.components.interval import Histogram, Uniform
from mixtures.components.mixed import Mixed
from mixtures.components.multivariate import MultivariateGaussian
from mixtures.components.positive import Exponential, Gamma
from mixtures.components.product import Product

__all__ = [
    "FAMILIES",
    "Bernoulli",
    "Binomial",
    "Categorical",
    "Components",
    "Concatenated",
    "Data",
    "Exponential",
    "Family",
    "Gamma",
    "Gaussian",
    "Histogram",
    "Indicator",
    "LogNormal",
    "Mixed",
    "MultivariateGaussian",
    "Poisson",
    "Product",
    "Uniform",
    "encode",
]
