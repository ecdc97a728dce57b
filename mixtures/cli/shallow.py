"""A chapter on the approximation theorem: a deep model as a mixture of few shallow ones."""

from __future__ import annotations

from typing import Any

import torch

from mixtures import LTM, Mixture, Tree, plot
from mixtures.cli.guide import Guide
from mixtures.components import Gaussian
from mixtures.learn import conditional_gradient

D, K, R = 8, 3, 3
ATOMS = 32
SHOWN = (1, 2, 4, 8, 16, 32)


def approximating(guide: Guide, generator: torch.Generator) -> None:
    """Conditional gradient towards a deep model: error beside the proven bound."""
    guide.chapter(
        "5. Deep by shallow: the approximation theorem",
        "A mixture of t products approximates any homogeneous mixture with squared L2 error at "
        "most D/t (conditional gradient; Jaini, Poupart and Yu, 2018). The target is a latent "
        "tree over "
        f"{D} Gaussian variables, k = {K}, r = {R}. `vertices` mixes products of the target's own "
        "components, the best one at each step by enumeration; `free products` may mix components "
        "inside each atom, and are found by a heuristic. Errors are exact, from Gram matrices, and "
        "relative to ||f||^2.",
    )
    draw: dict[str, Any] = {"generator": generator, "dtype": torch.float64}
    means = torch.linspace(-2.0, 2.0, K, dtype=torch.float64).expand(D, K)
    components = Gaussian.from_parameters(means, torch.ones_like(means))
    deep = Mixture(LTM(Tree.balanced(D), K, R, **draw), components)
    with torch.no_grad():
        square = float(deep.inner(deep))
    found = {}
    for name, oracle in (("vertices", "linear"), ("free products", "greedy")):
        growth = conditional_gradient(
            deep, "product", oracle=oracle, max_atoms=ATOMS, generator=generator
        )
        found[name] = list(growth)
    rows = []
    for t in SHOWN:
        line = [str(t)]
        for stages in found.values():
            stage = stages[min(t, len(stages)) - 1]
            line += [f"{stage.error / square:.2e}", f"{stage.bound / square:.2e}"]
        rows.append(line)
    guide.table(["atoms t", "vertices", "bound D/t", "free products", "bound D/t"], rows)
    series = {name: [s.error / square for s in stages] for name, stages in found.items()}
    series["proven bound (vertices)"] = [s.bound / square for s in found["vertices"]]
    ax = plot.curves(series, xlabel="atoms", ylabel="squared error / ||f||^2")
    ax.set_yscale("log")
    ax.set_xscale("log", base=2)
    guide.picture(ax, "Error and proven bound against the number of atoms.")
    kept = all(stage.bound_holds for stage in found["vertices"])
    guide.say(
        f"The bound held at every step with vertices: {'yes' if kept else 'NO'}. It is about a "
        "constant that depends on the densities: how many atoms are needed depends on what they "
        "may be, and the theorem says nothing of learning them from data."
    )
