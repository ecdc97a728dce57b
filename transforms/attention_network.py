"""Self-attention networks without softmax: polynomials in their tokens."""

from __future__ import annotations

import math

import numpy
import torch
from torch import Tensor, nn

from mixtures.residues import residues
from transforms.attention_weights import AttentionArchitecture, AttentionWeights
from transforms.elimination import bits, table_rank


class SelfAttention(nn.Module):
    """The self-attention network of Levine et al. as a polynomial: no softmax, residuals or norms.

    Each layer maps all tokens x^1 .. x^n at once,

        y^i = sum_h O_h sum_j <Q_h x^i, K_h x^j> V_h x^j,

    so `depth` layers are homogeneous of degree 3^depth. Heads have width / heads rows, or
    `head_width`. With `embedding=r`, tokens come in r coordinates and an embedding matrix of shape
    (width, r) is applied first. Weights are drawn from `generator`: normal, scaled so that outputs
    neither vanish nor explode at initialisation for tokens of unit length.

    Raises ValueError unless sizes are positive integers and heads divides width (or head_width is
    given).

    >>> network = SelfAttention(4, depth=2, heads=2, dtype=torch.float64)
    >>> x = torch.randn(5, 4, dtype=torch.float64)
    >>> torch.allclose(network.literal(x), network(x))
    True

    Source: Levine, Wies, Sharir, Bata, Shashua, Limits to Depth Efficiencies of Self-Attention,
    NeurIPS 2020, where f is one coordinate of one output token.
    """

    queries: nn.Parameter
    keys: nn.Parameter
    values: nn.Parameter
    outputs: nn.Parameter
    embedding: nn.Parameter | None

    def __init__(
        self,
        width: int,
        depth: int,
        heads: int = 1,
        *,
        head_width: int | None = None,
        embedding: int | None = None,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        self.architecture = AttentionArchitecture(width, depth, heads, head_width, embedding)
        where = torch.device("cpu") if generator is None else generator.device
        scale = width**-0.5

        def drawn(shape: tuple[int, ...], scale: float) -> nn.Parameter:
            values = torch.randn(shape, generator=generator, dtype=dtype, device=where)
            return nn.Parameter((values * scale).to(device))

        queries, keys, values, outputs = self.architecture.shapes
        self.queries, self.keys = drawn(queries, scale), drawn(keys, scale)
        self.values = drawn(values, scale)
        self.outputs = drawn(outputs, self.architecture.head_size**-0.5)
        self.register_parameter(
            "embedding", None if embedding is None else drawn((width, embedding), scale)
        )

    @classmethod
    def from_weights(
        cls,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        outputs: Tensor,
        embedding: Tensor | None = None,
    ) -> SelfAttention:
        """A network with given weights, bit for bit.

        queries, keys, values: (depth, heads, a, width); outputs: (depth, heads, width, a);
        embedding: (width, coordinates) or None. Raises ValueError where shapes disagree, or entries
        are no finite floats of one type.

        >>> eye = torch.eye(2).expand(1, 1, 2, 2)
        >>> SelfAttention.from_weights(eye, eye, eye, eye)(torch.eye(2)).tolist()
        [[1.0, 0.0], [0.0, 1.0]]
        """
        if queries.ndim != 4:
            raise ValueError(
                f"expected queries of shape (depth, heads, a, width), got {tuple(queries.shape)}"
            )
        depth, heads, head_width, width = queries.shape
        columns = None if embedding is None else embedding.shape[-1]
        network = cls(
            width,
            depth,
            heads,
            head_width=head_width,
            embedding=columns,
            dtype=queries.dtype if queries.is_floating_point() else None,
            device=queries.device,
        )
        given = {"queries": queries, "keys": keys, "values": values, "outputs": outputs}
        given |= {} if embedding is None else {"embedding": embedding}
        for name, value in given.items():
            network._check(name, value)
        with torch.no_grad():
            for name, value in given.items():
                getattr(network, name).copy_(value)
        return network

    def _check(self, name: str, value: Tensor) -> None:
        held = getattr(self, name)
        if value.shape != held.shape or value.dtype != held.dtype:
            raise ValueError(
                f"expected {name} of shape {tuple(held.shape)} and type {held.dtype}, "
                f"got {tuple(value.shape)} and {value.dtype}"
            )
        if not bool(value.isfinite().all()):
            raise ValueError(f"expected finite {name}, got an infinite entry or NaN")

    @property
    def weights(self) -> AttentionWeights:
        """The weights as they are; gradients flow through them."""
        return AttentionWeights(
            self.queries, self.keys, self.values, self.outputs, self.embedding, None
        )

    def modulo(self, p: int) -> AttentionWeights:
        """The weights as rationals (stored floats are), reduced modulo an odd prime p < 2^31.

        Its `literal` and `recursive` take integers and agree exactly. Raises ValueError for p that
        is even or out of range; that p is prime is assumed.

        >>> network = SelfAttention(2, depth=3).modulo(1_000_003)
        >>> x = torch.arange(8).reshape(4, 2)
        >>> torch.equal(network.literal(x), network.recursive(x))
        True
        """
        if not (2 < p < 2**31 and p % 2):
            raise ValueError(f"expected an odd prime below 2^31, got {p}")
        held = (self.queries, self.keys, self.values, self.outputs)
        queries, keys, values, outputs = (residues(w.detach().cpu(), p) for w in held)
        table = None if self.embedding is None else residues(self.embedding.detach().cpu(), p)
        return AttentionWeights(queries, keys, values, outputs, table, p)

    def weights_modulo(self, p: int, rng: numpy.random.Generator) -> AttentionWeights:
        """The very weights modulo p; nothing is drawn."""
        return self.modulo(p)

    @property
    def rank(self) -> int:
        """The exact rank of the embedding, `width` without one."""
        if self.embedding is None:
            return self.architecture.width
        return table_rank(self.embedding.detach().cpu().numpy())

    @property
    def height(self) -> float | None:
        """b such that a multiple of f by a common denominator has coefficients below 2^b, for up to
        2^20 tokens.
        """
        plan = self.architecture
        held = [self.queries, self.keys, self.values, self.outputs]
        layer = sum(bits(w.detach().cpu().numpy()) for w in held)
        terms = math.log2(plan.heads * plan.head_size**2 * plan.width**3) + 20
        table = self.embedding
        height = 0.0 if table is None else float(bits(table.detach().cpu().numpy()))
        height += math.log2(plan.coordinates)
        for _ in range(plan.depth):
            height = 3 * height + layer + terms
        return height

    def literal(self, tokens: Tensor) -> Tensor:
        """All outputs y^1 .. y^n by the definition, token against token, layer by layer.

        tokens: (*batch, n, coordinates) -> (*batch, n, width). Costs depth (n^2 width + n width^2)
        heads; `recursive` is the same polynomial.
        """
        return self.weights.literal(tokens)

    def recursive(self, tokens: Tensor) -> Tensor:
        """The same outputs through S = sum_j x^j x^jT.

        A layer maps x -> F(S) x and S -> F(S) S F(S)^T with F(S) = sum_h O_h V_h S K_h^T Q_h. Once
        S is known it costs depth heads width^3 operations, however many tokens there are.
        """
        return self.weights.recursive(tokens)

    def forward(self, tokens: Tensor) -> Tensor:
        """`recursive`."""
        return self.recursive(tokens)
