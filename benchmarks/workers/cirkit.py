"""cirkit: a symbolic circuit compiled with folding and layer fusion, the flags its notebooks name
for speed (`fold=True, optimize=True`), under the log-sum-exp semiring.

For queries the weights are plain parameters in probabilities (nothing is normalised at run time);
for Adam they are softmax parameters, since probabilities must stay probabilities; cirkit's own EM
optimizer works on probabilities. Rows go in batches of the size that was fastest among 64 to 16 000
at the sizes of the tasks (large ones fall out of the cache, small ones multiply overheads).
"""

from __future__ import annotations

from typing import Any

import numpy
import torch
from cirkit.backend.torch.em_optimizer import EM
from cirkit.backend.torch.queries import IntegrateQuery
from cirkit.pipeline import PipelineContext
from cirkit.symbolic.circuit import Circuit
from cirkit.symbolic.initializers import ConstantTensorInitializer
from cirkit.symbolic.layers import CategoricalLayer, HadamardLayer, KroneckerLayer, SumLayer
from cirkit.symbolic.parameters import Parameter, SoftmaxParameter, TensorParameter
from cirkit.templates.region_graph import ChowLiuTree
from cirkit.utils.scope import Scope
from numpy.typing import NDArray

from benchmarks.protocol import Arrays, Case, imports, information


def batch(arrays: Arrays, training: bool = False) -> int:
    """The fastest of the batch sizes tried; a Kronecker product of two is r times as large."""
    joint = arrays["tables"].shape[-1] != arrays["on"].shape[1]
    return (128 if joint else 256) * (2 if training else 1)


def plain(values: NDArray[Any]) -> Parameter:
    """Probabilities as they are."""
    initializer = ConstantTensorInitializer(numpy.ascontiguousarray(values))
    return Parameter.from_input(TensorParameter(*values.shape, initializer=initializer))


def softmax(values: NDArray[Any]) -> Parameter:
    """Probabilities as the softmax of their logarithms."""
    initializer = ConstantTensorInitializer(numpy.log(values))
    logits = TensorParameter(*values.shape, initializer=initializer)
    return Parameter.from_unary(SoftmaxParameter(values.shape, axis=-1), logits)


def circuit(arrays: Arrays, weight: Any = plain) -> Any:
    """The compiled circuit: products of the two children, then a dense sum."""
    on, r = arrays["on"], arrays["on"].shape[1]
    joint = arrays["tables"].shape[-1] != r
    layers: list[Any] = []
    inputs: dict[Any, list[Any]] = {}
    for j, chance in enumerate(on):
        both = numpy.stack([1 - chance, chance], -1)
        layers.append(CategoricalLayer(Scope([j]), r, num_categories=2, probs=weight(both)))
    last = len(arrays["children"]) - 1
    for i, pair in enumerate(arrays["children"]):
        table = arrays["root"][None] if i == last else arrays["tables"][i]
        product = KroneckerLayer(r, 2) if joint else HadamardLayer(r, 2)
        total = SumLayer(table.shape[1], table.shape[0], 1, weight=weight(table))
        inputs[product] = [layers[child] for child in pair]
        inputs[total] = [product]
        layers.append(total)
    products = [below[0] for below in inputs.values() if len(below) == 1]
    symbolic = Circuit([*layers, *products], inputs, [layers[-1]])
    torch.set_default_dtype(torch.float64 if on.dtype == numpy.float64 else torch.float32)
    context = PipelineContext(backend="torch", semiring="lse-sum", fold=True, optimize=True)
    return context.compile(symbolic)


def likelihood(arrays: Arrays) -> Case:
    """The circuit on all rows, without gradients."""
    compiled, x = circuit(arrays), torch.as_tensor(arrays["x"])
    parts = x.split(batch(arrays))

    def run() -> Any:
        with torch.inference_mode():
            return torch.cat([compiled(part) for part in parts])

    return Case(run, lambda found: {"rows": found.flatten()})


def integrated(arrays: Arrays) -> Case:
    """The query that integrates the missing variables out, row by row."""
    query = IntegrateQuery(circuit(arrays))
    x, missing = torch.as_tensor(arrays["x"]), torch.as_tensor(~arrays["observed"])
    size = 2 * batch(arrays)
    parts = list(zip(x.split(size), missing.split(size), strict=True))

    def run() -> Any:
        with torch.inference_mode():
            return torch.cat([query(part, integrate_vars=mask) for part, mask in parts])

    return Case(run, lambda found: {"rows": found.flatten()})


def adam(arrays: Arrays) -> Case:
    """An epoch of Adam in batches; the step is tiny, so that values can be compared.

    `mean` is the log-likelihood per row that the epoch saw.
    """
    compiled, x = circuit(arrays, softmax), torch.as_tensor(arrays["x"])
    parts = x.split(batch(arrays, training=True))
    optimizer = torch.optim.Adam(compiled.parameters(), lr=1e-12)

    def run() -> float:
        total = 0.0
        for part in parts:
            optimizer.zero_grad()
            loss = -compiled(part).sum()
            loss.backward()
            optimizer.step()
            total -= loss.item()
        return total / len(x)

    return Case(run, lambda found: {"mean": found})


def expectation(arrays: Arrays) -> Case:
    """An epoch of cirkit's own EM, one step for every batch."""
    compiled, x = circuit(arrays), torch.as_tensor(arrays["x"])
    parts = x.split(batch(arrays, training=True))
    optimizer = EM(compiled, lr=1e-12, pseudocount=0.0)

    def run() -> float:
        total = 0.0
        for part in parts:
            optimizer.zero_grad()
            value = compiled(part).sum()
            value.backward()
            optimizer.step()
            total += value.item()
        return total / len(x)

    return Case(run, lambda found: {"mean": found})


def tree(arrays: Arrays) -> Case:
    """The predecessors in the Chow-Liu tree, -1 for the root."""
    x = torch.as_tensor(arrays["x"])

    def run() -> Any:
        return ChowLiuTree(x, "categorical", num_categories=2, as_region_graph=False)

    def results(parents: Any) -> dict[str, Any]:
        edges = [(int(p), j) for j, p in enumerate(parents) if p >= 0]
        return {"information": information(arrays["x"], edges)}

    return Case(run, results)


CASES = {
    "ltm": likelihood,
    "ltm-64": likelihood,
    "ltm-missing": integrated,
    "ltm-em": adam,
    "ltm-em:em": expectation,
    "ht": likelihood,
    "ht-em": adam,
    "chow-liu-40": tree,
    "import": imports("torch, cirkit.pipeline"),
}
DISTRIBUTIONS = ("libcirkit", "torch")
