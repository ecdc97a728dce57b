"""Classifying images with missing pixels: masks, classifiers, and the table of all of them."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from rich.console import Console

pytest.importorskip("sklearn")

from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from mixtures.learn.missing_pixels import cli
from mixtures.learn.missing_pixels.classifiers import (
    Imputed,
    Mixtures,
    SeenNeighbours,
    Sizes,
    black,
)
from mixtures.learn.missing_pixels.images import Images, Missing, patches, protocol, read

DIGITS = read(None)
FEW, OTHERS = DIGITS.part(slice(0, 300)), DIGITS.part(slice(300, 400))
SMALL = Sizes(3, 4)


def classifiers():
    return {
        "CP": Mixtures(False, SMALL, 2, 3, 0),
        "deep": Mixtures(True, SMALL, 2, 3, 0),
        "imputed": Imputed(KNeighborsClassifier(3)),
        "seen": SeenNeighbours(3),
    }


def test_patches_are_the_blocks_of_an_image():
    x = np.random.default_rng(0).random((2, 6, 4))
    cut = patches(x, 2)
    for row in range(3):
        for column in range(2):
            block = x[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            np.testing.assert_array_equal(cut[:, 2 * row + column], block.reshape(2, 4))
    with pytest.raises(ValueError, match="do not fit images of 6 x 4"):
        patches(x, 4)


def test_squares_hide_as_many_pixels_as_they_have_anywhere_in_the_image():
    seen = Missing("rectangle", 3.0).seen((500, 8, 8), np.random.default_rng(0))
    assert ((~seen).sum((1, 2)) == 9).all()
    for image in ~seen:
        rows, columns = image.any(1).nonzero()[0], image.any(0).nonzero()[0]
        assert np.ptp(rows) == np.ptp(columns) == 2
    assert (~seen).any(0).all()
    share = Missing("pixels", 0.75).seen((500, 8, 8), np.random.default_rng(0)).mean()
    assert share == pytest.approx(0.25, abs=0.01)
    assert Missing("pixels", 0.0).seen((2, 3, 3), np.random.default_rng(0)).all()
    assert {m.amount for m in protocol(28) if m.kind == "rectangle"} == {4, 8, 12, 16, 20, 24}


@pytest.mark.parametrize("name", list(classifiers()))
def test_what_is_hidden_is_not_looked_at(name):
    classifier = classifiers()[name]
    classifier.learn(FEW)
    seen = Missing("pixels", 0.6).seen(OTHERS.x.shape, np.random.default_rng(0))
    noise = np.random.default_rng(1).random(OTHERS.x.shape)
    found = classifier.classify(OTHERS.x, seen)
    np.testing.assert_array_equal(found, classifier.classify(np.where(seen, OTHERS.x, noise), seen))
    assert (found != classifier.classify(OTHERS.x, np.ones_like(seen))).any()


@pytest.mark.parametrize("deep", [False, True])
def test_mixtures_classify_by_bayes_rule_over_all_completions(deep):
    """Two hidden pixels: the sum over their four values."""
    classifier = Mixtures(deep, SMALL, 2, 3, 0)
    classifier.learn(FEW)
    x, seen = black(OTHERS.x[:20]), np.ones((20, 8, 8), dtype=bool)
    seen[:, 3, 3] = seen[:, 4, 5] = False
    total = -np.inf
    for one in (0, 1):
        for other in (0, 1):
            whole = x.copy()
            whole[:, 3, 3], whole[:, 4, 5] = one, other
            logs = [m.log_prob(patches(whole, 2)).double().numpy() for m in classifier.models]
            total = np.logaddexp(total, np.stack(logs, 1))
    counts = np.bincount(FEW.labels) / len(FEW.labels)
    expected = (total + np.log(counts)).argmax(1)
    np.testing.assert_array_equal(classifier.classify(OTHERS.x[:20], seen), expected)


def test_neighbours_by_seen_pixels_are_those_of_scikit_learn():
    ours = SeenNeighbours(1)
    ours.learn(FEW)
    theirs = KNeighborsClassifier(1, metric="nan_euclidean").fit(FEW.x.reshape(300, -1), FEW.labels)
    seen = Missing("pixels", 0.5).seen(OTHERS.x.shape, np.random.default_rng(0))
    holes = np.where(seen, OTHERS.x, np.nan).reshape(100, -1)
    assert (ours.classify(OTHERS.x, seen) == theirs.predict(holes)).mean() > 0.98  # but for ties


@pytest.mark.slow
def test_the_protocol_on_small_digits_writes_a_table_and_a_picture(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(cli, "CHOICES", {False: (Sizes(8, 8),), True: (Sizes(8, 8),)})
    some = DIGITS.part(slice(0, 900))
    with open("/dev/null", "w") as sink:
        parts = cli.run(some, None, 8, 0, Console(file=sink), {False: None, True: 8})
        lines = [line for part in parts for line in part]
    cli.write(lines, tmp_path / "accuracy.csv")
    cli.draw(lines, tmp_path / "accuracy.png")
    assert (tmp_path / "accuracy.png").stat().st_size > 10_000
    with (tmp_path / "accuracy.csv").open() as file:
        held = list(csv.DictReader(file))
    names = {line["classifier"] for line in held}
    assert len(names) == 5 and len(held) == 5 * len(protocol(8))
    rate = {
        (line["missing"], float(line["amount"]), line["classifier"]): float(line["accuracy"])
        for line in held
    }
    for name in ("CP mixture", "deep mixture"):
        assert rate["pixels", 0.0, name] > 0.8
        assert rate["pixels", 0.75, name] > rate["pixels", 0.75, "logistic, imputed"]
        assert rate["pixels", 0.75, name] > rate["pixels", 0.75, "neighbours, imputed"]
    count = int(cli.SHARE * 900)
    plain = LogisticRegression(C=0.1, max_iter=200)
    plain.fit(some.x[:count].reshape(count, -1), some.labels[:count])
    expected = plain.score(some.x[count:].reshape(900 - count, -1), some.labels[count:])
    assert rate["pixels", 0.0, "logistic, imputed"] == pytest.approx(expected)


def test_files_that_are_missing_or_hold_something_else_are_told(tmp_path, capsys):
    assert cli.main(["--data", str(tmp_path / "none.npz")]) == 2
    assert "none.npz" in capsys.readouterr().err
    np.savez(tmp_path / "flat.npz", x=np.ones((3, 4)), y=np.ones(3))
    with pytest.raises(ValueError, match=r"expected x \(n, height, width\)"):
        read(tmp_path / "flat.npz")
    np.savez(tmp_path / "good.npz", x=np.full((3, 4, 4), 255, np.uint8), y=np.ones(3))
    assert read(tmp_path / "good.npz").x.max() == 1.0
    assert isinstance(read(tmp_path / "good.npz"), Images)
