"""Pictures show what the model says, on the axes given; what cannot be drawn is said."""

from __future__ import annotations

import matplotlib
import numpy
import pytest
import torch

from mixtures import HMM, HT, LTM, SPN, TMM, Mixture, SizeError, Tree, inputs, plot
from mixtures.components import Bernoulli, Gaussian, Poisson, Product

matplotlib.use("Agg")
pyplot = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(autouse=True)
def closed():
    pyplot.close("all")
    yield
    pyplot.close("all")


def texts(ax):
    return [text.get_text() for text in ax.texts if text.get_text()]


def generator():
    return torch.Generator().manual_seed(0)


def sequence():
    g = generator()
    hmm = HMM(12, 2, 2, shared=True, emission=False, generator=g)
    return Mixture(hmm, Gaussian(12, 2, shared=True, generator=g))


DRAWN = {
    "tree": lambda ax: plot.tree(Tree.balanced(5), ax=ax),
    "chain": lambda ax: plot.chain(HMM(9, 2, 3), ax=ax),
    "network": lambda ax: plot.network(SPN.random(4, 2, depth=1), ax=ax),
    "matrix": lambda ax: plot.matrix(TMM(4, 2, 2), [0, 1], ax=ax),
    "density": lambda ax: plot.density(Mixture(TMM(2, 2, 2), Gaussian(2, 2)), 0, ax=ax),
    "contours": lambda ax: plot.density(Mixture(TMM(2, 2, 2), Gaussian(2, 2)), [0, 1], ax=ax),
    "posteriors": lambda ax: plot.posteriors(sequence(), numpy.zeros(12), ax=ax),
    "images": lambda ax: plot.images(numpy.zeros((3, 4)), (2, 2), ax=ax),
    "sheet": lambda ax: plot.sheet({"a": numpy.zeros((3, 4))}, (2, 2), ax=ax),
    "curves": lambda ax: plot.curves({"a": [1.0, 2.0]}, xlabel="x", ylabel="y", ax=ax),
}


@pytest.mark.parametrize("name", DRAWN)
def test_every_picture_is_drawn_on_the_axes_given_and_returns_them(name):
    ax = pyplot.figure().add_subplot()
    assert DRAWN[name](ax) is ax
    assert len(pyplot.get_fignums()) == 1
    assert ax.has_data()


@pytest.mark.parametrize("name", DRAWN)
def test_every_picture_makes_axes_of_its_own_where_none_are_given(name):
    ax = DRAWN[name](None)
    ax.figure.canvas.draw()
    assert len(pyplot.get_fignums()) == 1


def test_everything_public_is_drawn_here():
    assert set(plot.__all__) - {"axes"} <= set(DRAWN)


def test_a_tree_shows_every_edge_and_the_number_of_states_of_every_latent():
    model = LTM(Tree.balanced(4), 2, {4: 3, 5: 5, 6: 7})
    ax = plot.tree(model)
    assert len(ax.lines) == 6
    assert sorted(texts(ax)) == sorted(["3", "5", "7", "0", "1", "2", "3"])


def test_a_tensor_train_shows_its_bonds():
    ax = plot.tree(HT(Tree.caterpillar(3), 2, 4))
    assert sorted(texts(ax)) == sorted(["1", "4", "0", "1", "2"])


def test_a_tree_names_the_columns_of_a_mixture():
    ax = plot.tree(Mixture(TMM(2, 2, 2), Bernoulli(2, 2, names=["width", "height"])))
    assert {"width", "height"} <= set(texts(ax))


def test_no_two_nodes_of_a_tree_lie_on_one_another():
    ax = plot.tree(Tree.random(40, arity=4, generator=generator()))
    points = numpy.concatenate([c.get_offsets() for c in ax.collections])
    assert len(numpy.unique(points.round(6), axis=0)) == len(points)


