"""Claims about self-attention: separation ranks, the threshold, the law, what small networks do."""

from __future__ import annotations

import math

import torch

from transforms.attention_bounds import depth_threshold, quoted_lower_bound, width_needed
from transforms.attention_law import GPT3, is_too_deep, non_embedding_parameters, optimal_depth
from transforms.attention_ranks import separation_rank
from transforms.attention_runs import best_depth, measured, spread, tuned
from transforms.attention_task import CompositionTask
from transforms.attention_training import BUDGETS, GRID
from transforms.attention_weights import AttentionArchitecture
from transforms.claims import Verdict, claim, decide

LEVINE = "Levine, Wies, Sharir, Bata, Shashua, NeurIPS 2020"
OWN = "derived for this project"
MEASURED = "trained for this project"


def _rank(
    width: int,
    depth: int,
    heads: int = 1,
    *,
    head_width: int | None = None,
    embedding: int | None = None,
    sides: tuple[int, int] | None = None,
) -> int | None:
    plan = AttentionArchitecture(width, depth, heads, head_width, embedding)
    here, there = (plan.rank, plan.rank) if sides is None else sides
    generator = torch.Generator().manual_seed(0)
    return separation_rank(plan, range(here), here + there, generator=generator).exact


def _monomials(d: int, depth: int) -> int:
    """The formula, from its statement."""
    variables, top = d * (d + 1) // 2, (3**depth - 1) // 2
    free = [math.comb(c + variables - 1, variables - 1) for c in range(top + 1)]
    return sum(min(free[c], d * free[top - c]) for c in range(top + 1))


@claim(OWN, "verified", "heads of width one are taken for full ones")
def attention_monomials(mutated: bool) -> Verdict:
    """Heads of full width and d tokens a side reach what counting monomials allows, a separation
    rank of sum_c min(binom(c+D-1, D-1), d binom(C-c+D-1, D-1)).
    """
    shapes = [(2, 2), (3, 2), (4, 2), (2, 3), (1, 4)]
    narrow = 1 if mutated else None
    found = [_rank(d, L, head_width=narrow) for d, L in shapes]
    sizes = "width, depth = (2,2), (3,2), (4,2), (2,3), (1,4): certified"
    return decide([_monomials(d, L) for d, L in shapes], found, sizes)


@claim(OWN, "verified", "heads keep the full width")
def attention_narrow_heads(mutated: bool) -> Verdict:
    """Heads of width d/H fall short of the monomials: 17 of 18, 43 of 49, 107 and 85 of 110."""
    shapes = [(2, 2), (3, 3), (4, 2), (4, 4)]
    found = [_rank(d, 2, H, head_width=d if mutated else None) for d, H in shapes]
    return decide([17, 43, 107, 85], found, "width, heads = (2,2), (3,3), (4,2), (4,4), depth 2")


@claim(OWN, "derived", "nothing is embedded")
def attention_bottleneck(mutated: bool) -> Verdict:
    """An embedding of rank r puts r in the place of the width, however wide the network."""
    shapes = [(3, 1), (4, 2), (5, 3)]
    found = [_rank(d, 2, embedding=None if mutated else r) for d, r in shapes]
    expected = [_monomials(r, 2) for _, r in shapes]
    return decide(expected, found, "width, r = (3,1), (4,2), (5,3), depth 2")


@claim(OWN, "derived", "one token on a side is taken for many")
def attention_more_tokens(mutated: bool) -> Verdict:
    """From as many tokens a side as tokens have coordinates on, more never raise the rank."""
    few = (1, 1) if mutated else (2, 2)
    found = [_rank(2, 3, sides=sides) for sides in (few, (2, 5), (5, 2), (4, 4))]
    return decide([232] * 4, found, "width 2, depth 3, up to 7 tokens")


