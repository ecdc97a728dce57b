"""Bridges to tensorly, hmmlearn, pgmpy and einsum: their values are ours."""

from __future__ import annotations

import sys

import numpy as np
import opt_einsum
import pytest
import tensorly
import torch
from tensorly.cp_tensor import CPTensor, cp_to_tensor
from tensorly.tt_tensor import TTTensor, tt_to_tensor

from mixtures import HMM, HT, LTM, SPN, TMM, ConversionError, Linear, Mixture, Tree
from mixtures.components import (
    Bernoulli,
    Categorical,
    Gaussian,
    MultivariateGaussian,
    Poisson,
    Product,
)
from transforms.convert import convert
from transforms.interop import (
    from_hmmlearn,
    from_tensorly,
    to_einsum,
    to_hmmlearn,
    to_pgmpy,
    to_tensorly,
)

from zoo import TREES, fresh, rows

F64 = torch.float64
CP = [name for name in TREES if name.startswith("TMM") and "deep" not in name]
CHAINS = [name for name in TREES if name.startswith("HMM")]
TRAINS = ["HT train", "HT long tied train", "HT of one variable"]


# ---------------------------------------------------------------- tensorly


@pytest.mark.parametrize("name", CP)
def test_a_cp_model_goes_to_tensorly_and_back(name):
    source = fresh(name)
    there = to_tensorly(source)
    np.testing.assert_allclose(cp_to_tensor(there), source.dense(), atol=1e-15)
    back = from_tensorly(there, dtype=F64)
    assert type(back) is TMM
    np.testing.assert_allclose(back.dense(), source.dense(), atol=1e-15)


def test_single_precision_sums_to_one_in_its_own_digits():
    source = TMM(3, [4, 5, 6], 3, dtype=torch.float32, generator=torch.Generator().manual_seed(0))
    back = from_tensorly(to_tensorly(source), dtype=torch.float32)
    np.testing.assert_allclose(back.dense(), source.dense(), atol=1e-7)


@pytest.mark.parametrize("name", [*CHAINS, *TRAINS])
def test_a_chain_goes_to_tensorly_and_back(name):
    source = fresh(name)
    there = to_tensorly(source)
    np.testing.assert_allclose(
        tt_to_tensor(there).reshape(source.shape), source.dense(), atol=1e-15
    )
    back = from_tensorly(there, dtype=F64)
    assert type(back) is HT
    np.testing.assert_allclose(back.dense(), source.dense(), atol=1e-15)


def test_factors_need_not_be_normalised_as_long_as_the_tensor_is():
    rng = np.random.default_rng(0)
    factors = [rng.random((k, 3)) for k in (2, 4, 3)]
    total = cp_to_tensor((np.ones(3), factors)).sum()
    found = from_tensorly(CPTensor((np.ones(3) / total, factors)), dtype=F64)
    np.testing.assert_allclose(found.dense(), cp_to_tensor((np.ones(3) / total, factors)))
    with pytest.raises(ValueError, match=r"sum to one, but they sum to"):
        from_tensorly(CPTensor((np.ones(3), factors)))


def test_a_component_without_mass_is_uniform():
    factors = [np.array([[1.0, 0.0], [0.0, 0.0]]), np.array([[0.5, 1.0], [0.5, 0.0]])]
    found = from_tensorly(CPTensor((np.array([1.0, 5.0]), factors)), dtype=F64)
    np.testing.assert_allclose(found.dense(), [[0.5, 0.5], [0, 0]])
    np.testing.assert_allclose(found.factors[0][1], [0.5, 0.5])


def test_a_real_train_that_is_no_mixture_is_refused_with_the_reason():
    rng = np.random.default_rng(0)
    cores = [rng.normal(size=size) for size in ((1, 2, 3), (3, 2, 2), (2, 2, 1))]
    with pytest.raises(ConversionError, match=r"core 0 has the entry -.*negative"):
        from_tensorly(TTTensor(cores))
    with pytest.raises(ConversionError, match="weights has the entry -1"):
        from_tensorly(CPTensor((np.array([2.0, -1.0]), [np.full((2, 2), 0.5)] * 2)))


