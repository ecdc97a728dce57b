"""Converters that group states: a plan says the size first, then carries itself out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from mixtures.treetensor import TreeTensor
from transforms.factors import Factors, of_form
from transforms.fields import Field, Floats
from transforms.forms import Form, put_together, take_apart
from transforms.grouping import Grouping
from transforms.registry import Options

Plan = Callable[[Factors, Form, Options], Grouping]
Model = TypeVar("Model", bound=TreeTensor)


def planned(plan: Plan) -> Callable[[TreeTensor, Options], int]:
    """The size that a plan promises, before anything is built."""

    def size(source: TreeTensor, options: Options) -> int:
        form = take_apart(source, Floats())
        return plan(of_form(form, Floats()), form, options).size

    return size


def carried_out(
    kind: type[Model], plan: Plan, source: TreeTensor, over: Field, options: Options
) -> Model:
    """The model of a class that a plan describes."""
    form = take_apart(source, over)
    grouped = plan(of_form(form, over), form, options)
    return put_together(kind, grouped.form(over), over, source)
