"""Softmax transformers as they are trained in practice: several of one shape side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class TransformerShape:
    """Depth, width and heads of a transformer; 12 depth width^2 weights without the embeddings.

    Raises ValueError unless all are positive integers and heads divides width.

    >>> TransformerShape(width=32, depth=4).parameters
    49152
    """

    width: int
    depth: int
    heads: int = 1

    def __post_init__(self) -> None:
        for name in ("width", "depth", "heads"):
            size = getattr(self, name)
            if type(size) is not int or size < 1:
                raise ValueError(f"expected {name} to be a positive integer, got {size!r}")
        if self.width % self.heads:
            raise ValueError(
                f"expected heads to divide width, got {self.heads} heads for width {self.width}"
            )

    @property
    def parameters(self) -> int:
        """Attention and feed-forward weights, 12 L d^2."""
        return 12 * self.depth * self.width**2


class Transformers(nn.Module):
    """Transformers of one shape, one per seed, evaluated in one batched pass.

    Each is the standard network that the polynomial one of `SelfAttention` simplifies: embedded
    symbols and positions, and `depth` blocks of softmax self-attention and a feed-forward layer of
    four times the width (GELU), with residuals and layer norms (without gains) before both. Tokens
    see each other in both directions. Weights of a network depend on its own seed only.

    >>> shape = TransformerShape(width=8, depth=2)
    >>> networks = Transformers(shape, symbols=6, positions=4, outputs=3, seeds=[0, 1])
    >>> networks(torch.zeros(2, 5, 4, dtype=torch.int64)).shape  # two networks, five rows each
    torch.Size([2, 5, 4, 3])

    Source: Vaswani et al., 2017, in the arrangement of Radford et al., 2019.
    """

    def __init__(
        self,
        shape: TransformerShape,
        *,
        symbols: int,
        positions: int,
        outputs: int,
        seeds: Sequence[int],
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        self.shape = shape
        d = shape.width
        dice = [torch.Generator().manual_seed(seed) for seed in seeds]

        def drawn(rows: int, columns: int, scale: float) -> nn.Parameter:
            tables = [torch.randn(rows, columns, generator=g, dtype=dtype) for g in dice]
            return nn.Parameter((torch.stack(tables) * scale).to(device))

        fan, deep = d**-0.5, (2 * shape.depth) ** -0.5
        self.symbols, self.positions = drawn(symbols, d, 0.5), drawn(positions, d, 0.5)
        blocks = range(shape.depth)
        self.read = nn.ParameterList([drawn(d, 3 * d, fan) for _ in blocks])
        self.mixed = nn.ParameterList([drawn(d, d, fan * deep) for _ in blocks])
        self.up = nn.ParameterList([drawn(d, 4 * d, fan) for _ in blocks])
        self.down = nn.ParameterList([drawn(4 * d, d, fan * deep / 2) for _ in blocks])
        self.unembedding = drawn(d, outputs, fan / 4)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits: tokens (seeds, n, positions), integers -> (seeds, n, positions, outputs)."""
        copies, n, length = tokens.shape
        place = torch.arange(copies, device=tokens.device)[:, None, None]
        embedded = self.symbols[place, tokens] + self.positions[:, None]
        x = embedded.reshape(copies, n * length, self.shape.width)
        for read, mixed, up, down in zip(self.read, self.mixed, self.up, self.down, strict=True):
            x = x + self._attended(self._normed(x) @ read, n) @ mixed
            x = x + functional.gelu(self._normed(x) @ up) @ down
        return (self._normed(x) @ self.unembedding).reshape(copies, n, length, -1)

    def _normed(self, x: Tensor) -> Tensor:
        return functional.layer_norm(x, (self.shape.width,))

    def _attended(self, read: Tensor, n: int) -> Tensor:
        """softmax(q k^T / sqrt(d / H)) v in every head; read: (seeds, n * length, 3 d)."""
        copies, d, heads = len(read), self.shape.width, self.shape.heads
        parts = read.reshape(copies * n, -1, 3, heads, d // heads).permute(2, 0, 3, 1, 4)
        found = functional.scaled_dot_product_attention(parts[0], parts[1], parts[2])
        return found.transpose(1, 2).reshape(copies, -1, d)
