"""Stationary hidden Markov models of hmmlearn as mixtures of a given length, and back."""

from __future__ import annotations

from typing import Any

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

from mixtures import HMM, ConversionError, Mixture
from mixtures.components import (
    Categorical,
    Components,
    Gaussian,
    MultivariateGaussian,
    Poisson,
    Product,
)
from transforms.optional import needed


def from_hmmlearn(model: Any, variables: int) -> Mixture:
    """A fitted hmmlearn model as a mixture over sequences of the given length, in double precision.

    CategoricalHMM, GaussianHMM (all covariance types) and PoissonHMM; several features make one
    vector-valued variable per time. `.of_length(d)` takes other lengths. Raises ConversionError
    for other models.
    """
    peer = _hmmlearn()
    readers = {
        peer.CategoricalHMM: _categorical,
        peer.GaussianHMM: _gaussian,
        peer.PoissonHMM: _poisson,
    }
    reader = readers.get(type(model))
    if reader is None:
        raise ConversionError(
            f"expected a CategoricalHMM, GaussianHMM or PoissonHMM of hmmlearn, got "
            f"{type(model).__name__}"
        )
    chain = HMM.from_tables(
        torch.as_tensor(numpy.array(model.startprob_, dtype=float)),
        torch.as_tensor(numpy.array(model.transmat_, dtype=float)) if variables > 1 else None,
        variables=variables,
    )
    return Mixture(chain, reader(model, variables))


def _hmmlearn() -> Any:
    return needed("hmmlearn.hmm", "the bridge to its models")


def _doubles(array: Any) -> Tensor:
    return torch.as_tensor(numpy.array(array, dtype=float))


def _categorical(model: Any, variables: int) -> Components:
    rows = _doubles(model.emissionprob_)[None]
    return Categorical.from_parameters(rows, shared=True, variables=variables)


def _gaussian(model: Any, variables: int) -> Components:
    mean, full = _doubles(model.means_), _doubles(model.covars_)
    kind, (_, features) = model.covariance_type, mean.shape
    if full.ndim == 2:  # hmmlearn gives the common matrix of "tied" once
        full = full.expand(len(mean), *full.shape)
    variances = full.diagonal(dim1=1, dim2=2)
    if features == 1:
        return Gaussian.from_parameters(
            mean.T, variances.T.contiguous(), shared=True, variables=variables
        )
    forms = {
        "full": full,
        "tied": full[:1],
        "diag": variances.contiguous(),
        "spherical": variances[:, :1].contiguous(),
    }
    return MultivariateGaussian.from_parameters(
        mean[None], forms[kind][None], covariance=kind, shared=True, variables=variables
    )


def _poisson(model: Any, variables: int) -> Components:
    rate = _doubles(model.lambdas_).T.contiguous()
    if len(rate) == 1:
        return Poisson.from_parameters(rate, shared=True, variables=variables)
    return Product(Poisson.from_parameters(rate), len(rate), variables=variables)


def to_hmmlearn(mixture: Mixture) -> Any:
    """A stationary HMM as an hmmlearn model, ready to score and to decode.

    Needs one transition table and components shared by all variables: Categorical (with or without
    an emission table), Gaussian, MultivariateGaussian, Poisson, or a Product of Poissons. Raises
    ConversionError naming what is missing.
    """
    tensor, components = mixture.coefficients, mixture.components
    if not isinstance(tensor, HMM):
        raise ConversionError(f"expected an HMM, got {type(tensor).__name__}; see convert(.., HMM)")
    initial, step, emission = _stationary(tensor)
    if not components.shared:
        raise ConversionError(
            "hmmlearn shares its densities over time: the components are not shared"
        )
    writer = _WRITERS.get(type(components))
    if writer is None:
        raise ConversionError(f"hmmlearn has no model for {type(components).__name__} components")
    if emission is not None and type(components) is not Categorical:
        raise ConversionError(
            "states that mix densities are beyond hmmlearn: components must be the states "
            "(emission=False) unless they are Categorical"
        )
    found = writer(components, emission)
    found.startprob_, found.transmat_ = initial, step
    return found


def _stationary(chain: HMM) -> tuple[NDArray, NDArray, NDArray | None]:
    """Initial distribution, transition and emission table of a chain whose tables are shared."""
    d = chain.variables
    moves = {chain.place(d + j) for j in range(1, d)}
    emissions = {chain.place(j) for j in range(d)}
    for places, what in ((moves, "transition"), (emissions, "emission")):
        if len(places) > 1:
            raise ConversionError(f"hmmlearn has one {what} table, this HMM has {len(places)}")
    r = len(chain.initial)
    step = chain.transition[0] if d > 1 else torch.eye(r, dtype=chain.dtype)
    emission = None if chain.table(0) is None else _numbers(chain.emission[0])
    return _numbers(chain.initial), _numbers(step), emission


def _numbers(tensor: Tensor) -> NDArray:
    return tensor.detach().cpu().double().numpy()


def _to_categorical(components: Any, emission: NDArray | None) -> Any:
    rows = _numbers(components.probabilities[0])
    rows = rows if emission is None else emission @ rows
    found = _hmmlearn().CategoricalHMM(len(rows), n_features=rows.shape[1], init_params="")
    found.emissionprob_ = rows
    return found


def _to_gaussian(components: Any, emission: NDArray | None) -> Any:
    mean = _numbers(components.location[0])
    found = _hmmlearn().GaussianHMM(len(mean), "diag", init_params="")
    found.n_features = 1
    found.means_, found.covars_ = mean[:, None], _numbers(components.log_variance[0].exp())[:, None]
    return found


def _to_vector_gaussian(components: Any, emission: NDArray | None) -> Any:
    mean, kind = _numbers(components.location[0]), components.kind
    found = _hmmlearn().GaussianHMM(len(mean), kind, init_params="")
    found.n_features, found.means_ = mean.shape[1], mean
    factor = components.spread.factor()[0]
    full = _numbers(factor @ factor.mT)
    variances = numpy.diagonal(full, axis1=1, axis2=2)
    forms = {"full": full, "tied": full[0], "diag": variances, "spherical": variances[:, 0]}
    found.covars_ = forms[kind]
    return found


def _to_poisson(components: Any, emission: NDArray | None) -> Any:
    rate = _numbers(components.rate[0])[:, None]
    return _with_rates(_hmmlearn().PoissonHMM(len(rate), init_params=""), rate)


def _to_product(components: Any, emission: NDArray | None) -> Any:
    if type(components.factor) is not Poisson:
        raise ConversionError(
            f"hmmlearn has no model for products of {type(components.factor).__name__} components"
        )
    rate = _numbers(components.factor.rate).T
    return _with_rates(_hmmlearn().PoissonHMM(len(rate), init_params=""), rate)


def _with_rates(found: Any, rate: NDArray) -> Any:
    found.lambdas_, found.n_features = rate, rate.shape[1]
    return found


_WRITERS: dict[type, Any] = {
    Categorical: _to_categorical,
    Gaussian: _to_gaussian,
    MultivariateGaussian: _to_vector_gaussian,
    Poisson: _to_poisson,
    Product: _to_product,
}