@claim(LEVINE, "quoted", "the exponent L - 2 is read as L")
def attention_depth_pays(mutated: bool) -> Verdict:
    """Below the threshold log_3(d), log_3 sep >= 3^(L-2) (log_3(d-H) + 2 - L - log_3 2)."""
    held = True
    for width, depth, heads in [(9, 1, 1), (8, 1, 2), (9, 2, 1), (9, 2, 3)]:
        plan = AttentionArchitecture(width, depth, heads)
        generator = torch.Generator().manual_seed(0)
        found = separation_rank(plan, generator=generator, budget=2**27).lower
        quoted = quoted_lower_bound(width, depth, heads).value * (9 if mutated else 1)
        held = held and math.log(found, 3) >= quoted
    sizes = "widths 8 and 9, depths 1 and 2"
    if not held:
        return Verdict("refuted", sizes, "a certified rank lies below")
    return Verdict("only a bound", sizes, "not contradicted by certified ranks; not proved here")


@claim(OWN, "verified", "the deeper network is taken to be no deeper")
def attention_shallow_width(mutated: bool) -> Verdict:
    """One layer needs width 17 and 231 to reach the ranks of width 2 at depths 2 and 3."""
    deep = (1, 1) if mutated else (2, 3)
    found = [
        width_needed(
            1,
            AttentionArchitecture(2, depth),
            certify=True,
            generator=torch.Generator().manual_seed(0),
        ).value
        for depth in deep
    ]
    return decide([17, 231], found, "certified ranks against the formula for one layer")


@claim(LEVINE, "quoted", "the threshold log_3(d) is taken for the fitted law")
def attention_law_of_depth(mutated: bool) -> Verdict:
    """Trained language models stop profiting from depth at ln d = 5.039 + 0.0555 L: of the GPT-3
    family only the largest is too deep, 96 layers for 80.5.
    """
    deep = [
        shape.name
        for shape in GPT3
        if (
            shape.depth > depth_threshold(shape.width)
            if mutated
            else is_too_deep(shape.depth, shape.width)
        )
    ]
    best = round(float(optimal_depth(non_embedding_parameters(96, 12288))), 1)
    sizes = "arithmetic of the quoted fit only"
    if (deep, best) != (["GPT-3 175B"], 80.5):
        return Verdict("refuted", sizes, f"too deep: {', '.join(deep)}")
    return Verdict("open", sizes, "the numbers follow from the fit; no such model is trained here")


@claim(OWN, "verified", "one hop is asked every time")
def attention_task_ranks(mutated: bool) -> Verdict:
    """Iterating b o a mixes two halves: 1, 2, 4 hops have separation ranks 4, 20, 24 of 24."""
    hops = (1, 1, 1) if mutated else (1, 2, 4)
    found = [CompositionTask(4).separation_rank(hop) for hop in hops]
    return decide([4, 20, 24], found, "four points, exactly")


@claim(MEASURED, "measured", "the losses of the narrowest networks are taken for every size")
def attention_trained_optimum(mutated: bool) -> Verdict:
    """On the composition task one layer is best for the smallest of three sizes, more for larger
    ones.
    """
    chosen = tuned(measured())
    budgets = [BUDGETS[256]] * len(BUDGETS) if mutated else list(BUDGETS.values())
    best = [best_depth(widths, chosen)[0] for widths in budgets]
    sizes = "recorded runs: 256, 1024, 4096 times 12 weights, depths 1 to 6, 4 seeds, 1000 steps"
    grows = best[0] == 1 and min(best[1:]) > 1
    return Verdict("confirmed" if grows else "refuted", sizes, f"best depths {best}")


@claim(MEASURED, "measured", "widths 8 and 32 are exchanged")
def attention_trained_width(mutated: bool) -> Verdict:
    """On the composition task depth does not help width 8, and helps width 16 and 32."""
    chosen = tuned(measured())
    gains = []
    for width in (32, 16, 8) if mutated else (8, 16, 32):
        _, best = best_depth(dict.fromkeys(GRID[width], width), chosen)
        gains.append(round(spread(chosen[width, 1]).mean - best.mean, 2))
    held = gains[0] < 0.1 < 0.3 < min(gains[1:])
    sizes = "recorded runs: 4 seeds, 1000 steps"
    return Verdict("confirmed" if held else "refuted", sizes, f"gains over one layer {gains} nats")
