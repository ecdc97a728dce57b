"""The laws can fail: broken on purpose, the library is caught by at least one of them.

Each mutation replaces one function of the evaluator by a wrong one and names a law that must go red
for every model listed. A law that stays green here checks nothing.
"""

from __future__ import annotations

import pytest
import torch

import mixtures
import mixtures.alias
import mixtures.circuit
import mixtures.engine
import mixtures.networkpass
import mixtures.passes
import mixtures.scaled
import mixtures.semiring
import mixtures.stretch
import mixtures.tables
import mixtures.treetensor

import laws
import test_laws_gradients as gradients
import test_laws_queries as queries
import test_laws_sampling as sampling
import test_laws_sizes as sizes
import test_laws_state as state
import test_laws_values as values
import zoo


@pytest.fixture(autouse=True)
def fresh_instances():
    """Instances are built anew under the mutation, and thrown away after it."""
    zoo.made.cache_clear()
    laws.truth.cache_clear()
    yield
    zoo.made.cache_clear()
    laws.truth.cache_clear()


def red(law, name):
    """A law that must fail for this model, by its own assertion."""
    with pytest.raises(AssertionError):
        law(name)


def green(law, name):
    """What the laws say before the mutation."""
    law(name)
    zoo.made.cache_clear()
    laws.truth.cache_clear()


LAWS = {
    "dense": values.test_the_dense_tensor_is_the_sum_over_all_latent_states,
    "log": values.test_log_contractions_are_right_at_any_scale_with_and_without_evidence,
    "linear": values.test_a_contraction_is_the_sum_over_all_entries_for_leaves_of_any_sign,
    "max": values.test_max_contractions_are_the_weight_of_the_best_joint_assignment,
    "marginal": values.test_leaving_variables_out_sums_the_dense_tensor_over_them,
    "sum": values.test_the_entries_sum_to_one,
    "modular": values.test_modular_contractions_are_residues_of_the_exact_rational_value,
    "posterior": queries.test_posteriors_of_components_are_shares_of_the_joint_assignments,
    "smoothing": queries.test_smoothing_gives_the_posterior_of_every_latent_state,
    "best": queries.test_the_best_explanation_attains_the_largest_joint_weight,
    "counts": queries.test_counts_flow_only_into_the_observed_part,
    "samples": sampling.test_samples_have_the_frequencies_that_are_the_coefficients,
    "joint draws": sampling.test_joint_draws_of_states_and_components_have_the_joint_posterior,
    "stored": sizes.test_ties_are_stored_once_and_identities_not_at_all,
    "ties": lambda name: sizes.test_shared_tables_are_stored_once(name),
    "size": sizes.test_the_size_is_the_number_of_edges_of_the_unrolled_circuit,
    "zeros": state.test_a_tensor_after_a_gradient_step_is_still_a_distribution_with_the_same_zeros,
    "gradient": gradients.test_the_gradient_of_the_log_density_is_the_posterior,
}


def transposed_tables(monkeypatch):
    """Square tables are used the wrong way round."""
    weights = mixtures.passes.Weights

    def turned(stack):
        return weights(stack.mT if stack.shape[-1] == stack.shape[-2] else stack)

    monkeypatch.setattr(mixtures.passes, "Weights", turned)


def dropped_evidence(monkeypatch):
    """What is known about latents is not used."""
    for module in (mixtures.engine, mixtures.stretch):
        monkeypatch.setattr(module, "located", lambda *arguments: None)


def sums_for_maxima(monkeypatch):
    """Viterbi sums over the states on the way up."""
    monkeypatch.setattr(mixtures.semiring.Max, "mix", mixtures.semiring.Log.mix)


def first_for_best(monkeypatch):
    """The trace back takes any term."""

    def pick(self, weights, inside, chosen):
        return torch.zeros_like(chosen)

    monkeypatch.setattr(mixtures.semiring.Max, "pick", pick)


def swapped_leaves(monkeypatch):
    """The first two variables are exchanged when the circuit is built."""
    swap = {0: 1, 1: 0}
    monkeypatch.setattr(
        mixtures.circuit.Builder,
        "input",
        lambda self, j: mixtures.circuit.CONSTANTS + swap.get(j, j),
    )


def flattened_edges(monkeypatch):
    """Tables between latents are replaced by their mean row, as if states forgot their parent."""
    steps = mixtures.passes._steps_of

    def flat(stack, slots):
        square = stack.shape[-2] == stack.shape[-1]
        return steps(stack.mean(1, keepdim=True).expand_as(stack) if square else stack, slots)

    monkeypatch.setattr(mixtures.passes, "_steps_of", flat)


def forgotten_mask(monkeypatch):
    """Counts flow into what nobody has observed."""
    for module in (mixtures.engine, mixtures.stretch):
        monkeypatch.setattr(module, "anything_observed", lambda *arguments: None)
    down = mixtures.networkpass.NetworkValues.down
    monkeypatch.setattr(
        mixtures.networkpass.NetworkValues,
        "down",
        lambda self, root, *, counting, observed: down(
            self, root, counting=counting, observed=None
        ),
    )


