"""Mixtures as scikit-learn estimators: densities, and Bayes' rule, with NaN for missing values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy
from numpy.typing import ArrayLike

from mixtures import rows
from mixtures.estimating import Array, Mixtures, generator_of
from mixtures.learn import History
from mixtures.mixture import Mixture
from mixtures.tree import Tree

# isort: split
from sklearn.base import (
    ClassifierMixin,
    ClassNamePrefixFeaturesOutMixin,
    DensityMixin,
    TransformerMixin,
)
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted

__all__ = ["MixtureClassifier", "MixtureEstimator"]


class MixtureEstimator(  # type: ignore[misc]
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, DensityMixin, Mixtures
):
    """The density of rows X (n, d) by a homogeneous mixture; NaN is a missing value, everywhere.

    model: "tmm" (one latent: the classical mixture), "deep" (a balanced tree of latents), "hmm"
    (columns are a sequence), "ltm" (a latent tree), "ht" (a full hierarchical Tucker tensor) or
    "spn" (a random sum-product network). components: a family for all columns ("gaussian",
    "bernoulli", "categorical", "poisson", "binomial", "exponential", "gamma", "lognormal",
    "histogram", "uniform"), a list with one for each, or "auto": Bernoulli for zeros and ones,
    Categorical for small whole numbers in columns of integer, bool or category type, otherwise
    Gaussian. component_options: keywords of the family, e.g. {"pseudo_scatter": 0.1}.

    states: r of every latent; n_components: k densities per column (default: as many as states,
    and then "tmm" and "hmm" are the classical ones). tree: for "ltm" and "ht" a `Tree`,
    "balanced", "chain", "random" or "chow_liu" (default of "ltm"). pseudo_count, method, max_iter,
    tol, restarts, start and batch_size are those of `mixtures.learn.fit`. Gaussian components have
    floors in units of the data: put a StandardScaler before columns that are very small or large.

    Attributes: `model_` the fitted `Mixture`, with every query of the library; `history_`;
    `n_iter_`; `n_features_in_`; `feature_names_in_`.

    >>> X = [[0.0, 1.0], [0.1, float("nan")], [5.0, 4.0], [5.2, 4.1]]
    >>> density = MixtureEstimator(states=2, random_state=0).fit(X)
    >>> density.score_samples(X).shape, density.complete([[5.1, float("nan")]]).shape
    ((4,), (1, 2))
    """

    model_: Mixture
    history_: History

    def fit(
        self, X: Any, y: Any = None, sample_weight: ArrayLike | None = None
    ) -> MixtureEstimator:
        """Learn from rows X (n, d), NaN where missing, with non-negative weights (n,)."""
        x = self.checked_rows(X, reset=True)
        weights = _check_sample_weight(sample_weight, x, ensure_non_negative=True)
        random = generator_of(self.random_state)
        plan = self.planned(X, x)
        self.model_, self.history_ = self.learned(plan, x, x, weights, random)
        self.n_iter_ = max(1, len(self.history_))
        tensor = self.model_.coefficients
        self._n_features_out = sum(tensor.num_states(name) for name in tensor.latents)
        return self

    def score_samples(self, X: Any) -> Array:
        """log f(x) of every row, (n,), missing values summed out."""
        check_is_fitted(self)
        found: Array = self.model_.log_prob(self.checked_rows(X)).double().cpu().numpy()
        return found

    def score(self, X: Any, y: Any = None) -> float:
        """The mean of log f(x) over the rows."""
        return float(self.score_samples(X).mean())

    def sample(self, n_samples: int = 1) -> Array:
        """Rows (n_samples, d) drawn from the density."""
        check_is_fitted(self)
        if n_samples < 1:
            raise ValueError(f"n_samples must be at least 1, got {n_samples}")
        drawn = self.model_.sample(n_samples, generator=generator_of(self.random_state))
        found: Array = drawn.double().cpu().numpy()
        return found

    def complete(self, X: Any, how: str = "mean") -> Array:
        """X with missing values filled in: by posterior means, or how="sample" by a joint draw."""
        check_is_fitted(self)
        x = self.checked_rows(X)
        random = generator_of(self.random_state)
        found: Array = self.model_.complete(x, how=how, generator=random).double().cpu().numpy()
        return numpy.where(numpy.isnan(x), found, x)

    def predict_proba(self, X: Any) -> Array:
        """Posterior of the root latent's states, (n, r): of a "tmm" the shares of its clusters."""
        check_is_fitted(self)
        root = self.model_.coefficients.latents[-1]
        found: Array = self._states(X)[root]
        return found

    def predict(self, X: Any) -> Array:
        """The most probable state of the root latent, (n,): of a "tmm" the cluster of a row."""
        found: Array = self.predict_proba(X).argmax(1)
        return found

    def transform(self, X: Any) -> Array:
        """Posteriors of all latents' states side by side, (n, sum of r): features for others.

        Of an "spn" the latents are its sums, with probability zero where a row does not visit them.
        """
        check_is_fitted(self)
        return numpy.concatenate(list(self._states(X).values()), axis=1)

    def aic(self, X: Any) -> float:
        """Akaike's criterion on X, of the identifiable dimension; lower is better."""
        check_is_fitted(self)
        return float(self.model_.aic(self.checked_rows(X)))

    def bic(self, X: Any) -> float:
        """The Bayesian information criterion on X; lower is better."""
        check_is_fitted(self)
        return float(self.model_.bic(self.checked_rows(X)))

    def _states(self, X: Any) -> dict[Any, Array]:
        tensor = self.model_.coefficients
        found = rows.states_of(tensor, self.model_.sweep(self.checked_rows(X), keep_states=True))
        return {name: value.double().cpu().numpy() for name, value in found.items()}


