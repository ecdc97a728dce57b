"""The architecture: directions of import, what is final, what a model file may not contain."""

import importlib
import inspect
import re
import subprocess
import sys
import types

import pytest
from architecture import (
    ROOT,
    definitions,
    final_methods,
    import_cycles,
    imports_of,
    layer_name,
    read_sources,
    violations,
)

SOURCES = read_sources()
MODELS = ("tmm", "hmm", "ltm", "ht", "spn")
QUERIES = frozenset(
    re.findall(
        r"\w+",
        """
        aic backward bic complete condition contract covariance decode dense density e_step em
        entropy expectation expected_counts explain filter fit forecast forward kl likelihood
        log_density log_likelihood log_prob log_prob_box m_step marginal matricize maximise mean
        posterior predict sample score smooth viterbi
        """,
    )
)
OPTIONAL = dict.fromkeys(("mixtures.plot", "transforms.plot"), "plot") | dict.fromkeys(
    ("mixtures.estimating", "mixtures.sklearn"), "sklearn"
)
OPTIONAL["mixtures.tapekernel"] = "fast"
DISTRIBUTIONS = {"sklearn": "scikit-learn", "flint": "python-flint"}  # where the names differ
DESCRIBED = (types.FunctionType, property, classmethod, staticmethod)
FINAL = [(module, name) for module, text in SOURCES.items() for name in final_methods(text)]

tomllib = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")


# ---------------------------------------------------------------- directions of import


def test_imports_go_one_way():
    assert violations(SOURCES) == []


def test_no_modules_need_one_another_to_be_imported():
    assert import_cycles(SOURCES) == []


@pytest.mark.parametrize(
    ("module", "statement"),
    [
        ("mixtures.tables", "from mixtures.hmm import HMM"),
        ("mixtures.tables", "from .hmm import HMM"),
        ("mixtures.tables", "from . import hmm"),
        ("mixtures.circuit", "def later():\n    import mixtures.coefficients"),
        ("mixtures.hmm", "from mixtures import Mixture"),
        ("mixtures.spn", "from mixtures.components.gaussian import Gaussian"),
        ("mixtures.components.gaussian", "from mixtures.tree import Tree"),
        ("mixtures.components.gaussian", "from ..coefficients import CoefficientTensor"),
        ("mixtures.mixture", "from mixtures import learn"),
        ("mixtures.learn.em", "import transforms.ranks"),
        ("mixtures.plot", "from mixtures.cli import main"),
        ("mixtures.helper", "from transforms import convert"),
        ("mixtures.helper", "from mixtures import HMM"),
        ("mixtures", "from mixtures.__main__ import main"),
        ("mixtures", "import transforms"),
        ("mixtures.cli.fit", "import mixtures.__main__"),
        ("transforms.ranks", "from mixtures.cli import main"),
    ],
)
def test_an_import_against_the_direction_is_found(module, statement):
    assert len(violations(world() | {module: statement})) == 1


@pytest.mark.parametrize(
    ("module", "statement"),
    [
        ("mixtures.hmm", "from mixtures.coefficients import CoefficientTensor"),
        ("mixtures.hmm", "from .ltm import LTM"),
        ("mixtures.components.gaussian", "from mixtures.tables import Table"),
        ("mixtures.components.gaussian", "from .base import Components"),
        ("mixtures.cli.fit", "from transforms import convert"),
        ("mixtures.__main__", "from mixtures.cli import main"),
        ("transforms.ranks", "from mixtures import HMM"),
        ("mixtures", "from mixtures.hmm import HMM\nfrom mixtures import learn"),
        ("mixtures.tables", "import torch, networkx"),
    ],
)
def test_an_import_along_the_direction_passes(module, statement):
    assert violations(world() | {module: statement}) == []


def test_a_helper_module_hides_no_import():
    sources = world() | {
        "mixtures.tree": "from mixtures.helper import f",
        "mixtures.helper": "from mixtures.other import g",
        "mixtures.other": "def g():\n    from mixtures.mixture import Mixture",
    }
    path = "mixtures.tree -> mixtures.helper -> mixtures.other -> mixtures.mixture"
    assert violations(sources) == [f"{path}: tree is below mixture"]


def test_a_cycle_is_found_and_a_lazy_import_is_none():
    now, later = "from mixtures.b import f", "def f():\n    import mixtures.a"
    assert import_cycles({"mixtures.a": now, "mixtures.b": later}) == []
    assert len(import_cycles({"mixtures.a": now, "mixtures.b": "from mixtures import a"})) == 2


def world():
    """A library of empty modules, so that names in synthetic imports are modules."""
    inside = "tables tree circuit coefficients hmm ltm spn mixture learn learn.em plot cli cli.fit"
    names = [*inside.split(), "components", "components.base", "components.gaussian", "__main__"]
    empty = ["mixtures", "transforms", "transforms.convert", "transforms.ranks"]
    return dict.fromkeys([*empty, *(f"mixtures.{name}" for name in names)], "")


# ---------------------------------------------------------------- what files may hold


@pytest.mark.parametrize(
    "module", [name for name in SOURCES if layer_name(name).split("_")[0] in MODELS]
)
def test_a_model_file_holds_no_query(module):
    defined = {function.name for function in definitions(SOURCES[module])} - {"_dense"}  # the hook
    assert {name for name in defined if name.strip("_") in QUERIES} == set()


def test_there_is_no_module_for_everything_else():
    names = {module.rsplit(".", 1)[-1] for module in SOURCES}
    assert names & {"utils", "util", "helpers", "misc", "common"} == set()


