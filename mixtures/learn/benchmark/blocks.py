"""Models on one tree side by side: their mixture is a model on that tree, its states in blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from mixtures.ltm import LTM
from mixtures.tree import Node

MOST_BLOCKS = 12
MOST_ENTRIES = 2**24  # of tables between latents, the zeros between blocks included


def side_by_side(parts: Sequence[LTM]) -> LTM:
    """The mixture, in equal parts, of models on one tree, as a model on that tree.

    A latent has the states of all parts, one block after the other; none is left within a tree.
    """
    tree = parts[0].tree
    tables: dict[Node, Tensor] = {}
    for node in tree.nodes:
        each = [cast(Tensor, part.table(node)) for part in parts]
        if node == tree.root:
            tables[node] = torch.cat(each, 1) / len(parts)
        else:
            tables[node] = torch.block_diag(*each) if node in tree.children else torch.cat(each)
    return LTM.from_tables(tree, tables)


def most_states(latents: int) -> int:
    """How many states a latent may have, so that tables stay small."""
    return int((MOST_ENTRIES / latents) ** 0.5)


def together(logs: Tensor, states: Sequence[int], most: int) -> list[int]:
    """Which models are best put side by side, in equal parts, by rows held out.

    logs: (n, m) log-densities of the rows under each of m models, which have `states`; at most
    `most` states, and MOST_BLOCKS models, are taken. Begins with the best model and takes the one
    that raises the mean log-density of the mixture most, as long as one does.

    >>> together(torch.tensor([[-1.0, -9.0, -3.0], [-9.0, -1.0, -9.0]]), [2, 2, 2], 6)
    [0, 1]
    """
    chosen: list[int] = []
    best = -torch.inf
    while len(chosen) < MOST_BLOCKS:
        room = most - sum(states[m] for m in chosen)
        open_ = [
            m for m in range(len(states)) if m not in chosen and (states[m] <= room or not chosen)
        ]
        if not open_:
            break
        scores = [float(_mixed(logs[:, [*chosen, m]])) for m in open_]
        score = max(scores)
        if score <= best:
            break
        best = score
        chosen.append(open_[scores.index(score)])
    return chosen


def _mixed(logs: Tensor) -> Tensor:
    """The mean log-density of rows under the mixture in equal parts."""
    return (logs.logsumexp(1) - torch.tensor(float(logs.shape[1])).log()).mean()