def forgotten_ties(monkeypatch):
    """Every node gets a table of its own."""
    place = mixtures.treetensor._Plan._place

    def untied(self, node):
        self.keys = {v: (v, key) for v, key in self.keys.items()} if not self.places else self.keys
        place(self, node)

    monkeypatch.setattr(mixtures.treetensor._Plan, "_place", untied)
    monkeypatch.setattr(mixtures.treetensor, "_check_members", lambda *arguments: None)


def uniform_draws(monkeypatch):
    """Samples ignore the weights of the terms."""
    draw = mixtures.semiring.Sample.draw
    monkeypatch.setattr(
        mixtures.semiring.Sample, "draw", lambda self, terms: draw(self, (terms > 0).to(terms))
    )


def uniform_priors(monkeypatch):
    """Draws without evidence ignore the weights of the sums."""
    monkeypatch.setattr(
        mixtures.alias.Alternatives, "draw", lambda self, rows, generator: torch.zeros_like(rows)
    )
    monkeypatch.setattr(
        mixtures.semiring.Sample, "draw", lambda self, terms: torch.zeros_like(terms[:, 0]).long()
    )


def lost_support(monkeypatch):
    """Structural zeros are learned like other entries."""

    def log_values(self):
        return self.logits.nan_to_num(neginf=-3.0).log_softmax(-1)

    monkeypatch.setattr(mixtures.tables.Table, "log_values", property(log_values))


def one_chain_step_missing(monkeypatch):
    """The value of a run of equal steps is that of its last but one step."""
    factors = mixtures.passes.factors_at

    def skipping(layer, children, out, step):
        return factors(layer, children, out, max(0, step - 1) if step == 2 else step)

    monkeypatch.setattr(mixtures.passes, "factors_at", skipping)
    monkeypatch.setattr(mixtures.engine, "factors_at", skipping)


def inexact_residues(monkeypatch):
    """Residues of rounded numbers instead of the stored ones."""
    exact = mixtures.coefficients.residues
    monkeypatch.setattr(
        mixtures.coefficients,
        "residues",
        lambda stack, p: exact((stack * 2**20).round() / 2**20, p),
    )


RED = [
    (transposed_tables, "log", ["HMM", "LTM balanced", "TMM deep", "HT train"]),
    (transposed_tables, "posterior", ["HMM", "HMM long", "Combination"]),
    (dropped_evidence, "log", ["HMM", "LTM balanced", "SPN matchings", "HT balanced"]),
    (dropped_evidence, "smoothing", ["HMM", "SPN polynomial", "Combination"]),
    (sums_for_maxima, "max", ["HMM", "SPN wide", "HT star", "Dense", "LTM quad"]),
    (sums_for_maxima, "best", ["HMM", "LTM balanced"]),
    (first_for_best, "best", ["HMM", "SPN matchings", "Dense"]),
    (swapped_leaves, "log", ["HMM", "LTM random", "Dense", "TMM deep"]),
    (swapped_leaves, "marginal", ["HMM", "LTM balanced"]),
    (flattened_edges, "log", ["HMM", "LTM balanced", "HMM long"]),
    (forgotten_mask, "counts", ["HMM", "TMM", "SPN matchings", "HT balanced", "Combination"]),
    (forgotten_ties, "ties", ["HMM", "TMM", "TMM deep", "two levels"]),
    (uniform_priors, "samples", ["HMM", "SPN matchings", "Dense"]),
    (uniform_draws, "joint draws", ["LTM balanced", "HT balanced"]),
    (lost_support, "zeros", ["HMM deterministic", "LTM zeros", "SPN wide"]),
    (one_chain_step_missing, "log", ["HMM long", "LTM long spines", "HT long tied train"]),
    (inexact_residues, "modular", ["HMM", "SPN polynomial", "Dense"]),
]
CASES = [(mutation, law, name) for mutation, law, names in RED for name in names]


@pytest.mark.parametrize(
    ("mutation", "law", "name"), CASES, ids=[f"{m.__name__}-{law}-{n}" for m, law, n in CASES]
)
def test_a_mutation_turns_a_law_red(mutation, law, name, monkeypatch):
    green(LAWS[law], name)
    mutation(monkeypatch)
    red(LAWS[law], name)


def test_counting_dense_identities_as_products_of_states_is_noticed(monkeypatch):
    edges = mixtures.sizes.edges
    monkeypatch.setattr(mixtures.sizes, "edges", lambda circuit, arrays: edges(circuit, arrays) + 1)
    red(LAWS["size"], "LTM identities")


def test_every_model_is_told_from_its_mirror_image(monkeypatch):
    """`dense` and `contract` go different ways: to swap leaves in one of them only is noticed."""
    dense = mixtures.coefficients.CoefficientTensor.dense
    monkeypatch.setattr(
        mixtures.coefficients.CoefficientTensor,
        "dense",
        lambda self, *budget: dense(self, *budget).permute(*reversed(range(self.variables))),
    )
    for name in ("HMM", "LTM balanced", "HT balanced", "SPN matchings", "Dense with zeros"):
        red(LAWS["dense"], name)
