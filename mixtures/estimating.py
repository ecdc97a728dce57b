"""What scikit-learn estimators of mixtures share: parameters, checks of rows, and learning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy
import torch
from numpy.typing import NDArray

from mixtures import blueprint, tabular
from mixtures.blueprint import Blueprint
from mixtures.learn import History, fit
from mixtures.mixture import Mixture
from mixtures.tree import Tree

try:
    from sklearn.base import BaseEstimator
    from sklearn.utils import check_random_state
    from sklearn.utils.validation import validate_data
except ImportError:
    raise ImportError(
        "these estimators need scikit-learn 1.6: pip install 'homogeneous-mixtures[sklearn]'"
    ) from None

Array = NDArray[Any]


class Mixtures(BaseEstimator):  # type: ignore[misc]
    """Parameters of `mixtures.learn.fit` by name, and a mixture learned from checked rows."""

    def __init__(
        self,
        model: str = "tmm",
        components: str | Sequence[str] = "auto",
        *,
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
        self.model = model
        self.components = components
        self.states = states
        self.n_components = n_components
        self.tree = tree
        self.pseudo_count = pseudo_count
        self.component_options = component_options
        self.method = method
        self.max_iter = max_iter
        self.tol = tol
        self.restarts = restarts
        self.start = start
        self.batch_size = batch_size
        self.dtype = dtype
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def checked_rows(self, X: Any, *, reset: bool = False, y: Any = "no_validation") -> Any:
        """X checked as scikit-learn does, float64; text is refused by the name of its column."""
        options = {"dtype": numpy.float64, "ensure_all_finite": "allow-nan", "reset": reset}
        try:
            return validate_data(self, X, y, **options)
        except ValueError as error:
            text = tabular.column_of_text(X, vars(self).get("feature_names_in_"))
            if text is None:
                raise
            raise ValueError(
                f"{text}: expected numbers, NaN where missing; an OrdinalEncoder makes numbers of "
                f"text, for components='categorical'"
            ) from error

    def planned(self, given: Any, x: Array) -> Blueprint:
        return blueprint.checked(
            x,
            tabular.whole_by_type(given, x.shape[1]),
            model=self.model,
            components=self.components,
            states=self.states,
            n_components=self.n_components,
            tree=self.tree,
            dtype=self.dtype,
            device=self.device,
            options=self.component_options,
            names=vars(self).get("feature_names_in_"),
        )

    def learned(
        self, plan: Blueprint, x: Array, everything: Array, weights: Array, random: torch.Generator
    ) -> tuple[Mixture, History]:
        """One mixture of rows x with weights, learned by `mixtures.learn.fit`.

        Equal rows are put together first, so that a weight of two is a row given twice.
        """
        x, weights = tabular.distinct(x, weights)
        mixture = plan.build(x, everything, random)
        history = fit(
            mixture,
            x,
            method=self.method,
            weights=weights,
            pseudo_count=self.pseudo_count,
            max_iter=self.max_iter,
            tol=self.tol,
            restarts=self.restarts,
            start=self.start,
            batch_size=self.batch_size,
            progress=bool(self.verbose),
            generator=random,
        )
        return mixture.requires_grad_(False), history


def generator_of(random_state: Any) -> torch.Generator:
    """What scikit-learn's random_state stands for, as torch takes it."""
    return torch.Generator().manual_seed(int(check_random_state(random_state).randint(2**31 - 1)))
