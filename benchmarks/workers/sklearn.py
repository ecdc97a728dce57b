"""scikit-learn: GaussianMixture with diagonal covariances, its own start replaced by the given one.

`init_params="random_from_data"` is the cheapest of its starts, all of which it runs before it takes
the given one.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from benchmarks.protocol import Arrays, Case

warnings.simplefilter("ignore", ConvergenceWarning)  # 10 iterations are what is asked for


def model_of(arrays: Arrays) -> Any:
    """The mixture given, ready to be fitted."""
    return GaussianMixture(
        len(arrays["weights"]),
        covariance_type="diag",
        reg_covar=0.0,
        tol=0.0,
        max_iter=10,
        init_params="random_from_data",
        random_state=0,
        weights_init=arrays["weights"],
        means_init=arrays["mean"],
        precisions_init=1 / arrays["variance"],
    )


def likelihood(arrays: Arrays) -> Case:
    """`score_samples`."""
    model = model_of(arrays)
    model.weights_, model.means_ = arrays["weights"], arrays["mean"]
    model.covariances_ = arrays["variance"]
    model.precisions_cholesky_ = arrays["variance"] ** -0.5
    return Case(lambda: model.score_samples(arrays["x"]), lambda found: {"rows": found})


def learning(arrays: Arrays) -> Case:
    """`fit`, 10 iterations."""

    def results(model: Any) -> dict[str, Any]:
        order = numpy.argsort(arrays["mean"][:, 0], kind="stable")
        return {"mean": model.means_[order], "total": model.score(arrays["x"])}

    return Case(lambda: model_of(arrays).fit(arrays["x"]), results)


CASES = {"gaussians": likelihood, "gaussians-em": learning}
DISTRIBUTIONS = ("scikit-learn", "numpy")
