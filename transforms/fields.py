"""Arithmetic of tables over a field: double precision, or residues modulo a prime."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from mixtures.coefficients import CoefficientTensor
from mixtures.residues import residues
from mixtures.semiring import Modular


class Field(ABC):
    """What a converter may do with the entries of tables, so that it runs over every field."""

    dtype: torch.dtype

    @abstractmethod
    def read(self, array: Tensor) -> Tensor:
        """Stored numbers as elements of the field."""

    @abstractmethod
    def multiply(self, left: Tensor, right: Tensor) -> Tensor:
        """Entry by entry, with broadcasting."""

    @abstractmethod
    def total(self, values: Tensor, axes: Sequence[int]) -> Tensor:
        """The sum over axes."""

    @abstractmethod
    def divide(self, left: Tensor, right: Tensor) -> Tensor:
        """Entry by entry; `right` has no zeros."""

    @abstractmethod
    def shown(self, stack: Tensor, like: CoefficientTensor) -> Tensor:
        """Tables of floats, of the type of `like`, with which a model can be built."""

    @abstractmethod
    def install(self, model: CoefficientTensor, stacks: Sequence[Tensor]) -> None:
        """Let a model built from `shown` stacks hold the stacks themselves."""

    @abstractmethod
    def whole(self, mass: Tensor) -> Tensor:
        """What to divide the root's table by: over the floats its mass, one up to rounding."""

    def ones(self, *shape: int) -> Tensor:
        """A tensor of ones of the field."""
        return torch.ones(shape, dtype=self.dtype)

    def eye(self, size: int) -> Tensor:
        """The identity matrix of the field."""
        return torch.eye(size, dtype=self.dtype)

    def rows(self, table: Tensor) -> tuple[Tensor, Tensor]:
        """Rows divided by their mass, and the mass (rows,); a row without mass becomes uniform.

        >>> Floats().rows(torch.tensor([[1.0, 3.0], [0.0, 0.0]], dtype=torch.float64))[0].tolist()
        [[0.25, 0.75], [0.5, 0.5]]
        """
        mass = self.total(table, [-1])
        empty = mass == 0
        one = torch.ones_like(mass)
        divided = self.divide(table, torch.where(empty, one, mass)[..., None])
        even = self.divide(self.ones(1), table.shape[-1] * self.ones(1))
        return torch.where(empty[..., None], even, divided), mass


class Floats(Field):
    """Double precision; tables are rounded to the type of the source when a model is built."""

    dtype = torch.float64

    def read(self, array: Tensor) -> Tensor:
        """The numbers as doubles, exactly."""
        return array.detach().cpu().to(torch.float64)

    def multiply(self, left: Tensor, right: Tensor) -> Tensor:
        """The product, rounded."""
        return left * right

    def total(self, values: Tensor, axes: Sequence[int]) -> Tensor:
        """The sum, rounded."""
        return values.sum(tuple(axes)) if len(axes) else values

    def divide(self, left: Tensor, right: Tensor) -> Tensor:
        """The quotient, rounded."""
        return left / right

    def shown(self, stack: Tensor, like: CoefficientTensor) -> Tensor:
        """The stack itself."""
        return stack.to(dtype=like.dtype, device=like.device)

    def install(self, model: CoefficientTensor, stacks: Sequence[Tensor]) -> None:
        """Nothing is left to do: the stacks were shown."""

    def whole(self, mass: Tensor) -> Tensor:
        """The mass: rows then sum to one to the last bit that division keeps."""
        return mass


class Prime(Field):
    """Residues modulo a prime p < 2^31; stored floats are the rationals they are."""

    dtype = torch.int64

    def __init__(self, p: int) -> None:
        self.ring = Modular(p)
        self.p = p

    def read(self, array: Tensor) -> Tensor:
        """The exact residues of stored numbers."""
        return residues(array.detach().cpu(), self.p)

    def multiply(self, left: Tensor, right: Tensor) -> Tensor:
        """The product modulo p."""
        return left * right % self.p

    def total(self, values: Tensor, axes: Sequence[int]) -> Tensor:
        """The sum modulo p."""
        return values.sum(tuple(axes)) % self.p if len(axes) else values

    def divide(self, left: Tensor, right: Tensor) -> Tensor:
        """left right^(p - 2) modulo p, by repeated squaring."""
        result, power, exponent = left % self.p, right % self.p, self.p - 2
        while exponent:
            if exponent & 1:
                result = result * power % self.p
            power = power * power % self.p
            exponent >>= 1
        return result

    def shown(self, stack: Tensor, like: CoefficientTensor) -> Tensor:
        """Uniform tables of the same shape."""
        uniform = torch.full(stack.shape, 1 / stack.shape[-1], dtype=like.dtype)
        return uniform.to(like.device)

    def install(self, model: CoefficientTensor, stacks: Sequence[Tensor]) -> None:
        """Residues stand in for the values of the tables, for as long as the model lives."""
        model._stand_in = [stack.to(model.device) for stack in stacks]

    def whole(self, mass: Tensor) -> Tensor:
        """One: sums of stored doubles are one up to rounding only, and nothing is rounded here."""
        return torch.ones_like(mass)
