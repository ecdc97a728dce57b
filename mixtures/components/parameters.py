"""Checks of what a user gives as parameters, before anything is built from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def as_parameters(**given: Any) -> list[Tensor]:
    """The given parameters as finite tensors of one floating-point type, shapes (d, k, ..)."""
    tensors = {name: torch.as_tensor(value).detach() for name, value in given.items()}
    dtype = torch.get_default_dtype()
    floating = [tensor.dtype for tensor in tensors.values() if tensor.is_floating_point()]
    for number, each in enumerate(floating):
        dtype = each if number == 0 else torch.promote_types(dtype, each)
    first, shape = next((name, tensor.shape) for name, tensor in tensors.items())
    for name, tensor in tensors.items():
        if tensor.ndim < 2:
            raise ValueError(f"expected {name} of shape (d, k, ...), got {tuple(tensor.shape)}")
        if tensor.shape[:2] != shape[:2]:
            raise ValueError(
                f"expected {name} to begin with the shape {tuple(shape[:2])} of {first}, "
                f"got {tuple(tensor.shape)}"
            )
        if not bool(tensor.isfinite().all()):
            place = torch.nonzero(~tensor.isfinite())[0].tolist()
            raise ValueError(
                f"expected finite numbers in {name}, got {tensor[tuple(place)]} at {place}"
            )
    return [tensor.to(dtype) for tensor in tensors.values()]


def check_ndim(ndim: int, **given: Tensor) -> None:
    """Raise unless every tensor has so many axes."""
    axes = ("d", "k", "e", "e")[:ndim]
    for name, tensor in given.items():
        if tensor.ndim != ndim:
            raise ValueError(
                f"expected {name} of shape ({', '.join(axes)}), got {tuple(tensor.shape)}"
            )


def check_positive(**given: Tensor) -> None:
    """Raise unless every entry is above zero."""
    for name, tensor in given.items():
        if not bool((tensor > 0).all()):
            place = torch.nonzero(~(tensor > 0))[0].tolist()
            raise ValueError(
                f"expected {name} above zero, got {tensor[tuple(place)].item():g} at {place}"
            )


def check_prior(**given: float) -> None:
    """Raise unless the numbers of a prior are finite and not negative."""
    for name, number in given.items():
        if not 0 <= number < torch.inf:
            raise ValueError(f"expected {name} to be a finite number >= 0, got {number}")


def layout(
    parameter: Tensor, components: int | Sequence[int] | None, shared: bool, variables: int | None
) -> dict[str, Any]:
    """Constructor arguments (variables, components, shared) that fit parameters (d or 1, k, ..)."""
    size, k = parameter.shape[:2]
    if shared and size != 1:
        raise ValueError(
            f"expected one set of shared parameters, shape (1, k, ..), got {size} sets"
        )
    if not shared and variables is not None and variables != size:
        raise ValueError(
            f"expected parameters for {variables} variables, got {size} (give shared=True to let "
            "one set serve all)"
        )
    variables = variables if shared and variables is not None else size
    components = k if components is None else components
    largest = components if isinstance(components, int) else max(components)
    if largest != k:
        raise ValueError(f"expected parameters padded to {largest} components, got {k}")
    return {
        "variables": variables,
        "components": components,
        "shared": shared,
        "generator": torch.Generator(parameter.device),
        "dtype": parameter.dtype,
        "device": parameter.device,
    }


def check_collapse(positive: Tensor) -> None:
    """Raise, before anything changes, where an estimate without prior has come out zero."""
    if not bool(positive.all()):
        place = torch.nonzero(~positive)[0].tolist()
        raise ValueError(
            f"the estimate of variable {place[0]}, component {place[1]} has collapsed: "
            "expected spread in its data, or a prior above zero"
        )