def test_no_file_is_longer_than_four_hundred_lines():
    folders = ("mixtures", "transforms", "tests", "benchmarks")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    lengths = {str(f.relative_to(ROOT)): f.read_text(encoding="utf-8").count("\n") for f in files}
    assert {name: length for name, length in lengths.items() if length > 400} == {}


READERS = {
    "oracle_models",
    "oracle_circuit",
    "oracle_exact",
}  # read tables and plans, compute nothing


def test_the_oracle_knows_nothing_of_the_library():
    for path in (ROOT / "tests").glob("oracle*.py"):
        imported = imports_of(path.stem, {path.stem: path.read_text(encoding="utf-8")})
        allowed = sys.stdlib_module_names | {"numpy", "oracle"}
        if path.stem in READERS:
            allowed = allowed | {"mpmath", "oracle_circuit", "oracle_joint", "mixtures"}
            evaluator = {f"mixtures.{name}" for name in ("engine", "passes", "semiring", "scaled")}
            assert not {i.target for i in imported} & evaluator, path.name
        assert {i.target.split(".")[0] for i in imported} <= allowed, path.name


def test_randomness_comes_from_generators_only():
    forbidden = re.compile(r"\b(torch\.(manual_seed|seed|set_rng_state)\(|import random\b)")
    assert [module for module, source in SOURCES.items() if forbidden.search(source)] == []


def test_the_interface_of_coefficient_tensors_is_final():
    assert ("mixtures.coefficients", "CoefficientTensor") in FINAL


@pytest.mark.parametrize(("module", "name"), FINAL)
def test_final_methods_cannot_be_overridden(module, name):
    base = getattr(importlib.import_module(module), name)
    for method in final_methods(SOURCES[module])[name]:
        with pytest.raises(TypeError, match=method):
            type("Overriding", (base,), {method: lambda self: None})


def undocumented(public):
    """A public function, or a class and its methods and properties, where no docstring says what.

    A method that overrides a documented one is documented by it; what torch defines is not ours.
    """
    missing = [] if public.__doc__ else [public.__name__]
    for name in dir(public) if isinstance(public, type) else ():
        found = [vars(c)[name] for c in public.__mro__ if name in vars(c)]
        owner = next(c.__module__ for c in public.__mro__ if name in vars(c))
        ours = owner.split(".")[0] in ("mixtures", "transforms") and not name.startswith("_")
        if ours and isinstance(found[0], DESCRIBED) and not any(map(inspect.getdoc, found)):
            missing.append(f"{public.__name__}.{name}")
    return missing


@pytest.mark.parametrize("package", ["mixtures", "mixtures.components", "transforms"])
def test_everything_exported_says_what_it_is(package):
    module = importlib.import_module(package)
    exported = [getattr(module, name) for name in getattr(module, "__all__", [])]
    described = [public for public in exported if callable(public)]
    assert [name for public in described for name in undocumented(public)] == []


def test_a_method_without_a_docstring_is_found_unless_it_overrides_one():
    class Base:
        """Base."""

        def told(self):
            """Told."""

    class Derived(Base):
        """Derived."""

        def told(self):
            pass

        def untold(self):
            pass

    Base.__module__ = Derived.__module__ = "mixtures.example"
    assert undocumented(Derived) == ["Derived.untold"]
    assert undocumented(Base) == []


# ---------------------------------------------------------------- what importing it needs


def test_what_is_imported_is_declared():
    """At import only runtime dependencies; inside functions those of the extras as well."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = {n: _names(lines) for n, lines in project["optional-dependencies"].items()}
    runtime, anything = _names(project["dependencies"]), set().union(*extras.values())
    for module in SOURCES:
        for target, at_import in imports_of(module, SOURCES):
            top = target.split(".")[0]
            if top in sys.stdlib_module_names or top in ("mixtures", "transforms"):
                continue
            needed = DISTRIBUTIONS.get(top, top).replace("_", "-")
            allowed = extras.get(OPTIONAL.get(module, ""), set()) if at_import else anything
            assert needed in runtime | allowed, f"{module} imports {top}"


def _names(requirements):
    return {re.split(r"[<>=!~;\[ ]", line)[0].lower().replace("_", "-") for line in requirements}


def test_importing_mixtures_loads_no_plotting_library_and_no_learning_library():
    code = "import sys, mixtures; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = set(fresh_python(code).split())
    assert "mixtures" in loaded
    optional = {"matplotlib", "pandas", "seaborn", "sklearn", "hmmlearn", "pgmpy", "transforms"}
    assert loaded & optional == set()


def test_importing_mixtures_takes_little_longer_than_importing_torch():
    """CPU seconds beyond those of torch, the least of three: a busy machine does not count."""
    code = "import time, torch; start = time.process_time(); import mixtures; "
    code += "print(time.process_time() - start)"
    assert min(float(fresh_python(code)) for _ in range(3)) < 0.3


def fresh_python(code: str) -> str:
    """What a new interpreter prints."""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.mark.parametrize("package", ["mixtures", "mixtures.learn", "mixtures.plot", "transforms"])
def test_importing_collects_no_garbage_and_loads_nothing_that_may_wait(package):
    """A full collection, and each of these modules, take longer than the package itself."""
    code = (
        "import gc, sys, torch; full, known = [], set(sys.modules)\n"
        "note = lambda phase, of: full.append(of) if of['generation'] == 2 else None\n"
        f"gc.callbacks.append(note)\nimport {package}\n"
        "late = {'networkx', 'tensorly', 'rich', 'scipy', 'matplotlib', 'pandas', 'safetensors'}\n"
        "print(len(full), gc.isenabled(), sorted(late & set(sys.modules) - known))"
    )
    assert fresh_python(code).split(maxsplit=2) == ["0", "True", "[]\n"]
