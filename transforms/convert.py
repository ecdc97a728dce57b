"""Conversion: the cheapest route from a model to a class, its sizes checked beforehand."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TypeVar, overload

from mixtures import ConversionError, Mixture, SizeError
from mixtures.coefficients import CoefficientTensor
from mixtures.tree import Tree
from mixtures.treetensor import TreeTensor
from transforms import expand, induced, networks, ontotrees, selfsimilar, upward  # noqa: F401
from transforms.fields import Floats
from transforms.registry import COSTS, ZOO, Converter, Options, between, converter, converters
from transforms.routes import Route, Step, remember

__all__ = ["BUDGET", "UnaskedError", "UnmetError", "convert", "converter", "converters"]

BUDGET = 2**24  # edges a polynomial converter may make without being told to
LINEAR = 8  # times the edges of the source a linear one may make, if that is more
LONGEST = 4  # steps of a route

Target = TypeVar("Target", bound=CoefficientTensor)


class UnaskedError(ConversionError, SizeError):
    """Only an exponential converter applies, and no `budget=` asked for it."""


class UnmetError(ConversionError):
    """The conditions of all converters of a pair fail for this model."""


@overload
def convert(
    model: CoefficientTensor,
    target: type[Target],
    *,
    budget: int | None = ...,
    tree: Tree | None = ...,
    order: Sequence[int] | None = ...,
) -> Target: ...


@overload
def convert(
    model: Mixture,
    target: type[CoefficientTensor],
    *,
    budget: int | None = ...,
    tree: Tree | None = ...,
    order: Sequence[int] | None = ...,
) -> Mixture: ...


def convert(
    model: CoefficientTensor | Mixture,
    target: type[CoefficientTensor],
    *,
    budget: int | None = None,
    tree: Tree | None = None,
    order: Sequence[int] | None = None,
) -> CoefficientTensor | Mixture:
    """A model of class `target` with the same W; a mixture keeps its components.

    Direct converters are taken where they apply, compositions of up to four where not, the cheapest
    first (see `converters`). budget: the most edges the target may have; without one, polynomial
    maps stop at 2^24 edges and exponential ones are refused. tree: the tree of an LTM; order: the
    order of the variables along an HMM (default: a good one). A model that is of the class already
    is returned as it is. TMM as a target means CP. Raises ConversionError where no converter
    applies, naming the property that failed; SizeError before anything larger than the budget is
    built, naming the size.

    >>> from mixtures import LTM, SPN, Tree
    >>> W = LTM(Tree.balanced(4), components=2, states=2)
    >>> convert(W, SPN).size
    38
    """
    if isinstance(model, Mixture):
        changed = convert(model.coefficients, target, budget=budget, tree=tree, order=order)
        return Mixture(changed, model.components)
    options = _checked(model, target, budget, tree, order)
    if isinstance(model, target) and _as_asked(model, options):
        return model
    search = _Search(model, options)
    for classes in _itineraries(type(model), target):
        found = search.follow(classes)
        if found is not None:
            return found
    raise search.reason(target)


def _as_asked(model: CoefficientTensor, options: Options) -> bool:
    """Whether a model has the tree and the order asked for, if any was."""
    if options.tree is None and options.order is None:
        return True
    if not isinstance(model, TreeTensor):
        return False
    tree, order = options.tree or model.tree, options.order or model.tree.leaves
    return (tree, order) == (model.tree, model.tree.leaves)


def _checked(
    model: CoefficientTensor,
    target: type[CoefficientTensor],
    budget: int | None,
    tree: Tree | None,
    order: Sequence[int] | None,
) -> Options:
    if not isinstance(model, CoefficientTensor):
        raise ValueError(
            f"expected a coefficient tensor or a Mixture, got {type(model).__name__}; "
            f"Dense(tensor) makes one of an array"
        )
    if not (isinstance(target, type) and issubclass(target, CoefficientTensor)):
        raise ValueError(f"expected a class such as LTM or SPN as the target, got {target!r}")
    if budget is not None and budget < 1:
        raise ValueError(f"budget must be a positive number of edges, got {budget}")
    if tree is not None and tree.variables != model.variables:
        raise ValueError(f"the tree has {tree.variables} variables, the model {model.variables}")
    if order is not None:
        order = tuple(int(j) for j in order)
        if sorted(order) != list(range(model.variables)):
            raise ValueError(
                f"order must be a permutation of 0..{model.variables - 1}, got {order}"
            )
    return Options(budget, tree, order)


def _itineraries(source: type, target: type) -> list[tuple[type, ...]]:
    """Sequences of classes from source to target: the direct one, then by cost and length."""
    between_them = [kind for kind in ZOO if kind not in (source, target)]
    found = []
    for count in range(LONGEST):
        for middle in itertools.permutations(between_them, count):
            path = (source, *middle, target)
            legs = [between(a, b) for a, b in itertools.pairwise(path)]
            if all(legs):
                cost = max(COSTS.index(leg[0].cost) for leg in legs)
                found.append((count > 0, cost, count, path))
    return [path for *_, path in sorted(found, key=lambda entry: entry[:3])]


class _Search:
    """Follows itineraries, each leg once; remembers what was refused and why."""

    def __init__(self, model: CoefficientTensor, options: Options) -> None:
        self.options = options
        self.source = model
        start: tuple[type, ...] = (type(model),)
        self.reached = {start: (model, Route((), options))}
        self.refusals: dict[tuple[type, ...], ValueError] = {}

    def follow(self, classes: tuple[type, ...]) -> CoefficientTensor | None:
        """The model at the end of an itinerary; None where a leg is refused."""
        for length in range(2, len(classes) + 1):
            legs = classes[:length]
            if legs in self.refusals:
                return None
            if legs not in self.reached:
                try:
                    self._leg(legs)
                except (ConversionError, SizeError) as refusal:
                    self.refusals[legs] = refusal
                    return None
        model, made_by = self.reached[classes]
        if made_by.steps:
            remember(model, made_by)
        return model

    def _leg(self, legs: tuple[type, ...]) -> None:
        model, made_by = self.reached[legs[:-1]]
        step = _choose(model, between(legs[-2], legs[-1]), self.options)
        made = step.converter.function(model, Floats(), self.options)
        self.reached[legs] = made, Route((*made_by.steps, step), self.options)

    def reason(self, target: type) -> ValueError:
        """The refusal of the cheapest route that a condition did not already exclude."""
        refusals = list(self.refusals.values())
        if not refusals:
            known = ", ".join(sorted(kind.__name__ for kind in ZOO))
            return ConversionError(
                f"there is no converter from {type(self.source).__name__} to {target.__name__}; "
                f"converters() shows those between {known}"
            )
        return next((r for r in refusals if not isinstance(r, UnmetError)), refusals[0])


def _choose(model: CoefficientTensor, found: Sequence[Converter], options: Options) -> Step:
    """The cheapest converter that applies, its size within the budget."""
    failed = []
    for one in found:
        missing = one.needs(model, options)
        if missing is not None:
            failed.append(missing)
            continue
        size = one.size(model, options)
        limit = options.budget or max(BUDGET, LINEAR * model.size if one.cost == "linear" else 0)
        pair = f"{one.source.__name__} -> {one.target.__name__}"
        would = f"the target would have up to {in_digits(size)} edges ({one.formula})"
        if one.cost == "exponential" and options.budget is None:
            raise UnaskedError(
                f"{pair} is exponential and is not taken unasked: {would}; "
                f"convert(.., budget={in_digits(size)}) asks for it"
            )
        if size > limit:
            raise SizeError(
                f"{pair}: {would}, more than the budget of {limit}; "
                f"convert(.., budget={in_digits(size)}) allows it"
            )
        return Step(one, size)
    raise UnmetError("; ".join(failed))


def in_digits(number: int) -> str:
    """A whole number as it is written in Python, or the power of ten above it if it is long.

    >>> in_digits(2**20), in_digits(2**10_000)
    ('1048576', '10**3011')
    """
    return str(number) if number < 10**15 else f"10**{math.ceil(math.log10(number))}"
