"""Contractions for autograd: the downward pass is the gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mixtures import engine
from mixtures.circuit import Circuit
from mixtures.semiring import Linear, Log


class Contraction(torch.autograd.Function):
    """The value of a circuit, differentiable in the leaves, the evidence and the tables'
    logarithms.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        circuit: Circuit,
        ring: Linear | Log,
        stacks: Sequence[Tensor],
        names: Sequence[Any],
        leaves: Tensor,
        *parameters: Tensor,
    ) -> Tensor:
        evidence = dict(zip(names, parameters[: len(names)], strict=True))
        ctx.circuit, ctx.ring, ctx.stacks, ctx.names = circuit, ring, list(stacks), names
        ctx.save_for_backward(leaves, *parameters[: len(names)])
        return engine.contract(circuit, stacks, engine.from_tensor(leaves, evidence), ring)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        leaves, *logs = ctx.saved_tensors
        evidence = dict(zip(ctx.names, logs, strict=True))
        wants_counts = any(ctx.needs_input_grad[5 + len(logs) :])
        counts = [torch.zeros(s.shape, dtype=torch.float64, device=s.device) for s in ctx.stacks]
        leaf_gradient = torch.zeros_like(leaves)
        evidence_gradient = [torch.zeros_like(log) for log in logs]
        for chunk in engine.sweep(
            ctx.circuit,
            ctx.stacks,
            engine.from_tensor(leaves, evidence),
            row_weights=gradient,
            counts=counts if wants_counts else None,
            keep_states=bool(logs),
            ring=ctx.ring,
        ):
            rows = slice(chunk.start, chunk.stop)
            leaf_gradient[rows] = chunk.inputs.permute(2, 0, 1)
            for name, part in zip(ctx.names, evidence_gradient, strict=True):
                part[rows] = chunk.states[name].mT
        tables = [count.to(s.dtype) for count, s in zip(counts, ctx.stacks, strict=True)]
        return (None, None, None, None, leaf_gradient, *evidence_gradient, *tables)
