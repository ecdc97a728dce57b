"""Certificates: how large two models are, what bound was proven, and that their tensors agree."""

from __future__ import annotations

import html
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from mixtures import Mixture, Modular
from mixtures.coefficients import CoefficientTensor, pinned
from mixtures.residues import residues
from transforms.fields import Prime
from transforms.routes import Route, route

PRIME = 2**31 - 1
PROBES = 8


@dataclass(frozen=True, repr=False)
class Certificate:
    """What is known about a conversion; `print` it.

    `bound` is the number of edges the last step promised before it built anything, `formula` the
    bounds of all steps; `difference` is the largest relative difference of <W, v_1 x .. x v_d>
    over random positive vectors. `exact` says whether the two agree as residues: True, False, or
    None where that is not known; `how` says of which numbers, and how sure it is.
    """

    source: str
    target: str
    edges: tuple[int, int]
    stored: tuple[int, int]
    steps: tuple[str, ...]
    formula: str
    bound: int | None
    difference: float
    exact: bool | None
    how: str

    def __str__(self) -> str:
        lines = [f"{self.source} -> {self.target}"]
        lines += [f"  {line}" for line in self.steps]
        ratio = self.edges[1] / max(1, self.edges[0])
        lines.append(f"  edges    {self.edges[0]} -> {self.edges[1]}  (x {ratio:.3g})")
        lines.append(f"  stored   {self.stored[0]} -> {self.stored[1]} numbers")
        if self.bound is not None:
            kept = "<=" if self.edges[1] <= self.bound else "NOT <="
            lines.append(f"  bound    {self.edges[1]} {kept} {self.bound} = {self.formula}")
        lines.append(
            f"  W        differs by at most {self.difference:.3g} (relative, {PROBES} probes)"
        )
        verdict = {True: "yes", False: "NO", None: "not known"}[self.exact]
        lines.append(f"  exact    {verdict}: {self.how}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        verdict = {True: "exact", False: "NOT exact", None: "exactness unknown"}[self.exact]
        return (
            f"Certificate({self.source} -> {self.target}, {self.edges[0]} -> {self.edges[1]} "
            f"edges, {verdict})"
        )

    def summary(self) -> str:
        """All that is known, as text: what `print` shows."""
        return str(self)

    def _repr_html_(self) -> str:
        """The summary, for notebooks."""
        return f"<pre>{html.escape(str(self))}</pre>"


def certificate(
    source: CoefficientTensor | Mixture,
    target: CoefficientTensor | Mixture,
    *,
    generator: torch.Generator | None = None,
) -> Certificate:
    """Compare a model with what it was converted into.

    Values are compared on random probes in floating point, and as residues modulo 2^31 - 1,
    exactly: first the stored numbers of both (they are rationals), then, where the converter had
    to round, the conversion itself, carried out on residues. A false agreement has probability at
    most d/p for each probe. Raises ValueError where the shapes differ. Costs a few contractions of
    both models.

    >>> from mixtures import SPN, HMM
    >>> from transforms.convert import convert
    >>> W = HMM(3, components=2, states=2)
    >>> certificate(W, convert(W, SPN)).exact
    True
    """
    one, other = _tensor(source), _tensor(target)
    if one.shape != other.shape:
        raise ValueError(f"expected two tensors of one shape, got {one.shape} and {other.shape}")
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    made_by = route(other)
    exact, how = _exactly(one, other, made_by, generator)
    return Certificate(
        source=type(one).__name__,
        target=type(other).__name__,
        edges=(one.size, other.size),
        stored=(one.stored, other.stored),
        steps=tuple(_lines(made_by)),
        formula="; then ".join(s.converter.formula for s in made_by.steps) if made_by else "",
        bound=made_by.steps[-1].bound if made_by else None,
        difference=difference(one, other, generator),
        exact=exact,
        how=how,
    )


def _tensor(model: CoefficientTensor | Mixture) -> CoefficientTensor:
    return model.coefficients if isinstance(model, Mixture) else model


def _lines(made_by: Route | None) -> Iterator[str]:
    for step in made_by.steps if made_by else ():
        one = step.converter
        yield f"{one.source.__name__} -> {one.target.__name__} ({one.cost}): {one.name}"


def difference(
    one: CoefficientTensor, other: CoefficientTensor, generator: torch.Generator
) -> float:
    """The largest relative difference of the two on random positive probes."""
    shape = (PROBES, one.variables, max(one.shape))
    probes = torch.rand(shape, generator=generator, dtype=torch.float64).log().double()
    with torch.no_grad():
        values = [
            model.contract(probes.to(dtype=model.dtype, device=model.device)).double().cpu()
            for model in (one, other)
        ]
    gap: Tensor = (values[0] - values[1]).nan_to_num(0.0).abs().max()
    return float(torch.expm1(gap))


def _exactly(
    one: CoefficientTensor,
    other: CoefficientTensor,
    made_by: Route | None,
    generator: torch.Generator,
) -> tuple[bool | None, str]:
    """Whether two models agree modulo a prime, and what exactly was compared."""
    ring = Modular(PRIME)
    shape = (PROBES, one.variables, max(one.shape))
    probes = torch.randint(0, PRIME, shape, generator=generator).to(one.device)
    chance = (
        f"{PROBES} probes modulo {PRIME}, error at most {(one.variables / PRIME) ** PROBES:.1g}"
    )
    truth = one.contract(probes, ring)
    if torch.equal(truth, other.contract(probes.to(other.device), ring).to(one.device)):
        return True, f"the stored numbers of both are the same tensor ({chance})"
    if made_by is None or not isinstance(one, made_by.steps[0].converter.source):
        return None, "the stored numbers differ, and how the target was made is not known"
    over = Prime(PRIME)
    with pinned(one, [residues(array, PRIME) for array in one.arrays]):
        again = made_by.follow(one, over)
    if torch.equal(truth, again.contract(probes.to(again.device), ring).to(one.device)):
        return (
            True,
            f"the same conversion of residues is exact ({chance}); the stored numbers are rounded",
        )
    return False, f"the same conversion of residues differs ({chance})"
