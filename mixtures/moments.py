"""Means and covariances of homogeneous mixtures, exactly, by contractions."""

from __future__ import annotations

from collections.abc import Hashable

import torch
from torch import Tensor

from mixtures import engine
from mixtures.coefficients import CoefficientTensor
from mixtures.components import Components, Data
from mixtures.components.encoding import unpacked
from mixtures.semiring import Linear


def component_marginals(coefficients: CoefficientTensor) -> Tensor:
    """P(i_j = i), (d, max k_j)."""
    shape = (coefficients.variables, max(coefficients.shape))
    nothing = torch.zeros(shape, dtype=coefficients.dtype, device=coefficients.device)
    return coefficients.posterior(nothing)


def state_marginals(coefficients: CoefficientTensor) -> dict[Hashable, Tensor]:
    """P(z = s) of every latent z, (r,)."""
    shape = (1, coefficients.variables, max(coefficients.shape))
    nothing = torch.zeros(shape, dtype=coefficients.dtype, device=coefficients.device)
    source = engine.from_tensor(nothing)
    with torch.no_grad():
        sweep = engine.sweep(coefficients.circuit, coefficients.arrays, source, keep_states=True)
        return {name: states[:, 0] for name, states in next(iter(sweep)).states.items()}


def fill(data: Data | None, weights: Tensor, components: Components) -> Tensor:
    """Rows (n, d, *event) with posterior means, weights (n, d, k), where entries are missing."""
    if data is not None and data.observed is not None and data.observed.ndim > 2:
        means = components.mean_given(data)
    else:
        means = components.mean().unsqueeze(2)
    flat = means.reshape(*means.shape[:3], -1).expand(-1, -1, len(weights), -1)
    expected = torch.einsum("ndk,dkne->nde", weights, flat)
    expected = expected.reshape(len(weights), components.variables, *components.event)
    if data is None:
        return expected
    values, seen = data.values.movedim(1, 0), data.observed
    if seen is None:
        return unpacked(values)
    seen = seen.movedim(1, 0)
    seen = seen.reshape(seen.shape + (1,) * (values.ndim - seen.ndim))
    return torch.where(seen, values.to(expected.dtype), expected)


def mean(coefficients: CoefficientTensor, components: Components) -> Tensor:
    """E[x], (d, *event)."""
    weights = component_marginals(coefficients)
    means = components.mean()
    flat = means.reshape(*weights.shape, -1)
    return (weights[..., None] * flat).sum(1).reshape(components.variables, *components.event)


def covariance(coefficients: CoefficientTensor, components: Components) -> Tensor:
    """Cov(x), (d, d), or (d e, d e) for vectors of e entries, entries of a variable together.

    Cov(x_a, x_b) = sum over i of W[i] m_{a,i} m_{b,i} for different variables, m the components'
    means less the mean: one gradient of <W, m_a> per entry a. Within a variable the components' own
    covariances count too.
    """
    weights = component_marginals(coefficients)
    d, k = weights.shape
    means = components.mean().reshape(d, k, -1)
    centred = means - (weights[..., None] * means).sum(1, keepdim=True)
    entries = centred.shape[-1]
    leaves = weights.new_ones((d * entries, d, k))
    for j in range(d):
        leaves[j * entries : (j + 1) * entries, j] = centred[j].T
    joint = torch.empty_like(leaves)
    source = engine.from_tensor(leaves)
    with torch.no_grad():
        for chunk in engine.sweep(coefficients.circuit, coefficients.arrays, source, ring=Linear()):
            joint[chunk.start : chunk.stop] = chunk.inputs.permute(2, 0, 1)
    between = torch.einsum("adk,dke->ade", joint, centred).reshape(d * entries, d * entries)
    own = components.covariance()
    within = torch.einsum("dk,dkef->def", weights, own + centred[..., None] * centred[:, :, None])
    for j in range(d):
        block = slice(j * entries, (j + 1) * entries)
        between[block, block] = within[j]
    return (between + between.T) / 2
