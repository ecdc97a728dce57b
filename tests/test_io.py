"""Saving and loading: bit for bit, for every model and family; damaged files are refused."""

from __future__ import annotations

import json
import struct

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from mixtures import HMM, LTM, SPN, TMM, Combination, Mixture, Tree, inputs, io, load, save
from mixtures.components import Bernoulli, Concatenated, Gaussian

import families
from custom_models import TwoLevels
from laws import every_model, leaves, tensor
from test_laws_state import learned
from zoo import fresh

every_family = pytest.mark.parametrize("name", families.FAMILIES)


def again(model, tmp_path, **options):
    save(model, tmp_path / "model.safetensors", **options)
    return load(tmp_path / "model.safetensors")


def bits(state):
    return {name: (value.dtype, value.shape, value.clone()) for name, value in state.items()}


def check_same_state(one, other):
    mine, its = one.state_dict(), other.state_dict()
    assert list(mine) == list(its)
    for name, value in mine.items():
        assert value.dtype == its[name].dtype and torch.equal(value, its[name]), name


@every_model
@pytest.mark.parametrize("make", [fresh, learned])
def test_every_model_comes_back_bit_for_bit(name, make, tmp_path):
    model = make(name)
    other = again(model, tmp_path)
    assert type(other) is type(model)
    check_same_state(model, other)
    assert other.latents == model.latents and other.shape == model.shape
    assert (other.size, other.stored, other.num_parameters, other.depth) == (
        model.size, model.stored, model.num_parameters, model.depth
    )  # fmt: skip
    rows = tensor(leaves(name))
    assert torch.equal(other.contract(rows), model.contract(rows))
    assert torch.equal(other.dense(), model.dense())


@every_model
def test_what_was_loaded_learns_as_the_original_would(name, tmp_path):
    model, other = learned(name), again(learned(name), tmp_path)
    for each in (model, other):
        for table in each.tables:
            table.maximise(table.values.square(), pseudo_count=0.5)
    check_same_state(model, other)


@every_family
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_family_comes_back_bit_for_bit(name, dtype, tmp_path):
    components = families.build(name, dtype)
    weights = TMM(components.variables, components.shape, 2, dtype=dtype)
    model = Mixture(weights, components)
    x = families.rows(components, 20)
    observed = families.holes(components, x)
    components.initialise(components.encode(x, observed))
    other = again(model, tmp_path)
    check_same_state(model, other)
    assert other.components.config() == components.config()
    expected, got = (m.log_prob(x, observed=observed) for m in (model, other))
    assert torch.equal(expected, got)
    assert torch.equal(other.components.log_prior(), components.log_prior())


def test_ties_between_parts_of_a_combination_stay_ties(tmp_path):
    part = HMM(3, 2, 2, shared=True)
    model = Combination([0.25, 0.75], [part, part])
    other = again(model, tmp_path)
    assert other.stored == model.stored and len(other.tables) == len(model.tables)
    other.tables[1].set(other.tables[1].values.flip(-1))
    assert torch.equal(other.parts[0].arrays[0], other.parts[1].arrays[0])


def test_components_that_are_one_object_stay_one(tmp_path):
    components = Gaussian(3, 2)
    both = Concatenated([components, components])
    other = again(Mixture(TMM(3, 4, 2), both), tmp_path).components
    assert other.num_parameters == both.num_parameters
    assert other.families[0] is other.families[1]


def test_a_mixture_of_mixtures_comes_back(tmp_path):
    parts = [Mixture(TMM(3, 2, 2), Bernoulli(3, 2)), Mixture(HMM(3, 3, 2), Bernoulli(3, 3))]
    model = 0.25 * parts[0] + 0.75 * parts[1]
    other = again(model, tmp_path)
    x = torch.tensor([[0, 1, 1], [1, 0, 0]])
    assert torch.equal(other.log_prob(x), model.log_prob(x))


def test_names_of_columns_nodes_and_metadata_come_back(tmp_path):
    tree = Tree({("a", 1): [0, "b"], "b": [2, 1]})
    components = Bernoulli(3, 2, names=["x", "y", "z"])
    metadata = {"note": "three columns", "categories": {"x": ["no", "yes"]}}
    model = again(Mixture(LTM(tree, 2, 3), components), tmp_path, metadata=metadata)
    assert model.coefficients.tree.children == tree.children
    assert list(model.names) == ["x", "y", "z"]
    found = io.inspect(tmp_path / "model.safetensors")
    assert found["metadata"] == metadata and found["model"] == "LTM"
    assert (found["components"], found["version"]) == ("Bernoulli", 1)


