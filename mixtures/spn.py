"""Sum-product networks: any complete and decomposable circuit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

from mixtures import dense
from mixtures.choices import component_sizes, positive
from mixtures.coefficients import CoefficientTensor
from mixtures.network import Network, from_networkx
from mixtures.polynomial import Expression, to_network
from mixtures.randomspn import random_network
from mixtures.tables import Table

if TYPE_CHECKING:
    import networkx


class SPN(CoefficientTensor):
    """A sum-product network over the components of d variables.

    root: an expression in `inputs(d, k)`, or a `Network`. Sums must be complete, products
    decomposable (StructureError naming the node), weights non-negative with sum one (ValueError
    saying what they sum to).

    >>> from mixtures import inputs
    >>> a = inputs(2, 2)
    >>> SPN(0.25 * a[0][1] * a[1][0] + 0.75 * a[0][0] * a[1][1]).dense()
    tensor([[0.0000, 0.7500],
            [0.2500, 0.0000]])
    """

    def __init__(
        self,
        root: Expression | Network,
        *,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        network = root if isinstance(root, Network) else to_network(_expression(root))
        network.check()
        circuit, stacks, absent, places = network.compile()
        dtype = torch.get_default_dtype() if dtype is None else dtype
        values = [torch.as_tensor(stack, dtype=dtype, device=device) for stack in stacks]
        like = torch.empty(0, dtype=dtype, device=device)
        masks = [torch.as_tensor(mask, device=device) if mask.any() else None for mask in absent]
        tables = [Table(value, mask) for value, mask in zip(values, masks, strict=True)]
        super().__init__(circuit, tables, like)
        self.network = network
        self._sums = places

    @classmethod
    def from_networkx(
        cls,
        graph: networkx.DiGraph,
        shape: Sequence[int] | None = None,
        *,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> SPN:
        """From a graph: node attribute kind ("sum", "product", "input"), inputs with variable and
        component, edges below sums with weight. shape: (k_1, .., k_d), default the largest that
        occur.
        """
        return cls(from_networkx(graph, shape), dtype=dtype, device=device)

    @classmethod
    def random(
        cls,
        variables: int,
        components: int | Sequence[int],
        *,
        depth: int = 3,
        sums: int = 4,
        repetitions: int = 4,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> SPN:
        """A random network (Peharz et al., UAI 2019): regions halved at random `depth` times,
        `sums` sums in each, `repetitions` of it under one root.

        >>> SPN.random(4, 2, depth=1, sums=2, repetitions=1).is_normalised()
        True
        """
        shape = component_sizes(variables, components)
        positive(sums, "sums"), positive(repetitions, "repetitions")
        if depth < 0:
            raise ValueError(f"depth must not be negative, got {depth}")
        network = random_network(shape, depth, sums, repetitions, generator)
        return cls(network, dtype=dtype, device=device)

    def to_networkx(self) -> networkx.DiGraph:
        """The network with its present weights; nodes are numbered, children first, the root
        last.
        """
        return self.network.to_networkx(self.edge_weights())

    def edge_weights(self) -> NDArray[Any]:
        """The present weight of every edge, in the order of `network.child`."""
        weights = numpy.ones(len(self.network.child))
        arrays = [array.detach().cpu().double().numpy() for array in self.arrays]
        for node, table, slot in self._sums:
            first, last = self.network.start[node], self.network.start[node + 1]
            weights[first:last] = arrays[table][slot, 0, : last - first]
        return weights

    def _dense(self) -> Tensor:
        return dense.of_circuit(self.circuit, self.arrays, self._like)

    def _config(self) -> dict[str, Any]:
        return {"network": self.network.config(), "dtype": str(self.dtype).removeprefix("torch.")}

    @classmethod
    def _from_config(cls, config: dict[str, Any], tables: Sequence[Table]) -> SPN:
        del tables  # the network has the weights it was made with
        return cls(Network.from_config(config["network"]), dtype=getattr(torch, config["dtype"]))


def _expression(root: Any) -> Expression:
    if not isinstance(root, Expression):
        raise ValueError(
            f"expected an expression in inputs(d, k) or a Network, got {type(root).__name__}; "
            f"SPN.from_networkx takes graphs"
        )
    return root
