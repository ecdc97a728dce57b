"""Conditional gradient towards a target: exact numbers, proven bounds, flagged heuristics."""

import itertools
import math

import pytest
import torch

from mixtures import HMM, LTM, SPN, TMM, Dense, Mixture, Tree, inputs
from mixtures.components import Categorical, Gaussian, Indicator
from mixtures.learn import conditional_gradient

DOUBLE = {"dtype": torch.float64}


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def deep(d: int, k: int, seed: int, family: str = "Categorical", r: int = 2) -> Mixture:
    g = generator(seed)
    components = {
        "Categorical": lambda: Categorical(d, k, 3, generator=g, **DOUBLE),
        "Indicator": lambda: Indicator(d, k, **DOUBLE),
        "Gaussian": lambda: Gaussian(d, k, generator=g, **DOUBLE),
    }[family]()
    return Mixture(LTM(Tree.balanced(d), k, r, generator=g, **DOUBLE), components)


def every_row(model: Mixture) -> torch.Tensor:
    rows = model.components.rows(10**6)
    assert rows is not None
    return rows


def density(model: Mixture, rows: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model.log_prob(rows).exp()


def vertices(model: Mixture) -> list[tuple[int, ...]]:
    return list(itertools.product(*map(range, model.coefficients.shape)))


def vertex_densities(model: Mixture, rows: torch.Tensor) -> torch.Tensor:
    """(vertices, rows): densities of all products of one component per variable."""
    logs = model.components.log_prob(rows).detach()
    picked = [
        sum(logs[:, j, i] for j, i in enumerate(index))  # type: ignore[misc]
        for index in vertices(model)
    ]
    return torch.stack(picked).exp()


# ------------------------------------------------------------------------------------------- l2


@pytest.mark.parametrize("corrective", [False, True])
@pytest.mark.parametrize("family", ["Categorical", "Indicator"])
def test_errors_gaps_and_distances_are_those_of_sums_over_all_rows(family, corrective):
    target = deep(4, 3, 1, family)
    rows = every_row(target)
    f, atoms = density(target, rows), vertex_densities(target, rows)
    growth = conditional_gradient(
        target, corrective=corrective, max_atoms=6, generator=generator(0)
    )
    previous, largest = None, 0.0
    for stage in growth:
        ours = density(stage.mixture, rows)
        error = float((ours - f).square().sum())
        assert stage.error == pytest.approx(error, rel=1e-9, abs=1e-13)
        assert stage.relative == pytest.approx(error / float(f.square().sum()), rel=1e-9, abs=1e-12)
        gaps = (atoms - ours) @ (f - ours)
        assert stage.gap == pytest.approx(float(gaps.max()), rel=1e-9, abs=1e-13)
        assert stage.certified and stage.exact_oracle
        assert error <= stage.gap + 1e-12  # the certificate: f is a mixture of vertices
        if previous is not None:
            best = int(((atoms - previous) @ (f - previous)).argmax())
            slope = float((previous - f) @ (atoms[best] - f))
            assert stage.slope == pytest.approx(slope, rel=1e-8, abs=1e-13)
            largest = max(largest, float((atoms[best] - f).square().sum()))
        else:
            largest = error  # the first atom is the mixture
        assert stage.bound == pytest.approx(largest / stage.steps, rel=1e-9)
        previous = ours


def test_the_step_is_the_best_on_the_line_to_the_atom():
    target = deep(4, 2, 2)
    rows = every_row(target)
    f, atoms = density(target, rows), vertex_densities(target, rows)
    one, two = list(conditional_gradient(target, max_atoms=2, generator=generator(0)))
    before, after = density(one.mixture, rows), density(two.mixture, rows)
    atom = atoms[int(((atoms - before) @ (f - before)).argmax())]
    for share in torch.linspace(0, 1, 101, **DOUBLE):
        assert two.error <= float(((1 - share) * before + share * atom - f).square().sum()) + 1e-14
    assert torch.allclose(after, (1 - two.step) * before + two.step * atom)


@pytest.mark.slow
def test_the_bound_holds_and_is_never_exceeded_over_random_runs():
    worst = 0.0
    for seed in range(60):
        family = ["Categorical", "Indicator", "Gaussian"][seed % 3]
        target = deep(2 + seed % 4, 2 + seed % 2, seed, family)
        growth = conditional_gradient(target, max_atoms=12, generator=generator(seed)).run()
        for stage in growth.stages:
            assert stage.bound_holds and stage.slope <= 1e-12
            worst = max(worst, stage.error / stage.bound)
    assert 0.9 < worst <= 1 + 1e-9  # tight: the first step meets it


def test_the_bound_is_below_that_of_all_vertices():
    target = deep(4, 3, 3)
    rows = every_row(target)
    f, atoms = density(target, rows), vertex_densities(target, rows)
    widest = float((atoms - f).square().sum(1).max())
    for stage in conditional_gradient(target, max_atoms=5, generator=generator(0)):
        assert stage.error <= stage.bound <= widest / stage.steps * (1 + 1e-9)


def test_corrective_steps_leave_the_least_error_of_all_weights():
    target = deep(4, 2, 4)
    rows = every_row(target)
    f = density(target, rows)
    growth = conditional_gradient(target, corrective=True, max_atoms=5, generator=generator(0))
    stage = growth.run().best
    ours = density(stage.mixture, rows)
    factors = stage.mixture.coefficients.factors
    weights = stage.mixture.coefficients.weights
    each = [
        Mixture(
            TMM.from_factors(torch.ones(1, **DOUBLE), [t[m, None] for t in factors]),
            target.components,
        )
        for m in range(len(weights))
    ]
    slopes = torch.stack([(density(part, rows) - ours) @ (ours - f) for part in each])
    assert bool((slopes > -1e-12).all())  # no atom in use, nor any mixture of them, is better


def test_a_target_of_few_products_is_found_exactly():
    g = generator(5)
    factors = torch.nn.functional.one_hot(torch.randint(3, (5, 4), generator=g), 3).double()
    W = TMM.from_factors(torch.full((4,), 0.25, **DOUBLE), factors)
    target = Mixture(W, Categorical(5, 3, 4, generator=g, **DOUBLE))
    distinct = len({tuple(row) for row in factors.argmax(2).T.tolist()})
    growth = conditional_gradient(target, corrective=True, max_atoms=50, generator=g).run()
    assert growth.stages[-1].relative < 1e-12
    assert int((growth.mixture.coefficients.weights > 1e-6).sum()) == distinct


def test_a_heuristic_oracle_says_so_and_its_bound_is_checked():
    target = deep(8, 3, 6)
    by_list = conditional_gradient(target, max_atoms=6, generator=generator(0)).run()
    ascent = conditional_gradient(
        target, max_atoms=6, budget=10, restarts=8, generator=generator(0)
    )
    for exact, found in zip(by_list.stages, ascent.run().stages, strict=True):
        assert exact.exact_oracle and not found.exact_oracle and not found.certified
        assert found.bound == math.inf or found.error <= found.bound
        assert (found.bound == math.inf) == any(
            stage.slope > 1e-12 for stage in ascent.stages[: found.steps]
        )


def test_a_step_that_points_away_from_the_target_ends_the_claim():
    from mixtures.learn.nearest import Found, approach
    from mixtures.learn.products import Products

    class Wrong(Products):
        def find(self, weights):
            found = super().find(weights)
            if len(weights) != 2:
                return found
            worst = max(vertices(self.target), key=lambda index: self.against(index, weights))
            atom = self.space.vertices(torch.tensor([worst]))[0]
            return Found(atom, False, found.gap, found.certified)

        def against(self, index, weights):
            views = self.space.views(self.space.vertices(torch.tensor([index])))
            here = self.space.between(self.factors, views)[:, 0]
            return float(weights @ here) - float(self.space.with_target(views))

    wrong = Wrong(deep(3, 2, 7), "linear", 100, 2, generator(0))
    stages = list(approach(wrong, corrective=False, max_atoms=4, tol=0.0, began=0.0))
    assert stages[1].bound < math.inf
    assert stages[2].slope > 0 and stages[2].bound == math.inf


@pytest.mark.parametrize("make", ["SPN", "Dense", "HMM", "Combination"])
def test_targets_of_every_kind(make):
    g = generator(8)
    ports = inputs(3, 2)
    W = {
        "SPN": lambda: SPN(
            0.5 * ports[0][0] * ports[1][1] * ports[2][0]
            + 0.5 * (0.5 * ports[0][1] + 0.5 * ports[0][0]) * ports[1][0] * ports[2][1],
            **DOUBLE,
        ),
        "Dense": lambda: Dense(
            torch.rand((2, 2, 2), generator=g, **DOUBLE).flatten().softmax(0).reshape(2, 2, 2)
        ),
        "HMM": lambda: HMM(3, 2, 2, generator=g, **DOUBLE),
        "Combination": lambda: (
            0.5 * HMM(3, 2, 2, generator=g, **DOUBLE) + 0.5 * TMM(3, 2, 2, generator=g, **DOUBLE)
        ),
    }[make]()
    target = Mixture(W, Categorical(3, 2, 3, generator=g, **DOUBLE))
    growth = conditional_gradient(target, corrective=True, max_atoms=20, generator=g).run()
    assert growth.best.relative < 1e-9


def test_ragged_numbers_of_components_and_float32():
    g = generator(9)
    target = Mixture(
        LTM(Tree.balanced(3), [2, 3, 2], 2, generator=g), Gaussian(3, [2, 3, 2], generator=g)
    )
    growth = conditional_gradient(target, max_atoms=4, generator=g).run()
    assert growth.mixture.coefficients.shape == (2, 3, 2)
    assert growth.mixture.coefficients.dtype == torch.float32
    gap = (
        target.inner(target)
        - 2 * target.inner(growth.mixture)
        + growth.mixture.inner(growth.mixture)
    )
    assert growth.best.error == pytest.approx(float(gap), rel=1e-3)


def test_many_variables_neither_overflow_nor_build_anything_dense():
    target = deep(128, 2, 10, "Gaussian")
    growth = conditional_gradient(target, max_atoms=2, restarts=2, generator=generator(0)).run()
    for stage in growth.stages:
        assert not stage.exact_oracle and 0 <= stage.relative < math.inf
        assert not math.isnan(stage.gap)


def test_free_products_need_far_fewer_atoms_than_vertices():
    target = deep(6, 2, 11, "Indicator")
    vertex = conditional_gradient(target, max_atoms=6, generator=generator(0)).run()
    free = conditional_gradient(target, oracle="greedy", max_atoms=6, generator=generator(0)).run()
    assert free.best.relative < 0.05 * vertex.best.relative
    assert not any(stage.exact_oracle for stage in free.stages)
    errors = [stage.error for stage in free.stages]
    assert errors == sorted(errors, reverse=True)
    rows = every_row(target)
    truth = (density(free.mixture, rows) - density(target, rows)).square().sum()
    assert free.best.error == pytest.approx(float(truth), rel=1e-6)


@pytest.mark.parametrize("atom", ["TMM", HMM, "LTM"])
def test_richer_atoms_are_of_their_class_and_their_errors_exact(atom):
    target = deep(4, 2, 12, "Categorical", r=3)
    growth = conditional_gradient(
        target, atom, max_atoms=2, restarts=1, max_iter=20, generator=generator(0)
    ).run()
    rows = every_row(target)
    for stage in growth.stages:
        truth = (density(stage.mixture, rows) - density(target, rows)).square().sum()
        assert stage.error == pytest.approx(float(truth), rel=1e-5, abs=1e-14)
        assert stage.bound == math.inf or stage.error <= stage.bound
    one = growth.stages[0].mixture.coefficients
    assert type(one) is {"TMM": TMM, HMM: HMM, "LTM": LTM}[atom]


# ------------------------------------------------------------------------------------------- kl


def test_divergences_and_gaps_are_those_of_sums_over_all_rows():
    target = deep(4, 3, 13)
    rows = every_row(target)
    f, atoms = density(target, rows), vertex_densities(target, rows)
    growth = conditional_gradient(target, objective="kl", max_atoms=6, generator=generator(0))
    for stage in growth:
        ours = density(stage.mixture, rows)
        divergence = float((f * (f / ours).log()).sum())
        assert stage.error == pytest.approx(divergence, rel=1e-9, abs=1e-12)
        assert stage.standard_error == 0
        assert stage.gap == pytest.approx(float((atoms @ (f / ours)).max()) - 1, rel=1e-9)
        assert stage.certified and stage.error <= stage.gap + 1e-12
        assert stage.error <= stage.bound


def test_the_bound_of_li_and_barron_has_its_constants():
    target = deep(3, 2, 14)
    rows = every_row(target)
    f, atoms = density(target, rows), vertex_densities(target, rows)
    square = float((target.coefficients.dense().flatten() @ atoms.square() / f).sum())
    ratio = max(float((a / b).log().max()) for a in atoms for b in atoms)
    gamma = 4 * (math.log(3 * math.sqrt(math.e)) + ratio)
    first = next(conditional_gradient(target, objective="kl", generator=generator(0)))
    assert first.bound == pytest.approx(gamma * square, rel=1e-9)
    disjoint = next(conditional_gradient(deep(3, 2, 14, "Indicator"), objective="kl"))
    assert disjoint.bound == math.inf  # supports differ: the bound says nothing


def test_divergence_of_disjoint_atoms_ends_at_zero_when_all_cells_are_covered():
    target = deep(3, 2, 15, "Indicator")
    growth = conditional_gradient(
        target, objective="kl", corrective=True, max_atoms=9, generator=generator(0)
    ).run()
    assert [stage.error for stage in growth.stages[:7]] == [math.inf] * 7
    assert growth.stages[7].error == pytest.approx(0, abs=1e-6)


def test_continuous_targets_are_measured_on_draws_kept_apart():
    target = deep(3, 2, 16, "Gaussian")
    growth = conditional_gradient(
        target, "TMM", objective="kl", samples=2000, max_atoms=2, restarts=1, generator=generator(0)
    ).run()
    stage = growth.stages[-1]
    assert stage.standard_error > 0 and not stage.certified
    other = target.sample(20_000, generator=generator(1))
    with torch.no_grad():
        truth = (target.log_prob(other) - stage.mixture.log_prob(other)).mean()
    assert abs(float(truth) - stage.error) < 5 * stage.standard_error
    assert stage.mixture.components is target.components


# --------------------------------------------------------------------------------- records, errors


def test_stages_make_a_table_and_a_picture():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    growth = conditional_gradient(deep(3, 2, 19), max_atoms=3, generator=generator(0)).run()
    table = growth.table()
    assert list(table["steps"]) == [1, 2, 3] and "mixture" not in table.columns
    ax = growth.plot()
    labels = {line.get_label() for line in ax.get_lines()}
    assert {"error", "proven bound", "gap"} <= labels
    assert "3 stages" in repr(growth)


def test_interruption_keeps_the_stages_there_are():
    growth = conditional_gradient(deep(3, 2, 20), max_atoms=9, generator=generator(0))
    next(growth)
    steps = growth._steps

    def interrupted():
        yield next(steps)
        raise KeyboardInterrupt

    growth._steps = interrupted()
    assert len(list(growth)) == 1 and growth.interrupted
    assert growth.best is growth.stages[-1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"atom": "SPN"}, "atom must be one of"),
        ({"atom": SPN}, "atom must be one of"),
        ({"oracle": "best"}, "oracle must be"),
        ({"atom": "HMM", "oracle": "linear"}, "largest at a product"),
        ({"objective": "hellinger"}, "objective must be"),
        ({"max_atoms": 0}, "max_atoms must be at least 1"),
        ({"tol": -1.0}, "tol must be"),
        ({"weights": [1.0]}, "takes no weights"),
        ({"validation": [[0, 0, 0]]}, "takes no validation"),
    ],
)
def test_bad_options_are_refused_before_anything_is_computed(arguments, message):
    with pytest.raises(ValueError, match=message):
        conditional_gradient(deep(3, 2, 21), **arguments)
