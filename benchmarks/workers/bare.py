"""The lower bound: the matrix products that a task cannot do without, and nothing else.

Rows are cut into chunks that stay in the cache, products write where they are told to, and values
are neither looked up nor rescaled, so that no evaluator that multiplies these matrices is faster.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.protocol import Arrays, Case, imports


def in_chunks(rows: int, size: int, product: Callable[[int], None]) -> Case:
    """`product(b)` for chunks of b rows that make up all rows."""
    sizes = [min(size, rows - start) for start in range(0, rows, size)]

    def run() -> None:
        with torch.no_grad():
            for chunk in sizes:
                product(chunk)

    return Case(run, lambda _: {})


def chain(arrays: Arrays) -> Case:
    """A product (r, r) x (r, n) for every step."""
    n, d = arrays["x"].shape
    table = torch.as_tensor(arrays["transition"])
    old = torch.rand(len(table), n, dtype=table.dtype)
    new = torch.empty_like(old)

    def product(_: int) -> None:
        for _step in range(d - 1):
            torch.mm(table, old, out=new)

    return in_chunks(n, n, product)


def tree(arrays: Arrays) -> Case:
    """A product (r, r) x (r, n) for every inner node but the root, in batches of all nodes."""
    tables: Tensor = torch.as_tensor(arrays["tables"])
    nodes, r, _ = tables.shape
    size = 256
    old = torch.rand(nodes, r, size, dtype=tables.dtype)
    new = torch.empty_like(old)

    def product(chunk: int) -> None:
        torch.bmm(tables, old[..., :chunk], out=new[..., :chunk])

    return in_chunks(len(arrays["x"]), size, product)


def kronecker(arrays: Arrays) -> Case:
    """A product (r, r * r) x (r * r, n) for every inner node but the root."""
    tables: Tensor = torch.as_tensor(arrays["tables"])
    size = 512
    old = torch.rand(tables.shape[2], size, dtype=tables.dtype)
    new = torch.empty(tables.shape[1], size, dtype=tables.dtype)

    def product(chunk: int) -> None:
        for table in tables:
            torch.mm(table, old[:, :chunk], out=new[:, :chunk])

    return in_chunks(len(arrays["x"]), size, product)


CASES: dict[str, Any] = {
    "hmm": chain,
    "hmm-gaussian": chain,
    "ltm": tree,
    "ltm-64": tree,
    "ht": kronecker,
    "import": imports("torch"),
}
DISTRIBUTIONS = ("torch",)
