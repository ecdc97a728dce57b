"""Reading the library's source: who imports whom, from which layer, at import time or later."""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent

# Bottom to top. A module may import from its own layer and from those below, also inside functions;
# `components` stands beside the models. A module that is not named here is a helper: it is looked
# through, so that it may import what every layered module that leads to it may import.
LAYERS: tuple[frozenset[str], ...] = tuple(
    frozenset(names.split())
    for names in (
        "errors",
        "semiring tree tables",
        "circuit",
        "coefficients",
        "tmm hmm ltm ht spn",
        "components",
        "mixture",
        "learn plot",
        "datasets io sklearn",
        "mixtures",  # the package itself: nothing inside it imports the facade
        "transforms",
        "cli __main__",
    )
)
ONLY = {"components": {"components", "errors", "tables", "alias", "kept"}}  # they see no more


class Import(NamedTuple):
    """One imported module, and whether importing the importer is enough to load it."""

    target: str
    at_import: bool


def read_sources(root: Path = ROOT) -> dict[str, str]:
    """The source of every module of both packages, by dotted name."""
    sources = {}
    for package in ("mixtures", "transforms"):
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            sources[name] = path.read_text(encoding="utf-8")
    return sources


def imports_of(module: str, sources: Mapping[str, str]) -> list[Import]:
    """What a module imports; `from package import name` is the module `name` where there is one."""
    found = []
    for node, at_import in _statements(ast.parse(sources[module]), True):
        if isinstance(node, ast.Import):
            found += [Import(alias.name, at_import) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, module, _is_package(module, sources))
            submodules = [f"{base}.{alias.name}" for alias in node.names]
            known = [name for name in submodules if name in sources]
            found += [Import(name, at_import) for name in known]
            found += [Import(base, at_import)] if len(known) < len(submodules) else []
    return found


def layer_name(module: str) -> str:
    """mixtures.hmm -> hmm, mixtures.cli.fit -> cli, transforms.ranks -> transforms."""
    parts = module.split(".")
    return parts[1] if parts[0] == "mixtures" and len(parts) > 1 else parts[0]


def layer_of(module: str) -> int | None:
    """The height of a module's layer; None for a helper module."""
    name = layer_name(module)
    return next((height for height, names in enumerate(LAYERS) if name in names), None)


def violations(sources: Mapping[str, str]) -> list[str]:
    """Every import that points upwards, as a sentence; through helper modules, too."""
    return sorted({line for module in sources for line in _violations_of(module, sources)})


def import_cycles(sources: Mapping[str, str]) -> list[tuple[str, ...]]:
    """Modules that need one another in order to be imported; lazy imports do not count."""
    graph = {
        module: {
            i.target for i in imports_of(module, sources) if i.at_import and i.target in sources
        }
        for module in sources
    }
    while True:  # take away what needs nothing that is left; what stays is on or above a cycle
        free = {module for module, needs in graph.items() if not needs & graph.keys()}
        if not free:
            return [(module, *sorted(needs & graph.keys())) for module, needs in graph.items()]
        graph = {module: needs for module, needs in graph.items() if module not in free}


def definitions(source: str) -> Iterator[ast.FunctionDef]:
    """Every function and method of a module."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            yield node


def final_methods(source: str) -> dict[str, list[str]]:
    """{class: its methods decorated with `final`} for the classes that have some."""
    found = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef):
            methods = [item for item in node.body if isinstance(item, ast.FunctionDef)]
            final = [m.name for m in methods if "final" in map(_decorator, m.decorator_list)]
            if final:
                found[node.name] = final
    return found


def _violations_of(module: str, sources: Mapping[str, str]) -> Iterator[str]:
    height = layer_of(module)
    ceiling = layer_of("mixtures") if height is None else height
    assert ceiling is not None
    ceiling -= height is None  # a helper inside mixtures may not import the facade either
    allowed = ONLY.get(layer_name(module))
    for path in _paths(module, sources):
        target = path[-1]
        reached = layer_of(target)
        if (reached is not None and reached > ceiling) or target == "mixtures.__main__":
            yield f"{' -> '.join(path)}: {layer_name(module)} is below {layer_name(target)}"
        elif allowed is not None and layer_name(target) not in allowed:
            yield f"{' -> '.join(path)}: {layer_name(module)} imports only {sorted(allowed)}"


def _paths(module: str, sources: Mapping[str, str]) -> Iterator[tuple[str, ...]]:
    """The chains of imports from a module through helper modules to the next layered one."""
    seen, open_paths = {module}, [(module,)]
    while open_paths:
        path = open_paths.pop()
        for target in {i.target for i in imports_of(path[-1], sources)}:
            if target.split(".")[0] not in ("mixtures", "transforms") or target in seen:
                continue
            seen.add(target)
            yield (*path, target)
            if layer_of(target) is None and target in sources:
                open_paths.append((*path, target))


def _statements(tree: ast.AST, at_import: bool) -> Iterator[tuple[ast.AST, bool]]:
    """Every node below, with whether it runs when the module is imported."""
    for node in ast.iter_child_nodes(tree):
        lazy = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        lazy = lazy or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
        yield node, at_import
        yield from _statements(node, at_import and not lazy)


def _absolute(node: ast.ImportFrom, module: str, is_package: bool) -> str:
    """The absolute name of the module in a `from` import, relative ones resolved."""
    if node.level == 0:
        return node.module or ""
    parts = module.split(".")
    package = parts[: len(parts) - node.level + is_package]
    return ".".join([*package, *([node.module] if node.module else [])])


def _is_package(module: str, sources: Mapping[str, str]) -> bool:
    """Whether a module is a package: it is a top name, or something lies below it."""
    return "." not in module or any(name.startswith(module + ".") for name in sources)


def _decorator(node: ast.expr) -> str:
    return ast.unparse(node).rsplit(".", 1)[-1]
