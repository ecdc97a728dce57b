"""Chapters on the hierarchy: a model moved up it with certificates, and ranks beside theory."""

from __future__ import annotations

from typing import Any

import torch

from mixtures import HMM, HT, LTM, SPN, TMM, CoefficientTensor, Mixture, Tree, plot
from mixtures.cli.guide import Guide

D, K, R = 8, 3, 3  # variables, components and states of the tensors that are ranked
WIDE = 1024  # variables of the tensor whose rank is given by a witness


def converting(guide: Guide, model: Mixture, test: Any) -> None:
    """TMM -> HMM -> LTM -> SPN: sizes, proven bounds, and the densities of held-out rows."""
    from transforms import certificate, convert

    guide.chapter(
        "3. Up the hierarchy, at linear size",
        "Every TMM is an HMM, every HMM a latent tree, every latent tree a sum-product network, "
        "and "
        "no step costs more than a constant factor. The fitted TMM makes the whole way; every "
        "certificate says what was proven before anything was built, and compares the stored "
        "numbers modulo a prime. The last column is the largest difference of log f(x) over the "
        "held-out digits.",
    )
    logs = model.log_prob(test).double()
    rows = [[_name(model), f"{model.coefficients.size:,}", "", f"{model.coefficients.stored:,}",
             "", ""]]  # fmt: skip
    for target in (HMM, LTM, SPN):
        moved = convert(model, target)
        proof = certificate(model, moved)
        difference = float((moved.log_prob(test).double() - logs).abs().max().detach())
        exact = {True: "yes", False: "NO", None: "not known"}[proof.exact]
        bound = "" if proof.bound is None else f"{proof.bound:,}"
        edges, stored = f"{moved.coefficients.size:,}", f"{moved.coefficients.stored:,}"
        rows.append([_name(moved), edges, bound, stored, exact, f"{difference:.1e}"])
        model = moved
    headings = ["class", "edges", "proven bound", "numbers stored", "same W mod p", "|Δ log f|"]
    guide.table(headings, rows)


def ranking(guide: Guide, generator: torch.Generator) -> None:
    """Certified ranks of small tensors of each class, next to what theory says."""
    from transforms import convert, rank, witness

    guide.chapter(
        "4. How deep is deep? Ranks that certify",
        f"A random tensor of each class over d = {D} variables, k = {K} components, r = {R} "
        f"states. "
        "A matricization of rank R can't be written with fewer than R products: ranks prove that "
        "depth pays. They are exact: a regular minor modulo a prime from below, the cheapest cut "
        "from above, of the stored numbers themselves.",
    )
    draw: dict[str, Any] = {"generator": generator, "dtype": torch.float64}
    deep = LTM(Tree.balanced(D), K, R, **draw)
    tensors: list[tuple[CoefficientTensor, int, int]] = [
        (TMM(D, K, R, **draw), R, R),
        (HMM(D, K, R, **draw), R ** (D // 2), R),
        (deep, R ** (D // 2), R),
        (HT(Tree.balanced(D), K, R, **draw), R ** (D // 2), R),
        (convert(deep, SPN), R ** (D // 2), R),
    ]
    odd, half = list(range(0, D, 2)), list(range(D // 2))
    rows = []
    for tensor, at_odd, at_half in tensors:
        found = [rank(tensor, cut) for cut in (odd, half)]
        shown = [str(each.exact) if each.exact is not None else str(each) for each in found]
        rows.append([_name(tensor), shown[0], str(at_odd), shown[1], str(at_half)])
    headings = ["class", "odd | even", "theory", "first half | second half", "theory"]
    guide.table(headings, rows)
    guide.picture(
        plot.matrix(deep, odd, log=True),
        f"log W of the latent tree as a matrix, odd against even variables: rank {rows[2][1]}.",
    )
    wide = LTM(Tree.balanced(WIDE), 2, 2)
    power = witness(wide, range(0, WIDE, 2)).rank
    guide.say(
        f"A latent tree over {WIDE} variables with two states a latent has odd | even rank at "
        f"least "
        f"2^{power.bit_length() - 1} for almost all tables, certified by a witness: a mixture of "
        f"products would need as many terms. It has {wide.size:,} edges."
    )


def _name(model: Mixture | CoefficientTensor) -> str:
    tensor = model.coefficients if isinstance(model, Mixture) else model
    return type(tensor).__name__
