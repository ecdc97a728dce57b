"""Conditional gradient in L2: the distance of a mixture of atoms to a target, one atom at a
time.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mixtures.learn.growth import Stage
from mixtures.learn.simplex import nearest_weights
from mixtures.mixture import Mixture


class Found(NamedTuple):
    """An atom, whether it is proven to be the best, and the gap, certified or not."""

    atom: Any
    exact: bool
    gap: float
    certified: bool


class Atoms(ABC):
    """Atoms phi_m and all inner products of them and the target f, in units of exp(log_unit)."""

    def __init__(self, norm: float, log_unit: float) -> None:
        self.norm, self.log_unit = norm, log_unit
        self.gram = torch.zeros((0, 0), dtype=torch.float64)
        self.target_products = torch.zeros(0, dtype=torch.float64)

    @abstractmethod
    def find(self, weights: Tensor) -> Found:
        """The atom to add to the mixture with these weights, (t,); t = 0 at first."""

    @abstractmethod
    def add(self, atom: Any) -> int:
        """Take an atom in; its place, which is an old one if it was there already."""

    @abstractmethod
    def mixture(self, weights: Tensor) -> Mixture:
        """The mixture of the atoms with these weights."""

    def extend(self, with_all: Tensor, with_target: float) -> None:
        """Note the inner products of a new atom with all atoms, itself the last, and with f."""
        old = len(self.gram)
        gram = torch.zeros((old + 1, old + 1), dtype=torch.float64)
        gram[:old, :old] = self.gram
        gram[old], gram[:, old] = with_all, with_all
        self.gram = gram
        self.target_products = torch.cat(
            [self.target_products, torch.tensor([with_target], dtype=torch.float64)]
        )

    def error(self, weights: Tensor) -> float:
        """||f_t - f||^2; what rounding makes negative is 0."""
        cross = float(weights @ self.target_products)
        return max(float(weights @ self.gram @ weights) - 2 * cross + self.norm, 0.0)

    def slope_of_mixture(self, weights: Tensor) -> float:
        """<f - f_t, f_t>."""
        return float(weights @ self.target_products - weights @ self.gram @ weights)

    def slope(self, weights: Tensor, atom: int) -> float:
        """<f_t - f, phi - f> of one of the atoms."""
        mine = float(weights @ self.gram[:, atom] - self.target_products[atom])
        return mine - float(weights @ self.target_products) + self.norm

    def differences(self) -> Tensor:
        """<phi_m - f, phi_m' - f> for all atoms."""
        cross = self.target_products[:, None] + self.target_products
        return self.gram - cross + self.norm


def approach(
    atoms: Atoms, *, corrective: bool, max_atoms: int, tol: float, began: float
) -> Iterator[Stage]:
    """Stage after stage, until `max_atoms` steps are made or the error is at most tol ||f||^2."""
    weights = torch.zeros(0, dtype=torch.float64)
    largest, proven = 0.0, True
    unit, found = math.exp(atoms.log_unit), atoms.find(weights)
    for steps in range(1, max_atoms + 1):
        place = atoms.add(found.atom)
        weights = torch.cat([weights, weights.new_zeros(len(atoms.gram) - len(weights))])
        slope = atoms.slope(weights, place) if steps > 1 else 0.0
        proven &= slope <= 1e-12 * atoms.norm
        distance = float(atoms.differences()[place, place])
        largest = max(largest, distance)
        weights, step = _moved(atoms, weights, place, slope, corrective, steps == 1)
        error, chosen = atoms.error(weights), found
        found = atoms.find(weights)
        yield Stage(
            steps=steps,
            atoms=int((weights > 0).sum()),
            error=error * unit,
            standard_error=0.0,
            gap=found.gap * unit,
            bound=largest / steps * unit if proven else math.inf,
            slope=slope * unit,
            exact_oracle=chosen.exact,
            certified=found.certified,
            step=step,
            relative=error / atoms.norm,
            validation=None,
            seconds=time.perf_counter() - began,
            mixture=atoms.mixture(weights),
        )
        if error <= max(tol, 1e-14) * atoms.norm or step == 0:
            return


def _moved(
    atoms: Atoms, weights: Tensor, place: int, slope: float, corrective: bool, first: bool
) -> tuple[Tensor, float]:
    """New weights, and the share of the atom: exact line search, or all weights anew."""
    aim = torch.zeros_like(weights)
    aim[place] = 1
    if first:
        return aim, 1.0
    if corrective:
        found = nearest_weights(atoms.differences())
        if atoms.error(found) < atoms.error(weights):
            return found, float(found[place])
    error = atoms.error(weights)
    distance = float(atoms.differences()[place, place])
    square = error - 2 * slope + distance  # ||phi - f_t||^2
    step = min(max((error - slope) / square, 0.0), 1.0) if square > 0 else 0.0
    moved = (1 - step) * weights + step * aim
    return (moved, step) if atoms.error(moved) < error else (weights, 0.0)
