"""dynamax: its filters under `jax.vmap`, compiled by `jax.jit` beforehand.

Double precision is switched on, and 10 iterations are one compiled program: `fit_em` with
`verbose=False` may be called inside `jit` (its docstring). Priors are set so that EM maximises the
likelihood, as everywhere here.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

jax.config.update("jax_enable_x64", True)

from dynamax.hidden_markov_model import CategoricalHMM, DiagonalGaussianHMM  # noqa: E402

from benchmarks.protocol import Arrays, Case  # noqa: E402

FLAT = {"initial_probs_concentration": 1.0, "transition_matrix_concentration": 1.0}


def symbols(arrays: Arrays) -> tuple[Any, Any, Any]:
    """The model, its parameters and which of them are learned."""
    r, size = arrays["emission"].shape
    model = CategoricalHMM(r, 1, size, emission_prior_concentration=1.0, **FLAT)
    found = model.initialize(
        initial_probs=jnp.asarray(arrays["initial"]),
        transition_matrix=jnp.asarray(arrays["transition"]),
        emission_probs=jnp.asarray(arrays["emission"])[:, None],
    )
    return (model, *found)


def gaussians(arrays: Arrays) -> tuple[Any, Any, Any]:
    """The same with a normal-inverse-gamma prior whose mode is the maximum of the likelihood."""
    model = DiagonalGaussianHMM(
        len(arrays["mean"]),
        1,
        emission_prior_mean_concentration=1e-12,
        emission_prior_concentration=-1.5,
        emission_prior_scale=1e-12,
        **FLAT,
    )
    found = model.initialize(
        initial_probs=jnp.asarray(arrays["initial"]),
        transition_matrix=jnp.asarray(arrays["transition"]),
        emission_means=jnp.asarray(arrays["mean"])[:, None],
        emission_scale_diags=jnp.asarray(arrays["variance"])[:, None] ** 0.5,
    )
    return (model, *found)


def likelihood(build: Any) -> Any:
    """`marginal_log_prob` of every row."""

    def make(arrays: Arrays) -> Case:
        model, parameters, _ = build(arrays)
        compiled = jax.jit(jax.vmap(model.marginal_log_prob, in_axes=(None, 0)))

        def run() -> Any:
            return compiled(parameters, jnp.asarray(arrays["x"])[..., None]).block_until_ready()

        return Case(run, lambda found: {"rows": found})

    return make


def learning(build: Any, iterations: int) -> Any:
    """`fit_em`, all iterations compiled at once."""

    def make(arrays: Arrays) -> Case:
        model, parameters, learned = build(arrays)

        @jax.jit
        def fit(x: Any) -> Any:
            return model.fit_em(parameters, learned, x, num_iters=iterations, verbose=False)

        def run() -> Any:
            return jax.block_until_ready(fit(jnp.asarray(arrays["x"])[..., None]))

        score = jax.jit(jax.vmap(model.marginal_log_prob, in_axes=(None, 0)))

        def results(found: Any) -> dict[str, Any]:
            new, _ = found  # its history holds log-priors, too
            return {
                "initial": new.initial.probs,
                "transition": new.transitions.transition_matrix,
                "total": score(new, jnp.asarray(arrays["x"])[..., None]).sum(),
            }

        return Case(run, results)

    return make


CASES = {
    "hmm": likelihood(symbols),
    "hmm-gaussian": likelihood(gaussians),
    "hmm-em": learning(symbols, 10),
    "hmm-gaussian-em": learning(gaussians, 10),
}
DISTRIBUTIONS = ("dynamax", "jax", "jaxlib")