def test_what_tensorly_has_no_format_for_is_refused():
    for model, words in [
        (LTM(Tree.balanced(4), 2, 2), "got LTM"),
        (TMM(4, 2, 2, arity=2), "deep TMM"),
        (HT(Tree.balanced(4), 2, 2), "no caterpillar"),
        (convert(TMM(3, 2, 2), HMM, order=[1, 0, 2]), "order"),
    ]:
        with pytest.raises(ConversionError, match=words):
            to_tensorly(model)
    with pytest.raises(ValueError, match="expected a CPTensor or a TTTensor, got ndarray"):
        from_tensorly(np.ones(3))


def test_tensorly_keeps_its_backend():
    before = tensorly.get_backend()
    to_tensorly(HMM(3, 2, 2))
    assert tensorly.get_backend() == before


# ---------------------------------------------------------------- hmmlearn

hmmlearn = pytest.importorskip("hmmlearn.hmm")
R, T = 3, 6


def peers() -> dict:
    rng = np.random.default_rng(1)
    made = {}
    for kind in ("full", "tied", "diag", "spherical"):
        for features in (1, 2):
            peer = hmmlearn.GaussianHMM(R, kind, init_params="")
            peer.n_features, peer.means_ = features, rng.normal(size=(R, features))
            half = rng.normal(size=(R, features, features))
            full = half @ half.swapaxes(1, 2) + np.eye(features)
            spread = np.diagonal(full, axis1=1, axis2=2)
            peer.covars_ = {
                "full": full, "tied": full[0], "diag": spread, "spherical": spread[:, 0],
            }[kind]  # fmt: skip
            made[f"Gaussian {kind} {features}"] = (peer, rng.normal(size=(T, features)))
    peer = hmmlearn.CategoricalHMM(R, n_features=4, init_params="")
    peer.emissionprob_ = rng.dirichlet(np.ones(4), R)
    made["Categorical"] = (peer, rng.integers(4, size=(T, 1)))
    for features in (1, 2):
        peer = hmmlearn.PoissonHMM(R, init_params="")
        peer.n_features, peer.lambdas_ = features, rng.gamma(3, size=(R, features))
        made[f"Poisson {features}"] = (peer, rng.poisson(3, size=(T, features)))
    for peer, _ in made.values():
        peer.startprob_ = rng.dirichlet(np.ones(R))
        peer.transmat_ = rng.dirichlet(np.ones(R), R)
    return made


PEERS = peers()


@pytest.mark.parametrize("name", PEERS)
def test_hmmlearn_goes_here_and_back_with_its_likelihood(name):
    peer, x = PEERS[name]
    mixture = from_hmmlearn(peer, T)
    row = torch.as_tensor(x)[None] if x.shape[1] > 1 else torch.as_tensor(x[:, 0])[None]
    with torch.no_grad():
        assert float(mixture.log_prob(row)) == pytest.approx(peer.score(x), abs=1e-10)
    back = to_hmmlearn(mixture)
    assert type(back) is type(peer) or name.endswith("1")
    assert back.score(x) == pytest.approx(peer.score(x), abs=1e-10)
    np.testing.assert_array_equal(back.predict(x), peer.predict(x))


def test_symbols_behind_an_emission_table_become_one_table():
    g = torch.Generator().manual_seed(0)
    chain = HMM(4, 3, 2, shared=True, generator=g, dtype=F64)
    symbols = rows(g, F64, 1, 3, 5)
    mixture = Mixture(chain, Categorical.from_parameters(symbols, shared=True, variables=4))
    x = torch.tensor([[0, 3, 4, 1]])
    peer = to_hmmlearn(mixture)
    with torch.no_grad():
        assert peer.score(x.numpy().T) == pytest.approx(float(mixture.log_prob(x)), abs=1e-12)