class MixtureClassifier(ClassifierMixin, Mixtures):  # type: ignore[misc]
    """Bayes' rule with one mixture per class: P(c | x) is P(c) f_c(x) over the sum of all classes.

    Missing values (NaN) are summed out of f_c(x), so that rows are classified by what is known of
    them, without imputing; that is right where what is missing does not depend on what it hides.
    Parameters are those of `MixtureEstimator`; class_prior: P(c) in the order of `classes_`
    (default: the classes' shares of the weights).

    Attributes: `classes_`; `models_`, a `Mixture` for each; `histories_`; `class_prior_`;
    `n_iter_`; `n_features_in_`; `feature_names_in_`.

    Source: Sharir, Tamari, Cohen, Shashua, Tensorial mixture models, 2016.

    >>> X = [[0.0, 1.0], [0.1, float("nan")], [5.0, 4.0], [5.2, 4.1]]
    >>> classifier = MixtureClassifier(states=1).fit(X, ["a", "a", "b", "b"])
    >>> classifier.predict([[float("nan"), 4.0]]).tolist()
    ['b']
    """

    models_: list[Mixture]
    histories_: list[History]

    def __init__(
        self,
        model: str = "tmm",
        components: str | Sequence[str] = "auto",
        *,
        class_prior: ArrayLike | None = None,
        states: int = 8,
        n_components: int | None = None,
        tree: str | Tree | None = None,
        pseudo_count: float = 0.1,
        component_options: Mapping[str, Any] | None = None,
        method: str = "em",
        max_iter: int = 100,
        tol: float = 1e-5,
        restarts: int = 1,
        start: str = "data",
        batch_size: int | None = None,
        dtype: str = "float64",
        device: str | None = None,
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        super().__init__(
            model,
            components,
            states=states,
            n_components=n_components,
            tree=tree,
            pseudo_count=pseudo_count,
            component_options=component_options,
            method=method,
            max_iter=max_iter,
            tol=tol,
            restarts=restarts,
            start=start,
            batch_size=batch_size,
            dtype=dtype,
            device=device,
            random_state=random_state,
            verbose=verbose,
        )
        self.class_prior = class_prior

    def fit(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> MixtureClassifier:
        """Learn from rows X (n, d) of the classes y (n,), with non-negative weights (n,)."""
        x, labels = self.checked_rows(X, reset=True, y=y)
        check_classification_targets(labels)
        weights = _check_sample_weight(sample_weight, x, ensure_non_negative=True)
        known = labels[weights > 0]
        self.classes_ = numpy.unique(known if len(known) else labels)
        self.class_prior_ = self._prior(labels, weights)
        plan, random = self.planned(X, x[weights > 0]), generator_of(self.random_state)
        self.models_, self.histories_ = [], []
        for label in self.classes_:
            inside = labels == label
            found = self.learned(plan, x[inside], x[weights > 0], weights[inside], random)
            self.models_.append(found[0])
            self.histories_.append(found[1])
        self.n_iter_ = max(1, *(len(history) for history in self.histories_))
        return self

    def predict_log_proba(self, X: Any) -> Array:
        """log P(c | x), (n, classes); ValueError for rows that no class makes possible."""
        joint = self._joint(X)
        total = numpy.logaddexp.reduce(joint, axis=1, keepdims=True)
        found: Array = joint - total
        return found

    def predict_proba(self, X: Any) -> Array:
        """P(c | x), (n, classes)."""
        return numpy.exp(self.predict_log_proba(X))

    def predict(self, X: Any) -> Array:
        """The most probable class of every row, (n,)."""
        best = self._joint(X).argmax(1)
        found: Array = self.classes_[best]
        return found

    def score_samples(self, X: Any) -> Array:
        """log f(x) of every row, whatever its class, (n,)."""
        found: Array = numpy.logaddexp.reduce(self._joint(X), axis=1)
        return found

    def _joint(self, X: Any) -> Array:
        """log P(c) f_c(x), (n, classes)."""
        check_is_fitted(self)
        x = self.checked_rows(X)
        data = self.models_[0].encode(x)
        logs = [model.log_prob(data).double().cpu().numpy() for model in self.models_]
        with numpy.errstate(divide="ignore"):
            joint: Array = numpy.stack(logs, 1) + numpy.log(self.class_prior_)
        impossible = (joint == -numpy.inf).all(1)
        if impossible.any():
            row = int(impossible.argmax())
            raise ValueError(f"row {row} has probability zero in every class, so it has no class")
        return joint

    def _prior(self, labels: Array, weights: Array) -> Array:
        if self.class_prior is None:
            shares = numpy.array([weights[labels == label].sum() for label in self.classes_])
            found: Array = shares / shares.sum()
            return found
        prior = numpy.asarray(self.class_prior, dtype=numpy.float64)
        if prior.shape != self.classes_.shape:
            raise ValueError(
                f"class_prior must hold {len(self.classes_)} numbers, one a class, got shape "
                f"{prior.shape}"
            )
        if not ((prior >= 0).all() and abs(prior.sum() - 1) < 1e-8):
            raise ValueError(
                f"class_prior must be non-negative and sum to one, got {prior.tolist()}"
            )
        return prior
