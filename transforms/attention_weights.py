"""Sizes and weights of self-attention without softmax, evaluated over floats and residues."""

from __future__ import annotations

from dataclasses import dataclass

import numpy
import torch
from torch import Tensor

from transforms.elimination import random_residues


@dataclass(frozen=True)
class AttentionArchitecture:
    """The sizes of a self-attention network; almost all weights of those sizes behave alike.

    head_width: the rows of each query, key and value matrix, width / heads unless given. embedding:
    the number of coordinates a token comes in, if it is embedded by a (width, embedding) matrix
    first (the vocabulary bottleneck); None if tokens are vectors of length `width`. Raises
    ValueError unless all sizes are positive and heads divides width where head_width is not given.

    >>> AttentionArchitecture(width=4, depth=2, heads=2).head_size
    2
    """

    width: int
    depth: int
    heads: int = 1
    head_width: int | None = None
    embedding: int | None = None

    def __post_init__(self) -> None:
        for name in ("width", "depth", "heads", "head_width", "embedding"):
            size = getattr(self, name)
            whole = type(size) is int and size >= 1
            if not whole and not (size is None and name in ("head_width", "embedding")):
                raise ValueError(f"expected {name} to be a positive integer, got {size!r}")
        if self.head_width is None and self.width % self.heads:
            raise ValueError(
                f"expected heads to divide width, got {self.heads} heads for width {self.width}; "
                "give head_width"
            )

    @property
    def head_size(self) -> int:
        """Rows of each query, key and value matrix."""
        return self.width // self.heads if self.head_width is None else self.head_width

    @property
    def coordinates(self) -> int:
        """Coordinates of a token."""
        return self.width if self.embedding is None else self.embedding

    @property
    def rank(self) -> int:
        """Dimension of the space that embedded tokens span, for almost all embeddings."""
        return min(self.width, self.coordinates)

    @property
    def architecture(self) -> AttentionArchitecture:
        """Itself."""
        return self

    @property
    def height(self) -> float | None:
        """None: there are no weights that an unlucky prime could divide."""
        return None

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of queries, keys, values and outputs."""
        side = (self.depth, self.heads, self.head_size, self.width)
        return side, side, side, (self.depth, self.heads, self.width, self.head_size)

    def weights_modulo(self, p: int, rng: numpy.random.Generator) -> AttentionWeights:
        """Random residues for all weights."""
        queries, keys, values, outputs = (random_residues(rng, s, p) for s in self.shapes)
        table = None
        if self.embedding is not None:
            table = random_residues(rng, (self.width, self.embedding), p)
        return AttentionWeights(queries, keys, values, outputs, table, p)


@dataclass(frozen=True)
class AttentionWeights:
    """The weights of a network, floats or residues modulo `prime`, and two ways to evaluate it.

    queries, keys, values: (depth, heads, head width, width); outputs: (depth, heads, width, head
    width); embedding: (width, coordinates) or None.
    """

    queries: Tensor
    keys: Tensor
    values: Tensor
    outputs: Tensor
    embedding: Tensor | None = None
    prime: int | None = None

    def literal(self, tokens: Tensor) -> Tensor:
        """All tokens through all layers, by the definition; see `SelfAttention.literal`."""
        x = self.embedded(self._checked(tokens))
        for query, key, value, output in self._layers():
            heads = x.unsqueeze(-3)
            scores = self.product(self.product(heads, query.mT), self.product(heads, key.mT).mT)
            mixed = self.product(scores, self.product(heads, value.mT))
            x = self.reduced(self.product(mixed, output.mT).sum(-3))
        return x

    def recursive(self, tokens: Tensor) -> Tensor:
        """The same by the recursion through S; see `SelfAttention.recursive`."""
        x = self.embedded(self._checked(tokens))
        second = self.product(x.mT, x)
        for layer in range(len(self.queries)):
            step = self.step(layer, second)
            x = self.product(x, step.mT)
            second = self.product(self.product(step, second), step.mT)
        return x

    def step(self, layer: int, second: Tensor) -> Tensor:
        """F(S) = sum_h O_h V_h S K_h^T Q_h for one layer: (*batch, width, width) -> the same."""
        query, key = self.queries[layer], self.keys[layer]
        value, output = self.values[layer], self.outputs[layer]
        middle = self.product(self.product(value, second.unsqueeze(-3)), key.mT)
        return self.reduced(self.product(self.product(output, middle), query).sum(-3))

    def embedded(self, tokens: Tensor) -> Tensor:
        """Tokens as vectors of length `width`: (*batch, n, coordinates) -> (*batch, n, width)."""
        return tokens if self.embedding is None else self.product(tokens, self.embedding.mT)

    def product(self, left: Tensor, right: Tensor) -> Tensor:
        """A product of matrices over the field; residues are reduced before they overflow."""
        if self.prime is None:
            return left @ right
        length = max(1, (2**63 - 1) // (self.prime - 1) ** 2)
        total = (left[..., :length] @ right[..., :length, :]).remainder_(self.prime)
        for start in range(length, left.shape[-1], length):
            end = start + length
            part = (left[..., start:end] @ right[..., start:end, :]).remainder_(self.prime)
            total = total.add_(part)
        return total.remainder_(self.prime) if left.shape[-1] > length else total

    def reduced(self, values: Tensor) -> Tensor:
        """A sum of few elements of the field as an element of the field."""
        return values if self.prime is None else values.remainder(self.prime)

    def _layers(self) -> zip[tuple[Tensor, Tensor, Tensor, Tensor]]:
        return zip(self.queries, self.keys, self.values, self.outputs, strict=True)

    def _checked(self, tokens: Tensor) -> Tensor:
        table = self.queries if self.embedding is None else self.embedding
        if tokens.ndim < 2 or tokens.shape[-1] != table.shape[-1]:
            raise ValueError(
                f"expected tokens of shape (*batch, n, {table.shape[-1]}), "
                f"got {tuple(tokens.shape)}"
            )
        if self.prime is None:
            if tokens.dtype != table.dtype:
                raise ValueError(f"expected tokens of type {table.dtype}, got {tokens.dtype}")
            return tokens
        if tokens.dtype != torch.int64:
            raise ValueError(f"expected tokens of integers (torch.int64), got {tokens.dtype}")
        return tokens.remainder(self.prime)