@pytest.mark.parametrize(
    ("mixture", "words"),
    [
        (lambda: Mixture(TMM(3, 2, 2), Gaussian(3, 2)), "expected an HMM"),
        (lambda: Mixture(HMM(3, 2, 2), Gaussian(3, 2)), "one transition table, this HMM has 2"),
        (lambda: Mixture(HMM(3, 2, 2, shared=True), Gaussian(3, 2)), "not shared"),
        (lambda: Mixture(HMM(3, 2, 2, shared=True), Bernoulli(3, 2, shared=True)), "no model for"),
        (lambda: Mixture(HMM(3, 2, 2, shared=True), Gaussian(3, 2, shared=True)), "mix densities"),
    ],
)
def test_what_hmmlearn_cannot_hold_is_refused_with_the_reason(mixture, words):
    with pytest.raises(ConversionError, match=words):
        to_hmmlearn(mixture())


def test_other_models_of_hmmlearn_are_refused():
    with pytest.raises(ConversionError, match="got GMMHMM"):
        from_hmmlearn(hmmlearn.GMMHMM(2), 3)


def test_families_read_from_hmmlearn():
    families = {type(from_hmmlearn(peer, T).components) for peer, _ in PEERS.values()}
    assert families == {Categorical, Gaussian, MultivariateGaussian, Poisson, Product}


# ---------------------------------------------------------------- einsum, pgmpy


@pytest.mark.parametrize("name", TREES)
def test_a_tree_is_one_einsum(name):
    source = fresh(name)
    equation, operands = to_einsum(source)
    np.testing.assert_allclose(opt_einsum.contract(equation, *operands), source.dense(), atol=1e-15)
    leaves = torch.rand(source.variables, max(source.shape), dtype=F64)
    equation, operands = to_einsum(source, leaves)
    with torch.no_grad():
        expected = source.contract(leaves, Linear())
    torch.testing.assert_close(opt_einsum.contract(equation, *operands).reshape(()), expected)


def test_a_latent_is_one_index_of_all_its_children():
    equation, _ = to_einsum(TMM(5, 2, 3, dtype=F64))
    latent = equation.split(",")[1][-1]
    assert sum(latent in term for term in equation.split("->")[0].split(",")) == 6


def test_networks_are_no_einsum_of_tables():
    with pytest.raises(ConversionError, match="got SPN"):
        to_einsum(convert(HMM(3, 2, 2), SPN))
    with pytest.raises(ValueError, match=r"leaves must have shape \(3, 2\)"):
        to_einsum(HMM(3, 2, 2), torch.ones(2, 2))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["LTM identities", "LTM zeros", "HMM unequal", "TMM"])
def test_pgmpy_infers_the_same_joint_distribution(name):
    inference = pytest.importorskip("pgmpy.inference")
    source = fresh(name)
    network = to_pgmpy(source)
    assert network.check_model()
    order = [f"x{j}" for j in range(source.variables)]
    found = inference.VariableElimination(network).query(order, show_progress=False)
    axes = [found.variables.index(name) for name in order]
    np.testing.assert_allclose(found.values.transpose(axes), source.dense(), atol=1e-12)


def test_joint_tables_are_no_bayesian_network_of_latents():
    with pytest.raises(ConversionError, match="joint state"):
        to_pgmpy(HT(Tree.balanced(4), 2, 2))


@pytest.mark.parametrize(
    ("call", "package"),
    [
        (lambda: to_pgmpy(HMM(3, 2, 2)), "pgmpy"),
        (lambda: from_hmmlearn(None, 3), "hmmlearn"),
    ],
)
def test_a_missing_package_is_one_clear_sentence(monkeypatch, call, package):
    for module in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=f"{package} is not installed.*pip install"):
        call()
