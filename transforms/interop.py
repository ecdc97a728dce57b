"""Bridges to neighbours: tensorly, hmmlearn, pgmpy, and einsum expressions for any contractor.

Graphs of trees and networks go to networkx by `Tree.to_networkx` and `SPN.to_networkx`, and come
back by `Tree.from_networkx` and `SPN.from_networkx`.
"""

from transforms.interop_graphs import to_einsum, to_pgmpy
from transforms.interop_hmmlearn import from_hmmlearn, to_hmmlearn
from transforms.interop_tensorly import from_tensorly, to_tensorly

__all__ = [
    "from_hmmlearn",
    "from_tensorly",
    "to_einsum",
    "to_hmmlearn",
    "to_pgmpy",
    "to_tensorly",
]
