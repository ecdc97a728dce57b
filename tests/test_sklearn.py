"""scikit-learn estimators: what scikit-learn itself checks, and what mixtures add to it."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from mixtures import LTM, Tree
from mixtures.learn import chow_liu

pytest.importorskip("sklearn", "1.6")
pandas = pytest.importorskip("pandas")

from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris, load_wine
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.naive_bayes import BernoulliNB, GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from mixtures import blueprint, tabular
from mixtures.sklearn import MixtureClassifier, MixtureEstimator

BOTH = [MixtureEstimator, MixtureClassifier]
each_model = pytest.mark.parametrize("model", blueprint.MODELS)


def holes(x, share=0.3, seed=0):
    random = np.random.default_rng(seed)
    return np.where(random.random(x.shape) < share, np.nan, x)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@each_model
@pytest.mark.parametrize("kind", BOTH)
def test_scikit_learn_finds_nothing_wrong(kind, model):
    found = check_estimator(kind(model, states=3), on_fail=None, on_skip=None)
    assert len(found) > 50
    wrong = [each for each in found if each["status"] not in ("passed", "skipped")]
    assert not wrong, wrong
    skipped = [each["check_name"] for each in found if each["status"] == "skipped"]
    assert skipped in ([], ["check_array_api_input"])


def test_one_gaussian_is_the_normal_distribution_with_free_priors():
    x = load_iris().data
    options = {"pseudo_scatter": 0.0}
    found = MixtureEstimator(states=1, component_options=options).fit(x).score_samples(x)
    truth = multivariate_normal(x.mean(0), np.diag(x.var(0))).logpdf(x)
    np.testing.assert_allclose(found, truth, rtol=1e-9)


def test_a_fitted_mixture_is_a_fixed_point_of_scikit_learns_em():
    """Started from our parameters, GaussianMixture (diagonal) gains nothing and scores alike."""
    x = load_iris().data
    options = {"pseudo_scatter": 0.0}
    ours = MixtureEstimator(
        states=3,
        component_options=options,
        pseudo_count=0,
        tol=1e-12,
        max_iter=2000,
        random_state=0,
    ).fit(x)
    leaves, weights = ours.model_.components, ours.model_.coefficients.weights
    theirs = GaussianMixture(
        3,
        covariance_type="diag",
        reg_covar=0,
        weights_init=weights.numpy(),
        means_init=leaves.mean().T.numpy(),
        precisions_init=1 / leaves.variance().T.numpy(),
        tol=1e-12,
        max_iter=5,
    )
    theirs.fit(x)
    assert theirs.score(x) == pytest.approx(ours.score(x), rel=1e-7)
    np.testing.assert_allclose(theirs.predict_proba(x), ours.predict_proba(x), atol=1e-4)
    assert ours.bic(x) == pytest.approx(theirs.bic(x), rel=1e-6)
    assert ours.aic(x) == pytest.approx(theirs.aic(x), rel=1e-6)


def test_one_state_is_naive_bayes():
    x, y = load_wine(return_X_y=True)
    free = {"pseudo_scatter": 0.0}
    ours = MixtureClassifier(states=1, component_options=free).fit(x, y)
    theirs = GaussianNB(var_smoothing=0).fit(x, y)
    np.testing.assert_allclose(ours.predict_proba(x), theirs.predict_proba(x), atol=1e-8)
    x = (x > np.median(x, 0)).astype(int)
    smoothed = {"pseudo_count": 1.0}
    ours = MixtureClassifier(components="bernoulli", states=1, component_options=smoothed).fit(x, y)
    theirs = BernoulliNB(alpha=1.0).fit(x, y)
    np.testing.assert_allclose(ours.predict_proba(x), theirs.predict_proba(x), atol=1e-8)


@each_model
def test_missing_values_are_summed_out(model):
    """Of a row with a hole in a binary column the density is the sum over its values."""
    x = (load_digits().data[:200, 18:24] > 7).astype(int)
    density = MixtureEstimator(model, states=2, max_iter=5, random_state=0).fit(holes(x))
    row = np.where(np.arange(6) == 2, np.nan, x[:1].astype(float))
    parts = [np.where(np.isnan(row), value, row) for value in (0.0, 1.0)]
    total = np.logaddexp(*density.score_samples(np.concatenate(parts)))
    assert density.score_samples(row)[0] == pytest.approx(total, rel=1e-10)
    assert density.score_samples([[np.nan] * 6]) == pytest.approx(0.0, abs=1e-12)


@each_model
def test_posteriors_samples_and_completions_have_their_shapes(model):
    x = holes(load_iris().data)
    density = MixtureEstimator(model, states=2, max_iter=5, random_state=0).fit(x)
    features = density.transform(x)
    assert len(density.get_feature_names_out()) == features.shape[1]
    tensor = density.model_.coefficients
    if model != "spn":  # of whose sums a row visits a few only
        assert features.sum(1) == pytest.approx(len(tensor.latents), rel=1e-9)
    np.testing.assert_array_equal(density.predict(x), density.predict_proba(x).argmax(1))
    drawn = density.sample(7)
    assert drawn.shape == (7, 4)
    np.testing.assert_array_equal(drawn, density.sample(7))
    for how in ("mean", "sample"):
        whole = density.complete(x, how=how)
        assert np.isfinite(whole).all()
        np.testing.assert_array_equal(whole[~np.isnan(x)], x[~np.isnan(x)])


def test_the_classifier_beats_imputed_naive_bayes_on_rows_with_holes():
    x, y = load_digits(return_X_y=True)
    x = (x > 7).astype(int)
    train, test = slice(0, 1200), slice(1200, None)
    seen = holes(x[test], 0.6)
    ours = MixtureClassifier(states=10, max_iter=30, random_state=0).fit(x[train], y[train])
    other = make_pipeline(SimpleImputer(), LogisticRegression(max_iter=1000)).fit(
        x[train], y[train]
    )
    assert ours.score(seen, y[test]) > other.score(seen, y[test]) + 0.05


def test_bayes_rule_is_priors_times_densities():
    x, y = load_iris(return_X_y=True)
    prior = [0.2, 0.3, 0.5]
    found = MixtureClassifier(states=2, class_prior=prior, random_state=0).fit(x, y)
    joint = np.stack([m.log_prob(x).exp().numpy() for m in found.models_], 1) * prior
    np.testing.assert_allclose(found.predict_proba(x), joint / joint.sum(1, keepdims=True))
    np.testing.assert_allclose(found.score_samples(x), np.log(joint.sum(1)))
    np.testing.assert_allclose(np.exp(found.predict_log_proba(x)), found.predict_proba(x))
    assert MixtureClassifier(states=1).fit(x[:120], y[:120]).class_prior_ == pytest.approx(
        [5 / 12, 5 / 12, 2 / 12]
    )


@pytest.mark.parametrize("kind", BOTH)
def test_a_weight_of_two_is_a_row_given_twice_in_any_order(kind):
    x, y = load_iris(return_X_y=True)
    x = holes(x)
    weights = np.random.default_rng(0).integers(0, 3, len(x))
    order = np.random.default_rng(1).permutation(np.repeat(np.arange(len(x)), weights))
    one = kind(states=2, random_state=0).fit(x, y, sample_weight=weights)
    two = kind(states=2, random_state=0).fit(x[order], y[order])
    np.testing.assert_array_equal(one.score_samples(x), two.score_samples(x))


@pytest.mark.parametrize("kind", BOTH)
def test_estimators_are_cloned_and_pickled(kind):
    x, y = load_iris(return_X_y=True)
    found = kind("deep", states=2, max_iter=5, random_state=0).fit(x, y)
    again = pickle.loads(pickle.dumps(found))
    np.testing.assert_array_equal(found.score_samples(x), again.score_samples(x))
    fresh = clone(found)
    assert fresh.get_params() == found.get_params() and not vars(fresh).get("n_iter_")
    np.testing.assert_array_equal(fresh.fit(x, y).score_samples(x), found.score_samples(x))


def test_pipelines_and_grid_searches_choose_by_held_out_likelihood():
    x, y = load_iris(return_X_y=True)
    steps = make_pipeline(StandardScaler(), MixtureEstimator(random_state=0, max_iter=20))
    grid = {"mixtureestimator__states": [1, 3], "mixtureestimator__model": ["tmm", "ltm"]}
    folds = KFold(3, shuffle=True, random_state=0)
    search = GridSearchCV(steps, grid, cv=folds, error_score="raise").fit(holes(x, 0.1))
    scores = cross_val_score(
        steps.set_params(**search.best_params_), holes(x, 0.1), cv=folds, error_score="raise"
    )
    assert search.best_score_ == pytest.approx(scores.mean())
    assert search.best_params_["mixtureestimator__states"] == 3
    rule = make_pipeline(StandardScaler(), MixtureClassifier(states=2, random_state=0))
    assert cross_val_score(rule, holes(x, 0.2), y, cv=5, error_score="raise").mean() > 0.85
    features = make_pipeline(
        StandardScaler(), MixtureEstimator(states=5, random_state=0), LogisticRegression()
    )
    assert features.fit(x, y).score(x, y) > 0.85


def frame():
    return pandas.DataFrame(
        {
            "length": [1.5, 2.5, np.nan, 3.0, 0.1, 0.4],
            "kind": pandas.array([0, 2, None, 1, 2, 2], dtype="Int64"),
            "alive": [True, False, True, True, False, True],
        }
    )


def test_columns_of_a_data_frame_get_their_families_and_names():
    density = MixtureEstimator(states=2, max_iter=3).fit(frame())
    assert list(density.feature_names_in_) == ["length", "kind", "alive"]
    assert density.model_.names == ("length", "kind", "alive")
    titles = [density.model_.components._title(j) for j in range(3)]
    assert titles == ["Gaussian", "Categorical", "Bernoulli"]
    assert np.isfinite(density.score_samples(frame())).all()
    out = density.set_output(transform="pandas").transform(frame())
    assert list(out.columns) == ["mixtureestimator0", "mixtureestimator1"]
    with pytest.raises(ValueError, match="feature names"):
        density.score_samples(frame().rename(columns={"kind": "sort"}))
    worse = frame().assign(kind=[0, 2, 7, 1, 2, 2])
    with pytest.raises(ValueError, match=r"'kind', row 2: 7 is outside the domain of Categorical"):
        density.score_samples(worse)


def test_text_is_refused_by_the_name_of_its_column():
    named = frame().assign(colour=["red"] * 6)
    with pytest.raises(ValueError, match=r"column 'colour', row 0 holds the text 'red'.*Ordinal"):
        MixtureEstimator().fit(named)
    with pytest.raises(ValueError, match=r"column 1, row 1 holds the text 'b'"):
        MixtureClassifier().fit([[1, 2], [3, "b"]], [0, 1])


X, Y = [[0.0, 1.0], [1.0, 0.5], [2.0, 0.2]], [0, 1, 1]


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"model": "cnn"}, "model must be one of tmm, deep, hmm, ltm, ht, spn, got 'cnn'"),
        ({"components": "normal"}, "components must be one of auto, bernoulli"),
        ({"components": ["gaussian"]}, "components for 2 columns, got 1"),
        ({"states": 0}, "states must be"),
        ({"n_components": 0}, "n_components must be"),
        ({"tree": "chain"}, "tree= is for the models ltm and ht"),
        ({"model": "ltm", "tree": "oak"}, "tree must be a Tree or one of"),
        ({"dtype": "int8"}, "dtype must be"),
        ({"method": "magic"}, "method must be"),
        ({"tol": -1.0}, "tol must be"),
        ({"restarts": 0}, "restarts"),
        ({"start": "nowhere"}, "start must be one of 'data', 'k-means'"),
        ({"start": "k-means", "model": "ht"}, "start='k-means' is for trees"),
        ({"components": "bernoulli"}, "outside the domain of Bernoulli"),
    ],
)
def test_bad_parameters_are_refused_when_fitting(kind, options, what):
    with pytest.raises(ValueError, match=what):
        kind(**options).fit(X, Y)


def test_clusters_of_rows_are_a_start():
    rows = np.repeat([[0.0, 9.0], [9.0, 0.0], [9.0, 9.0]], 10, 0) + np.arange(30)[:, None] / 60
    found = MixtureEstimator(states=3, start="k-means", max_iter=1, random_state=0).fit(rows)
    assert len(set(found.predict(rows))) == 3


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"class_prior": [1.0]}, "class_prior must hold 2 numbers"),
        ({"class_prior": [0.5, 0.6]}, "sum to one"),
    ],
)
def test_bad_priors_are_refused(given, what):
    with pytest.raises(ValueError, match=what):
        MixtureClassifier(**given).fit(X, Y)


def test_bad_rows_are_refused():
    found = MixtureEstimator(states=1).fit(X)
    with pytest.raises(ValueError, match="expecting 2 features"):
        found.score_samples([[1.0]])
    with pytest.raises(ValueError, match="infinity"):
        found.score_samples([[np.inf, 0.0]])
    with pytest.raises(ValueError, match="n_samples"):
        found.sample(0)
    with pytest.raises(ValueError, match=r"[Nn]egative"):
        found.fit(X, sample_weight=[1, 1, -1])
    with pytest.raises(ValueError, match="zero"):
        found.fit(X, sample_weight=[0, 0, 0])
    uniform = MixtureClassifier(components="uniform", component_options={"high": 2.0}).fit(X, Y)
    assert uniform.predict([[np.nan, np.nan]]) == [1]


@pytest.mark.parametrize("components", list(blueprint.OF_COLUMNS))
def test_every_family_of_numbers_has_a_name(components):
    x = np.random.default_rng(0).integers(0, 2, (40, 3)).astype(float)
    x[:, 1] = np.nan  # a column of which nothing was seen
    if components in ("exponential", "gamma", "lognormal"):
        x += 0.5
    options = {"histogram": {"edges": [-0.5, 0.5, 1.5]}, "uniform": {"high": 2.0}}
    density = MixtureEstimator(
        states=2, components=components, component_options=options.get(components), max_iter=4
    ).fit(x)
    assert type(density.model_.components).__name__.lower() == components
    assert np.isfinite(density.score(x))


def test_a_latent_tree_follows_the_data():
    random = np.random.default_rng(0)
    walk = random.standard_normal((400, 6)).cumsum(1)
    order = [3, 0, 5, 1, 4, 2]
    graph = chow_liu(blueprint.symbols(walk[:, order]))
    assert {tuple(sorted((order[a], order[b]))) for a, b in graph.edges} == {
        (j, j + 1) for j in range(5)
    }
    density = MixtureEstimator("ltm", states=2, max_iter=2).fit(walk)
    assert isinstance(density.model_.coefficients, LTM)
    assert (
        density.model_.coefficients.tree.children
        == Tree.from_graph(chow_liu(blueprint.symbols(walk))).children
    )
    own = Tree.caterpillar(6)
    assert MixtureEstimator("ht", tree=own, max_iter=2).fit(walk).model_.coefficients.tree is own


def test_symbols_keep_small_whole_numbers_and_cut_the_rest():
    x = np.array([[0, 0.5, np.nan], [2, 0.1, np.nan], [np.nan, 9.0, np.nan]])
    found = blueprint.symbols(x)
    assert found[:, 0].filled(-1).tolist() == [0, 2, -1]
    assert np.argsort(found[:, 1]).tolist() == [1, 0, 2]
    assert found[:, 2].tolist() == [0, 0, 0]


def test_distinct_rows_are_those_of_numpy(monkeypatch):
    random = np.random.default_rng(0)
    x = random.integers(0, 3, (200, 3)).astype(float)
    weights = random.random(200)
    rows, found = tabular.distinct(x, weights)
    expected, inverse = np.unique(x, axis=0, return_inverse=True)
    np.testing.assert_array_equal(rows, expected)
    np.testing.assert_allclose(found, np.bincount(inverse.reshape(-1), weights))
    x[x == 1] = np.nan
    rows, found = tabular.distinct(x, weights)
    assert len(rows) == 27 and found.sum() == pytest.approx(weights.sum())
    monkeypatch.setattr(tabular, "MOST_ROWS", 100)
    weights[:3] = 0
    rows, found = tabular.distinct(x, weights)
    np.testing.assert_array_equal(rows, x[3:])
    np.testing.assert_array_equal(found, weights[3:])


def test_single_precision_and_a_device_are_passed_on():
    found = MixtureEstimator(states=2, dtype="float32", device="cpu", max_iter=2).fit(X)
    assert found.model_.coefficients.dtype == torch.float32
    assert found.score_samples(X).dtype == np.float64
