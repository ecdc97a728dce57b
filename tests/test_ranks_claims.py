"""Separations are tables with certified points on the theory; a mutation turns every claim."""

import io
import math

import matplotlib
import numpy as np
import pytest
import torch
from rich.console import Console

from mixtures import HMM, LTM, TMM
from transforms import plot
from transforms.catalogue import find, main, run
from transforms.claims import CLAIMS
from transforms.formulas import alternate_blocks, signed_weight
from transforms.matchings import three_matchings
from transforms.profiles import rank_profile
from transforms.separation import compare, growth

from test_ranks_truth import generator

pandas = pytest.importorskip("pandas")
matplotlib.use("Agg")
SLOW = {"cut-law", "prefix-ranks", "matchings", "balanced-as-chain", "linear-distances"}


@pytest.mark.parametrize("name", [c.name for c in CLAIMS if c.name not in SLOW])
def test_a_claim_holds_and_its_mutation_turns_the_verdict(name):
    (claim,) = find([name])
    right, wrong = run(claim), run(claim, mutated=True)
    assert right.kind in ("confirmed", "only a bound", "open")
    assert wrong.kind != right.kind
    assert right.sizes
    assert right.found


@pytest.mark.slow
def test_the_whole_catalogue_runs_with_its_mutations():
    assert main(["--mutate"], Console(file=io.StringIO())) == 0


def test_the_runner_prints_a_table_and_names_what_it_does_not_know():
    out = io.StringIO()
    console = Console(file=out, width=200)
    assert main(["--list"], console) == 0
    assert main(["tied-symmetric", "--mutate"], console) == 0
    printed = out.getvalue()
    assert all(claim.name in printed for claim in CLAIMS)
    assert "confirmed" in printed
    assert "refuted" in printed
    with pytest.raises(ValueError, match="no claim"):
        find(["nonsense"])


def test_every_claim_states_itself_its_source_and_its_mutation():
    assert len({claim.name for claim in CLAIMS}) == len(CLAIMS) >= 20
    for claim in CLAIMS:
        assert claim.statement.endswith(".")
        assert claim.source
        assert claim.mutation
        assert claim.status in ("quoted", "derived", "verified", "measured")


@pytest.mark.parametrize("name", ["attention-depth-pays", "attention-law-of-depth"])
def test_what_is_only_quoted_is_not_confirmed(name):
    (claim,) = find([name])
    assert claim.status == "quoted"
    assert run(claim).kind in ("only a bound", "open")


@pytest.mark.parametrize("pair", [("TMM", "CP"), (LTM, TMM), ("HMM", "TMM")])
def test_against_products_sizes_grow_exponentially_and_bounds_meet(pair):
    table = compare(*pair, [4, 8, 16, 64])
    assert (table.certified == table.predicted).all()
    assert (table.certified == table.constructed).all()
    assert table.certified.iloc[-1] == 2**32
    fit = growth(table)
    assert fit["per_variable"] == pytest.approx(0.5)
    assert fit["per_variable_error"] < 1e-9 < fit["power_error"]


def test_ties_do_not_change_what_a_mixture_of_products_needs():
    table = compare("TMM", "CP", [4, 8], shared=True)
    assert list(table.certified) == list(table.predicted) == [4, 16]
    table = compare("untied", "tied", [4, 8])
    assert list(table.certified) == [4, 16]
    assert table.exact.all()


def test_against_chains_sizes_grow_polynomially():
    table = compare("LTM", "HMM", [8, 16, 32])
    assert list(table.certified) == list(table.predicted) == list(table.constructed) == [4, 4, 8]
    table = pandas.DataFrame(
        {"d": [4**n for n in range(2, 7)], "certified": [2**n for n in range(2, 7)]}
    )
    fit = growth(table)
    assert fit["power"] == pytest.approx(0.5)
    assert fit["power_error"] < 1e-9 < fit["per_variable_error"]


def test_levels_are_what_cohen_and_others_say():
    table = compare("LTM", "levels", [16])
    assert list(table.certified) == list(table.predicted) == list(table.constructed) == [256, 16, 4]


def test_three_matchings_need_many_states_on_any_tree():
    table = compare("SPN", "LTM", [6])
    assert list(table.certified) == [4]
    W = three_matchings(6)
    assert W.is_normalised()
    assert torch.allclose(W.dense().sum(), torch.tensor(1.0, dtype=torch.float64))
    with pytest.raises(ValueError, match="even number"):
        three_matchings(5)


def test_unknown_pairs_and_too_few_sizes_are_refused():
    with pytest.raises(ValueError, match="one of the pairs"):
        compare("SPN", "TMM", [4])
    with pytest.raises(ValueError, match="three different sizes"):
        growth(compare("TMM", "CP", [4, 8]))


def test_the_signed_digit_weight_is_the_least_number_of_signed_powers_of_two():
    powers = [s * 2**e for e in range(7) for s in (1, -1)]
    reach = {0: 0}
    for count in range(1, 5):
        for held in list(reach):
            for step in powers:
                reach.setdefault(held + step, count)
    assert all(signed_weight(q) == reach[q] for q in range(1, 65))


def test_blocks_alternate():
    assert alternate_blocks(8, 2) == (0, 1, 4, 5)
    assert math.prod([2] * len(alternate_blocks(16, 1))) == 256


def test_pictures_show_the_numbers_they_are_given():
    W = HMM(4, 2, 2, dtype=torch.float64, generator=generator())
    ax = plot.heat_map(W, [0, 2])
    np.testing.assert_allclose(ax.images[0].get_array(), W.matricize([0, 2]).numpy())
    ranks = rank_profile(TMM(4, 2, 2, dtype=torch.float64, generator=generator()))
    ax = plot.profile(ranks)
    assert [line.get_ydata()[0] for line in ax.lines] == [found.exact for found in ranks.values()]
    table = compare("TMM", "CP", [4, 8, 16])
    for theory in (None, lambda d: 2 ** (d / 2)):
        ax = plot.sizes(table, theory)
        certified = next(line for line in ax.lines if line.get_label() == "certified")
        assert list(certified.get_ydata()) == [4, 16, 256]
        assert ax.get_yscale() == "log"
    assert plot.profile(ranks, ax) is ax
