"""Two model classes from outside the library, as a user would write them; both are in the zoo."""

from __future__ import annotations

import numpy
import torch
from torch import Tensor

from mixtures import Table, Tree
from mixtures.circuit import Builder
from mixtures.coefficients import CoefficientTensor
from mixtures.tables import random_rows
from mixtures.treetensor import TreeTensor, drawn


class TwoLevels(TreeTensor):
    """Groups of variables: a latent per group under one root, one leaf table for all variables."""

    def __init__(self, groups, components, states, *, generator=None, dtype=None, device=None):
        d = sum(groups)
        starts = [sum(groups[:place]) for place in range(len(groups))]
        children = {
            d + g: range(a, a + n) for g, (a, n) in enumerate(zip(starts, groups, strict=True))
        }
        tree = Tree({**children, "top": list(children)})
        sizes = {"top": (1, states), **dict.fromkeys(children, (states, states))}
        sizes |= dict.fromkeys(range(d), (states, components))
        keys = {node: node for node in tree.inner} | dict.fromkeys(range(d), "leaf")
        super().__init__(tree, sizes, keys, drawn(generator, dtype, device))


class AgreeOrNot(CoefficientTensor):
    """Either all variables have one and the same component, or they are a mixture of products.

    W[i] = sum over s of w[s] [i_1 = .. = i_d = s] + sum over s of w[k + s] prod_j a_j[s, i_j]
    """

    def __init__(self, variables, components, states, *, generator=None, dtype=None, device=None):
        d, k, r = variables, components, states
        builder = Builder([k] * d)
        inputs = numpy.array([builder.input(j) for j in range(d)])
        leaves = builder.layer(
            "product", inputs.reshape(1, 1, d), [k], r, 0, numpy.arange(d).reshape(1, d)
        )
        same = builder.layer("product", inputs.reshape(d, 1, 1), [k] * d, k)
        mixed = builder.layer("product", leaves.reshape(d, 1, 1), [r] * d, r)
        both = numpy.stack([same, mixed])
        root = builder.layer("concatenate", both, [k, r], 1, 1, numpy.zeros((1, 1), dtype=int))
        builder.name("how", 0, 0)
        tables = [
            Table(random_rows(shape, generator=generator, dtype=dtype, device=device))
            for shape in ((d, r, k), (1, 1, k + r))
        ]
        super().__init__(builder.build(int(root[0, 0])), tables)
        self.sizes = {"variables": d, "components": k, "states": r}

    def _config(self):
        return self.sizes

    def _dense(self) -> Tensor:
        factors, weights = self.arrays[0], self.arrays[1].reshape(-1)
        k = factors.shape[2]
        W = torch.zeros(self.shape, dtype=self.dtype, device=self.device)
        W[(torch.arange(k),) * self.variables] = weights[:k]
        for weight, rows in zip(weights[k:], factors.unbind(1), strict=True):
            product = weight
            for row in rows:
                product = product[..., None] * row
            W = W + product
        return W
