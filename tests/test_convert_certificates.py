"""Certificates say how large, how close and how sure; mixtures keep their components."""

from __future__ import annotations

import pytest
import torch

from mixtures import HMM, LTM, SPN, TMM, Mixture, Table, Tree
from mixtures.components import Gaussian
from transforms.certificates import certificate
from transforms.convert import convert
from transforms.trees import reroot

F64 = torch.float64


def test_copied_numbers_are_the_same_tensor_and_rounded_ones_the_same_map():
    source = LTM(Tree.balanced(8), 2, 2, dtype=F64)
    copied = certificate(source, convert(source, SPN))
    assert copied.exact
    assert "stored numbers of both are the same tensor" in copied.how
    rounded = certificate(source, convert(source, HMM))
    assert rounded.exact
    assert "the same conversion of residues is exact" in rounded.how
    assert 0 <= rounded.difference < 1e-12


def test_a_wrong_table_is_found_out():
    source = LTM(Tree.balanced(8), 2, 2, dtype=F64)
    for target in (SPN, HMM):
        found = convert(source, target)
        with torch.no_grad():
            table = found.tables[0]
            assert isinstance(table, Table)
            table.set(table.values.flip(-1))
        assert certificate(source, found).difference > 1e-3


def test_a_model_made_otherwise_is_compared_by_its_numbers():
    source = HMM(4, 2, 2, dtype=F64)
    assert certificate(source, HMM(4, 2, 2, dtype=F64)).exact is None
    assert certificate(source, source).exact


def test_the_certificate_reads_well():
    source = TMM(4, 2, 3, dtype=F64)
    target = convert(source, SPN)
    found = certificate(source, target)
    assert found.edges == (source.size, target.size)
    assert found.stored == (source.stored, target.stored)
    lines = str(found).splitlines()
    assert lines[0] == "TMM -> SPN"
    assert any(f"{target.size} <= {found.bound}" in line for line in lines)
    assert lines[-1].startswith("  exact    yes")


def test_compositions_name_every_step():
    source = TMM(4, 2, 2, arity=2, dtype=F64)
    found = certificate(source, convert(source, HMM))
    assert [line.split(" (")[0] for line in found.steps] == ["TMM -> LTM", "LTM -> HMM"]
    assert found.exact


def test_rerooting_is_certified_too():
    source = LTM(Tree.balanced(5), 2, 3, dtype=F64)
    assert certificate(source, reroot(source, 5)).exact


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="expected two tensors of one shape"):
        certificate(HMM(3, 2, 2), HMM(4, 2, 2))


@pytest.mark.parametrize("target", [LTM, SPN])
def test_a_mixture_keeps_its_components(target):
    source = Mixture(HMM(3, 2, 2, dtype=F64), Gaussian(3, 2, dtype=F64))
    found = convert(source, target)
    assert type(found.coefficients) is target
    assert found.components is source.components
    x = torch.randn(5, 3, dtype=F64)
    torch.testing.assert_close(found.log_prob(x), source.log_prob(x), rtol=1e-12, atol=1e-12)
    assert certificate(source, found).exact


def test_single_precision_stays_single():
    source = LTM(Tree.balanced(4), 2, 2, dtype=torch.float32)
    found = convert(source, HMM)
    assert found.dtype == torch.float32
    verdict = certificate(source, found)
    assert verdict.exact
    assert verdict.difference < 1e-5
