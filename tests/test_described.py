"""Models in words: one line, a summary that counts right, a table for notebooks."""

from __future__ import annotations

import re

import pytest

from mixtures import HMM, LTM, TMM, Mixture, Tree
from mixtures.components import Bernoulli, Gaussian
from transforms import certificate, convert, rank

import families
from laws import every_model
from zoo import made


@every_model
def test_every_model_says_in_one_line_what_it_is(name):
    model = made(name)
    line = repr(model)
    assert line.startswith(type(model).__name__ + "(") and "\n" not in line
    assert f"{model.variables} variable" in line


@pytest.mark.parametrize("name", families.FAMILIES)
def test_a_mixture_names_its_coefficients_and_its_family(name):
    components = families.build(name)
    model = Mixture(
        TMM(components.variables, components.shape, 2, dtype=components.dtype), components
    )
    assert repr(model).startswith("Mixture(TMM(") and type(components).__name__ in repr(model)
    assert "\n" not in repr(model)


@every_model
def test_a_summary_counts_what_the_model_counts(name):
    model = made(name)
    facts = dict(re.findall(r"^  (\S[\w ]*?)  +(.+)$", model.summary(), flags=re.M))
    assert facts["edges"] == f"{model.size:,}"
    assert facts["numbers stored"] == f"{model.stored:,}"
    assert facts["free parameters"] == f"{model.num_parameters:,}"
    assert facts["depth"] == f"{model.depth:,}"


def test_entries_too_many_to_write_out_are_a_power_of_ten():
    assert "about 10^30" in HMM(100, 2, 2).summary()
    assert "  256" in LTM(Tree.balanced(8), 2, 2).summary()


def test_tables_for_notebooks_escape_the_names_of_columns():
    model = Mixture(TMM(1, 2, 2), Bernoulli(1, 2, names=["<b>"]))
    assert "&lt;b&gt;" in model._repr_html_() and "<b>Mixture" in model._repr_html_()
    assert "edges" in TMM(3, 2, 2)._repr_html_()


def test_certificates_and_ranks_have_a_line_a_summary_and_a_notebook_form():
    source = TMM(4, 2, 2)
    found = certificate(source, convert(source, HMM))
    assert repr(found).startswith("Certificate(TMM") and "\n" not in repr(found)
    assert found.summary() == str(found) and "<pre>" in found._repr_html_()
    cut = rank(source, [0, 1])
    assert cut.summary() == str(cut) and "rank" not in cut._repr_html_()[:6]
    assert str(cut.exact) in cut._repr_html_()


def test_a_mixture_prints_without_the_numbers_in_its_tables():
    assert len(repr(Mixture(HMM(5000, 2, 2), Gaussian(5000, 2)))) < 120