def test_a_network_shows_every_edge_as_thick_as_its_weight():
    a = inputs(2, 2)
    ax = plot.network(SPN(0.25 * a[0][1] * a[1][0] + 0.75 * a[0][0] * a[1][1]))
    widths = sorted(line.get_linewidth() for line in ax.lines)
    assert len(widths) == 6 and widths[-1] == pytest.approx(0.3 + 2.2 * 0.75)
    assert sorted(texts(ax)) == sorted(["+", "×", "×", "0,0", "0,1", "1,0", "1,1"])


def test_no_two_nodes_of_a_network_lie_on_one_another():
    ax = plot.network(SPN.random(6, 2, depth=2, generator=generator()))
    points = ax.collections[0].get_offsets()
    assert len(numpy.unique(points.round(6), axis=0)) == len(points)


def test_a_matrix_shows_the_matricization():
    W = TMM(4, 2, 3, dtype=torch.float64)
    shown = plot.matrix(W, [0, 2]).images[0].get_array()
    numpy.testing.assert_array_equal(shown, W.matricize([0, 2]).numpy())


def test_a_curve_is_the_marginal_density():
    model = Mixture(TMM(3, 2, 2, generator=generator()), Gaussian(3, 2, generator=generator()))
    line = plot.density(model, 1).lines[0]
    points = torch.as_tensor(line.get_xdata())[:, None]
    expected = model.marginal([1]).log_prob(points).exp().detach()
    numpy.testing.assert_allclose(line.get_ydata(), expected, rtol=1e-6)


def test_bars_on_whole_numbers_are_probabilities_and_their_data_are_in_step():
    model = Mixture(TMM(2, 2, 2, generator=generator()), Poisson(2, 2, generator=generator()))
    x = model.sample(500, generator=generator())
    ax = plot.density(model, 0, x=x)
    bars = [bar for bar in ax.patches if hasattr(bar, "get_width")]
    expected = model.marginal([0]).log_prob(torch.arange(len(bars))[:, None]).exp().detach()
    numpy.testing.assert_allclose([bar.get_height() for bar in bars], expected, rtol=1e-5)
    assert [bar.get_x() + bar.get_width() / 2 for bar in bars] == pytest.approx(range(len(bars)))
    assert ax.get_ylabel() == "probability"


def test_posteriors_stack_up_to_one_and_the_best_path_visits_every_step_once():
    model = sequence()
    x = model.sample(1, generator=generator())[0]
    ax = plot.posteriors(model, x)
    visits = numpy.sort(numpy.concatenate([line.get_xdata() for line in ax.lines]))
    assert (visits == numpy.arange(12)).all()
    tops = [path.vertices[:, 1].max() for c in ax.collections for path in c.get_paths()]
    assert max(tops) == pytest.approx(1)


@pytest.mark.parametrize(
    ("draw", "error", "message"),
    [
        (lambda: plot.tree(SPN.random(3, 2)), ValueError, "network\\(\\) draws SPNs"),
        (lambda: plot.tree(Tree.star(5000)), SizeError, "at most 2000 nodes"),
        (lambda: plot.chain(TMM(3, 2, 2)), ValueError, "expected an HMM, got TMM"),
        (lambda: plot.network(TMM(3, 2, 2)), ValueError, "transforms.convert"),
        (lambda: plot.matrix(TMM(40, 2, 2)), SizeError, "dense tensor"),
        (lambda: plot.matrix("W"), ValueError, "coefficients or a mixture"),
        (
            lambda: plot.density(Mixture(TMM(3, 2, 2), Gaussian(3, 2)), [0, 1, 2]),
            ValueError,
            "one or two variables, got 3",
        ),
        (
            lambda: plot.density(Mixture(TMM(2, 2, 2), Product(Bernoulli(4, 2), (2,))), 0),
            ValueError,
            "got vectors",
        ),
        (
            lambda: plot.posteriors(Mixture(TMM(2, 2, 2), Gaussian(2, 2)), [0.0, 0.0]),
            ValueError,
            "expected an HMM's mixture",
        ),
        (lambda: plot.sheet({"a": [[0]], "b": []}, (1, 1)), ValueError, "as many images"),
    ],
)
def test_what_cannot_be_drawn_is_said_with_what_to_call_instead(draw, error, message):
    with pytest.raises(error, match=message):
        draw()
