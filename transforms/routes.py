"""How a converted model was made, so that it can be made again over another field."""

from __future__ import annotations

import weakref
from dataclasses import dataclass

from mixtures.coefficients import CoefficientTensor
from transforms.fields import Field
from transforms.registry import Converter, Options


@dataclass(frozen=True)
class Step:
    """One converter that was applied, and the edges it promised for the model it was given."""

    converter: Converter
    bound: int


@dataclass(frozen=True)
class Route:
    """The steps from one model to another."""

    steps: tuple[Step, ...]
    options: Options

    def follow(self, model: CoefficientTensor, over: Field) -> CoefficientTensor:
        """The conversion of a model over a field; the result holds elements of the field."""
        for step in self.steps:
            model = step.converter.function(model, over, self.options)
        return model


_routes: weakref.WeakKeyDictionary[CoefficientTensor, Route] = weakref.WeakKeyDictionary()


def route(model: CoefficientTensor) -> Route | None:
    """The converters that made a model; None for a model made otherwise."""
    return _routes.get(model)


def remember(model: CoefficientTensor, made_by: Route) -> None:
    """Keep the route by which a model was made, as long as the model lives."""
    _routes[model] = made_by