def test_a_name_that_json_cannot_hold_is_refused_before_anything_is_written(tmp_path):
    model = LTM(Tree({frozenset("a"): [0, 1]}), 2, 2)
    with pytest.raises(ValueError, match="frozenset cannot be saved"):
        save(model, tmp_path / "model.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_file_of_an_unknown_class_says_what_to_do(tmp_path, monkeypatch):
    save(TwoLevels([2, 1], 2, 2), tmp_path / "own.safetensors")
    monkeypatch.delitem(io.CoefficientTensor.known, "TwoLevels")
    with pytest.raises(ValueError, match="import the module that defines it"):
        load(tmp_path / "own.safetensors")


def test_of_two_classes_of_one_name_the_one_of_the_right_module_is_built(tmp_path):
    model = TwoLevels([2, 1], 2, 2)
    other = type("TwoLevels", (TwoLevels,), {"__module__": "elsewhere"})
    try:
        assert type(again(model, tmp_path)) is TwoLevels is not other
    finally:
        del io.CoefficientTensor.known["TwoLevels"]["elsewhere"]


def test_only_models_are_saved(tmp_path):
    with pytest.raises(ValueError, match="expected a Mixture or a coefficient tensor"):
        save(torch.nn.Linear(2, 2), tmp_path / "model.safetensors")


# ---------------------------------------------------------------- damage


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "model.safetensors"
    save(Mixture(HMM(4, 2, 2, dtype=torch.float64), Gaussian(4, 2, dtype=torch.float64)), path)
    return path


def parts(path):
    with safe_open(path, framework="pt") as file:
        return dict(file.metadata()), {key: file.get_tensor(key) for key in list(file.keys())}


def test_a_missing_file_is_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file"):
        load(tmp_path / "nothing.safetensors")


def test_a_file_cut_short_anywhere_is_refused(saved):
    whole = saved.read_bytes()
    for length in (0, 1, 7, 8, 100, len(whole) // 2, len(whole) - 1):
        saved.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="not all of it"):
            load(saved)


def test_a_flipped_bit_anywhere_is_refused(saved):
    whole = bytearray(saved.read_bytes())
    for place in range(0, len(whole), 5):
        damaged = bytearray(whole)
        damaged[place] ^= 4
        saved.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"model\.safetensors"):
            load(saved)


def test_a_version_from_the_future_is_refused(saved):
    header, tensors = parts(saved)
    save_file(tensors, saved, metadata=header | {"version": "2"})
    with pytest.raises(ValueError, match="version 2 of the format, this library reads version 1"):
        load(saved)


def test_other_safetensors_files_and_pickles_are_refused(tmp_path):
    other, pickle = tmp_path / "other.safetensors", tmp_path / "model.pt"
    save_file({"a": torch.ones(2)}, other)
    torch.save({"a": torch.ones(2)}, pickle)
    with pytest.raises(ValueError, match=r"not one that mixtures\.save wrote"):
        load(other)
    with pytest.raises(ValueError, match="no saved model"):
        load(pickle)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s["coefficients"].pop("children"), "makes no model"),
        (lambda s: s["coefficients"].update({"class": "Nothing"}), "no model class 'Nothing'"),
        (lambda s: s["coefficients"]["places"].pop(), "makes no model|tables"),
        (lambda s: s["coefficients"]["children"].pop(), "variable 3 is missing"),
        (lambda s: s["components"].update({"family": "Nothing"}), "Nothing"),
        (lambda s: s["components"].update({"components": 3}), "makes no model|components"),
    ],
)
def test_a_structure_forged_with_its_checksum_still_makes_no_wrong_model(saved, change, message):
    header, tensors = parts(saved)
    structure = json.loads(header["structure"])
    change(structure)
    forge(saved, header | {"structure": json.dumps(structure)}, tensors)
    with pytest.raises(ValueError, match=message):
        load(saved)


def test_tables_forged_with_their_checksum_must_still_be_distributions(saved):
    header, tensors = parts(saved)
    tensors["tables.0.values"] = 2 * tensors["tables.0.values"]
    forge(saved, header, tensors)
    with pytest.raises(ValueError, match="must sum to one"):
        load(saved)


def forge(path, header, tensors):
    header = header | {"sha256": io._digest(header, tensors)}
    save_file(tensors, path, metadata=header)


def test_the_header_is_readable_without_this_library(saved):
    raw = saved.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    assert json.loads(header["__metadata__"]["structure"])["coefficients"]["class"] == "HMM"


def test_an_interrupted_save_leaves_the_earlier_file(saved, monkeypatch):
    before = saved.read_bytes()

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("safetensors.torch.save_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save(TMM(3, 2, 2), saved)
    assert saved.read_bytes() == before and len(list(saved.parent.iterdir())) == 1


def test_a_network_keeps_its_nodes_names_and_present_weights(tmp_path):
    a = inputs(2, 2)
    model = SPN(0.25 * a[0][1] * a[1][0] + 0.75 * a[0][0] * a[1][1])
    model.tables[0].set(model.tables[0].values.flip(-1))
    other = again(model, tmp_path)
    assert (other.edge_weights() == model.edge_weights()).all()
    assert other.latents == model.latents
