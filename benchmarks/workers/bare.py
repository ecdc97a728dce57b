"""The lower bound: the matrix products that a task cannot do without, and nothing else.

Rows are cut into chunks that stay in the cache, products write where they are told to, and values
are neither looked up nor rescaled, so that no evaluator that multiplies these matrices is faster.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.protocol import Arrays, Case


def in_chunks(rows: int, size: int, product: Callable[[int], None]) -> Case:
    """`product(b)` for chunks of b rows that make up all rows."""
    sizes = [min(size, rows - start) for start in range(0, rows, size)]

    def run() -> None:
        with torch.no_grad():
            for chunk in sizes:
                product(chunk)

    return Case(run, lambda _: {})


def chain(arrays: Arrays) -> Case:
    """A product (n, r) x (r, r) for every step."""
    n, d = arrays["x"].shape
    table = torch.as_tensor(arrays["transition"])
    old = torch.rand(n, len(table), dtype=table.dtype)
    new = torch.empty_like(old)

    def product(chunk: int) -> None:
        for _ in range(d - 1):
            torch.mm(old[:chunk], table, out=new[:chunk])

    return in_chunks(n, 512, product)


def tree(arrays: Arrays) -> Case:
    """A product (n, columns) x (columns, r) for every inner node but the root."""
    tables: Tensor = torch.as_tensor(arrays["tables"]).mT.contiguous()
    nodes, columns, r = tables.shape
    size = 512 if columns == r else 128
    old = torch.rand(nodes, size, columns, dtype=tables.dtype)
    new = torch.empty(nodes, size, r, dtype=tables.dtype)

    def product(chunk: int) -> None:
        for node in range(nodes):
            torch.mm(old[node, :chunk], tables[node], out=new[node, :chunk])

    return in_chunks(len(arrays["x"]), size, product)


CASES: dict[str, Any] = {
    "hmm": chain,
    "hmm-gaussian": chain,
    "ltm": tree,
    "ltm-64": tree,
    "ht": tree,
}
DISTRIBUTIONS = ("torch",)
