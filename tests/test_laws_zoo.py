"""Laws of the registry: no class is missing from it, and what it claims to cover is covered."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections import Counter

import pytest

import mixtures
from mixtures import Table, Tree
from mixtures.coefficients import CoefficientTensor
from mixtures.treetensor import TreeTensor

from custom_models import TwoLevels
from laws import every_model, truth
from oracle_circuit import circuit_joint
from oracle_models import Line, numbers
from zoo import ZOO, made


def subclasses(cls):
    for below in cls.__subclasses__():
        yield below
        yield from subclasses(below)


def test_every_concrete_model_class_of_the_library_is_in_the_zoo():
    for module in pkgutil.walk_packages(mixtures.__path__, "mixtures."):
        if "__main__" not in module.name and ".cli" not in module.name:
            importlib.import_module(module.name)
    bases = (CoefficientTensor, TreeTensor)
    ours = {cls for cls in subclasses(CoefficientTensor) if cls.__module__.startswith("mixtures")}
    concrete = {cls for cls in ours if not inspect.isabstract(cls)} - set(bases)
    assert concrete
    assert concrete <= {type(made(name)) for name in ZOO}, "add the missing class to tests/zoo.py"


@every_model
def test_a_model_is_compiled_into_the_circuit_with_its_joint_assignments(name):
    """The plan, read node by node, lists the very assignments its tree or graph has."""
    model = made(name)
    arrays = [numbers(array, float) for array in model.arrays]
    found = [Line(*parts) for parts in circuit_joint(model.circuit, arrays)]
    assert Counter(map(_chosen, found)) == Counter(map(_chosen, truth(name).lines))


def _chosen(line):
    uses = frozenset(Counter(line.uses).items())
    return line.components, frozenset(line.states.items()), uses


LONG = (
    "HMM long",
    "HMM long shared",
    "HMM long with zeros",
    "LTM long spines",
    "HT long tied train",
)


@pytest.mark.parametrize("name", LONG)
def test_long_instances_have_a_chain_layer_of_at_least_eight_steps(name):
    assert len(LONG) >= 5
    assert max(layer.steps for layer in made(name).circuit.layers) >= 8


def test_networks_of_the_zoo_share_nodes_and_mix_more_than_four_terms():
    shared, widest = 0, 0
    for name in ZOO:
        if name.startswith("SPN"):
            network = made(name).network
            uses = Counter(network.child.tolist())
            shared += any(uses[node] > 1 and network.kind[node] < 2 for node in uses)
            widest = max(widest, int((network.start[1:] - network.start[:-1]).max()))
    assert shared >= 2
    assert widest > 4


def test_a_class_of_its_own_needs_a_constructor_and_nothing_else():
    defined = {name for name in vars(TwoLevels) if not name.startswith("__") and name[0] != "_"}
    assert not defined
    lines = inspect.getsource(TwoLevels).splitlines()
    assert len(lines) <= 30
    assert {type(made(name)).__name__ for name in ZOO} >= {"TwoLevels", "AgreeOrNot"}


def test_final_methods_cannot_be_overridden():
    for method in ("contract", "posterior", "explain", "sample", "complete", "dense", "matricize"):
        with pytest.raises(TypeError, match=f"overrides CoefficientTensor.{method}"):
            type("Wrong", (TreeTensor,), {method: lambda self: None})


def test_a_tensor_without_its_hook_is_abstract():
    with pytest.raises(TypeError, match="abstract"):
        CoefficientTensor(made("HMM").circuit, [Table(t.values) for t in made("HMM").tables])


def test_ties_of_a_custom_class_are_ties():
    model = made("two levels")
    places = {model.place(j) for j in range(model.variables)}
    assert len(places) == 1
    assert model.tree == Tree({5: (0, 1), 6: (2,), 7: (3, 4), "top": (5, 6, 7)})
