"""Which pattern every row of data has at each node of a tree, in numbers as small as they fit; and
which patterns say anything.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

from mixtures.circuit import CONSTANTS, Integers
from mixtures.leafrows import evenly

SMALL = 256  # patterns that fit into a byte
EVERY = slice(None)

Flags = NDArray[numpy.bool_]


class PatternCodes:
    """Codes (n,) of nodes, begun with those of leaves (d, n); put and got many nodes at a time."""

    def __init__(self, nodes: int, leaves: Tensor) -> None:
        self._parts = [leaves]
        self._part = numpy.full(nodes, -1, dtype=numpy.int64)
        self._row = numpy.zeros(nodes, dtype=numpy.int64)
        own = slice(CONSTANTS, CONSTANTS + len(leaves))
        self._part[own], self._row[own] = 0, numpy.arange(len(leaves))

    def put(self, nodes: Integers, codes: Tensor) -> None:
        """Note the codes (N, n) of nodes, which are not copied."""
        self._part[nodes], self._row[nodes] = len(self._parts), numpy.arange(len(codes))
        self._parts.append(codes)

    def get(self, nodes: Integers, rows: slice = EVERY) -> Tensor:
        """The codes (N, n) of nodes, for some of the rows; not to be written to."""
        parts, own = self._part[nodes], self._row[nodes]
        if bool((parts == parts[0]).all()):
            part, spaced = self._parts[parts[0]], evenly(own)
            if spaced is not None:
                return part[spaced, rows]
            return part[:, rows].index_select(0, torch.as_tensor(own, device=part.device))
        pairs = zip(parts.tolist(), own.tolist(), strict=True)
        return torch.stack([self._parts[part][row, rows].to(torch.int32) for part, row in pairs])

    def one(self, node: int) -> Tensor:
        """The codes (n,) of one node."""
        own: Tensor = self._parts[self._part[node]][self._row[node]]
        return own.to(torch.int32)

    def joint(self, owners: Integers, strides: Integers, most: int, rows: slice = EVERY) -> Tensor:
        """The sum over children c of strides[c, i] codes[owners[c, i]], (N, n), below `most`."""
        kind = torch.uint8 if most <= SMALL else torch.int32
        key = self.get(owners[-1], rows).to(kind)
        for child, stride in zip(owners[:-1], strides[:-1], strict=True):
            part = self.get(child, rows).to(kind)
            if stride[0] < SMALL and bool((stride == stride[0]).all()):
                key = torch.add(key, part, alpha=int(stride[0]))
                continue
            factor = torch.as_tensor(stride[:, None], device=key.device).to(kind)
            key = torch.addcmul(key, part, factor)
        return key


class PatternFlags:
    """Of every row of every width, whether it says anything; None throughout if all do."""

    def __init__(self, observed: Tensor | None) -> None:
        self.observed = None if observed is None else observed.numpy(force=True)
        self.flags: dict[int, Flags] = {}

    def leaves(self, width: int, variables: Integers) -> None:
        """Append those of the symbols of variables."""
        if self.observed is not None:
            self._append(width, self.observed[variables].reshape(-1))

    def group(self, width: int, children: Sequence[tuple[int, Integers]]) -> Flags | None:
        """Append those of nodes whose children read rows (c, N B); None if all say something."""
        if self.observed is None:
            return None
        parts = (self.flags[w].take(rows) for w, index in children for rows in index)
        found = functools.reduce(numpy.logical_or, parts)
        self._append(width, found)
        return None if found.all() else found

    def all(self, device: torch.device) -> dict[int, Tensor] | None:
        """Those of all rows, by width."""
        if self.observed is None:
            return None
        return {w: torch.as_tensor(flags, device=device) for w, flags in self.flags.items()}

    def _append(self, width: int, flags: Flags) -> None:
        known = self.flags.get(width)
        self.flags[width] = flags if known is None else numpy.concatenate([known, flags])
