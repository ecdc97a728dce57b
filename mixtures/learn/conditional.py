"""Conditional gradient: mixtures of shallow models grown one atom at a time."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from mixtures.components import Components
from mixtures.learn.atoms import LearnedBank, Learning, Make
from mixtures.learn.em import check_pseudo_count
from mixtures.learn.growth import Growth, Stage
from mixtures.learn.likelihood import Bank, Constants, Judges, Rows, climb, row_weights
from mixtures.learn.listing import VertexBank, constants
from mixtures.learn.makers import Atom, atom_name, default_components, maker, tree_maker
from mixtures.learn.nearest import Atoms, approach
from mixtures.learn.products import Products
from mixtures.learn.progress import Display
from mixtures.learn.richer import Trees
from mixtures.mixture import Mixture

LISTED = 2**16  # rows of a target that are listed one by one before draws take over


@dataclass(frozen=True)
class Settings:
    """The options of `conditional_gradient`; ValueError for those that make no sense."""

    atom: Atom
    oracle: str | None
    corrective: bool | None
    max_atoms: int
    tol: float
    states: int
    patience: int
    restarts: int
    samples: int
    budget: int
    learning: Learning
    generator: torch.Generator | None
    began: float = field(default_factory=time.perf_counter)

    def __post_init__(self) -> None:
        for name in ("max_atoms", "restarts", "states", "patience"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.tol < torch.inf:
            raise ValueError(f"tol must be non-negative and finite, got {self.tol}")
        if self.oracle not in (None, "linear", "greedy"):
            raise ValueError(f"oracle must be 'linear' or 'greedy', got {self.oracle!r}")
        if self.oracle == "linear" and self.name != "product":
            raise ValueError(
                "a linear form over mixtures is largest at a product: give atom='product' with "
                "oracle='linear', or oracle='greedy' with richer atoms"
            )

    @property
    def name(self) -> str | None:
        """The name of the class of atoms, None for a function that makes them."""
        return atom_name(self.atom)

    def atoms(self, target: Mixture) -> Atoms:
        """Atoms over the components of a target, for L2."""
        if self.name == "product":
            oracle = self.oracle or "linear"
            return Products(target, oracle, self.budget, self.restarts, self.generator)
        make = tree_maker(self.atom, target, self.states)
        rounds = self.learning.max_iter
        return Trees(target, make, self.budget, self.restarts, rounds, self.generator)

    def bank(self, rows: Rows, make: Make, *, fixed: bool) -> LearnedBank:
        """Atoms that are learned from rows."""
        return LearnedBank(
            rows,
            make,
            self.learning,
            fixed=fixed,
            restarts=self.restarts,
            generator=self.generator,
        )

    def climb(
        self, bank: Bank, judges: Judges, bound: Constants, corrective: bool
    ) -> Iterator[Stage]:
        """Steps of greedy likelihood."""
        return climb(
            bank,
            judges,
            bound,
            corrective=corrective,
            max_atoms=self.max_atoms,
            tol=self.tol,
            patience=self.patience,
            began=self.began,
        )


def conditional_gradient(
    target: Any,
    atom: Atom = "product",
    *,
    objective: str | None = None,
    oracle: str | None = None,
    corrective: bool | None = None,
    max_atoms: int = 16,
    tol: float = 0.0,
    states: int = 2,
    components: Components | None = None,
    observed: Any = None,
    weights: Any = None,
    validation: Any = None,
    patience: int = 3,
    max_iter: int = 100,
    batch_size: int | None = None,
    pseudo_count: float = 0.0,
    refit: int = 0,
    restarts: int = 4,
    samples: int = 10_000,
    budget: int = 2**20,
    progress: bool = True,
    generator: torch.Generator | None = None,
) -> Growth:
    """Grow a mixture of shallow models towards a target, one atom a step (Frank-Wolfe).

        f_{t+1} = (1 - a) f_t + a phi,   a by exact line search; `corrective`: all weights anew

    Returns an iterator of `Stage`s (error, gap, bound, mixture so far, ..) that remembers them.

    **A target model** (`Mixture`; atoms are over its components).

    * objective="l2" (default): the error is ||f_t - f||^2, exact, from Gram matrices.
      atom="product", oracle="linear": phi is the best product of one component per variable, found
      by enumeration if there are at most `budget` of them, otherwise by coordinate ascent from
      `restarts` draws, a heuristic (`exact_oracle` says which). Then error <= D/t, D the largest
      ||phi - f||^2; a heuristic's step is checked, too (`slope` <= 0), and once one fails the bound
      is inf. oracle="greedy": phi = prod_j sum_i a_{j,i} f_{j,i}, chosen to leave the smallest
      error, by coordinate descent: far fewer atoms, the same checked bound. Other atoms ("TMM",
      "HMM", "LTM" with `states`) are greedy, by gradients: a linear form is largest at a product.
    * objective="kl": the error is KL(f || f_t), exact where at most 65536 rows can be listed,
      otherwise from `samples` draws to learn from and as many to measure on (`standard_error`).
      atom="product", oracle="linear": vertices as above; the bound of Li and Barron gamma c^2 / t,
      inf unless all rows are listed and all components have one support. Other atoms are learned by
      EM.

    **Rows of data** (n, d): greedy maximum likelihood. Every atom is learned by weighted EM against
    what the mixture explains already, then weights (`corrective`, on by default) and, if `refit`,
    all parameters (so many rounds of EM on the whole mixture) are learned anew. The error is the
    negative log-likelihood per row.

    atom: "product", "TMM", "HMM", "LTM" (on the Chow-Liu tree of the rows as the atom weighs them)
    with `states` each, the classes themselves, or a function (rows, weights, generator) -> Mixture.
    components: a family, copied and started anew for every atom; default: `Indicator`, shared, for
    symbols, and Gaussian for other numbers. observed, weights: of rows, as in `em`. max_iter: most
    rounds of EM per atom; batch_size: for stochastic EM instead, a round being one walk over the
    rows; pseudo_count: of tables. restarts: starting points per atom, of which the best after eight
    rounds (two walks) is learned to the end. With validation rows it ends after `patience` stages
    without gain, and `growth.best` is what did best on them.

    It ends after `max_atoms` steps, or once a step gains nothing (`tol`: in units of ||f||^2, or
    nats). Raises ValueError for bad options and rows outside the domain. Cost of a step: l2, one
    contraction of the target per restart, variable, component and walk, or k^d numbers where
    vertices are listed; data, (9 restarts + max_iter) times two passes up and one down over the
    rows for the atom, and t n numbers per round for the weights.

    Sources: Frank and Wolfe, An algorithm for quadratic programming, 1956; Li and Barron, Mixture
    density estimation, 1999; Jaini, Poupart and Yu, Deep homogeneous mixture models, 2018.

    >>> from mixtures import LTM, Tree
    >>> from mixtures.components import Gaussian
    >>> deep = Mixture(LTM(Tree.balanced(4), 2, 2), Gaussian(4, 2))
    >>> growth = conditional_gradient(deep, "product", objective="l2", max_atoms=8)
    >>> all(stage.error <= stage.bound for stage in growth)
    True
    """
    check_pseudo_count(pseudo_count)
    learning = Learning(max_iter, 1e-6, batch_size, pseudo_count, refit)
    settings = Settings(
        atom,
        oracle,
        corrective,
        max_atoms,
        tol,
        states,
        patience,
        restarts,
        samples,
        budget,
        learning,
        generator,
    )
    given = {"observed": observed, "weights": weights, "components": components}
    if isinstance(target, Mixture):
        _refuse(given, "a target model")
        steps = _towards(target, objective or "l2", settings, validation)
    elif objective in (None, "kl") and oracle is None:
        steps = _from_rows(target, given, settings, validation)
    else:
        raise ValueError(
            "rows of data are learned with objective='kl' and no oracle; 'l2' needs a target model"
        )
    return Growth(_shown(steps, max_atoms, progress))


def _towards(
    target: Mixture, objective: str, settings: Settings, validation: Any
) -> Iterator[Stage]:
    """Steps towards a model, over its own components."""
    name, vertices = settings.name, settings.oracle != "greedy"
    if objective == "l2":
        _refuse({"validation": validation}, "objective 'l2'")
        atoms = settings.atoms(target)
        return approach(
            atoms,
            corrective=bool(settings.corrective),
            max_atoms=settings.max_atoms,
            tol=settings.tol,
            began=settings.began,
        )
    if objective != "kl":
        raise ValueError(f"objective must be 'l2' or 'kl', got {objective!r}")
    rows, fresh = target_rows(target, settings.samples, settings.generator)
    judges = Judges(fresh, None if validation is None else target.encode(validation))
    if name == "product" and vertices:
        bank = VertexBank(target, rows, settings.budget, settings.restarts, settings.generator)
        bound = Constants() if fresh is not None else constants(target, rows)
        return settings.climb(bank, judges, bound, bool(settings.corrective))
    make = maker(settings.atom, target.components, settings.states, fixed=True)
    return settings.climb(
        settings.bank(rows, make, fixed=True), judges, Constants(), bool(settings.corrective)
    )


def _from_rows(
    x: Any, given: Mapping[str, Any], settings: Settings, validation: Any
) -> Iterator[Stage]:
    """Steps of greedy maximum likelihood; given: `observed`, `weights` and `components`."""
    observed, family = given["observed"], given["components"]
    if family is None:
        family = default_components(x, observed, torch.get_default_dtype())
    data = family.encode(x, observed)
    mass = row_weights(given["weights"], len(data))
    rows = Rows(data, mass / mass.sum(), float(mass.sum()))
    judges = Judges(None, None if validation is None else family.encode(validation))
    make = maker(settings.atom, family, settings.states, fixed=False)
    bank = settings.bank(rows, make, fixed=False)
    return settings.climb(bank, judges, Constants(), settings.corrective is not False)


def target_rows(
    target: Mixture, samples: int, generator: torch.Generator | None
) -> tuple[Rows, Rows | None]:
    """All rows of a target with their probabilities; or draws, and as many to measure on."""
    with torch.no_grad():
        listed = target.components.rows(LISTED)
        if listed is not None:
            x = target.encode(listed)
            logs = target.log_prob(x).double()
            possible = (logs > -torch.inf).nonzero().flatten()
            x, logs = x.rows(possible), logs[possible]
            chance = logs.exp()
            return Rows(x, chance / chance.sum(), float(len(x)), logs), None
        if samples < 2:
            raise ValueError(f"expected at least two samples, got {samples}")
        drawn = []
        for _ in range(2):
            x = target.encode(target.sample(samples, generator=generator))
            even = torch.full((samples,), 1 / samples, dtype=torch.float64)
            drawn.append(Rows(x, even, float(samples), target.log_prob(x).double()))
    return drawn[0], drawn[1]


def _refuse(given: dict[str, Any], where: str) -> None:
    for name, value in given.items():
        if value is not None:
            raise ValueError(f"{where} takes no {name}")


def _shown(steps: Iterator[Stage], most: int, progress: bool) -> Iterator[Stage]:
    """The same stages, with a progress bar."""
    with Display(most, wanted=progress) as display:
        for stage in steps:
            text = f"{stage.atoms} atoms, error {stage.error:.5g}"
            if stage.validation is not None:
                text += f", validation {stage.validation:.5g}"
            display.say(stage.steps, text)
            yield stage
