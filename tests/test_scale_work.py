"""Laws of work: what is computed grows linearly in d and n, what EM holds does not grow in n."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mixtures import HMM, HT, LTM, TMM, Mixture, Tree
from mixtures.components import Gaussian
from mixtures.learn import em

OPTIONS = {"dtype": torch.float64}
BUILDERS = {
    "balanced tree": lambda d: LTM(Tree.balanced(d), 3, 4, **OPTIONS),
    "chain": lambda d: HMM(d, 3, 4, **OPTIONS),
    "shared chain": lambda d: HMM(d, 3, 4, shared=True, **OPTIONS),
    "tensor tree": lambda d: HT(Tree.balanced(d), 3, 4, **OPTIONS),
    "tensor train": lambda d: HT(Tree.caterpillar(d), 3, 4, **OPTIONS),
    "shallow": lambda d: TMM(d, 3, 4, **OPTIONS),
}
every_model = pytest.mark.parametrize("name", BUILDERS)


class Work(TorchDispatchMode):
    """Counts the numbers that operations read and write, products of matrices by their flops."""

    def __init__(self):
        super().__init__()
        self.total = 0
        self.largest = 0  # bytes of the largest tensor made

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        name = function.overloadpacket.__name__
        for out in made if isinstance(made, tuple | list) else [made]:
            if not isinstance(out, torch.Tensor) or function.is_view:
                continue
            depth = 1
            if name in ("mm", "bmm", "addmm", "baddbmm", "baddbmm_", "addmm_"):
                depth = 2 * args[-2 if name in ("mm", "bmm") else 1].shape[-1]
            written = args[3] if name in ("index_copy_", "index_add_") else out
            self.total += written.numel() * depth
            self.largest = max(self.largest, out.numel() * out.element_size())
        return made


def mixture(name, d):
    generator = torch.Generator().manual_seed(0)
    return Mixture(BUILDERS[name](d), Gaussian(d, 3, generator=generator, **OPTIONS))


def rows(n, d):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(1), **OPTIONS)


def work_of(name, d, n, learning=True, before=False):
    model = mixture(name, d)
    data = model.encode(rows(n, d))
    if before:
        next(em(model, data))
    with Work() as work, torch.no_grad():
        next(em(model, data)) if learning else model.log_prob(data)
    return work


@every_model
@pytest.mark.parametrize("learning", [False, True])
def test_twice_the_variables_are_about_twice_the_work(name, learning):
    small, large = (work_of(name, d, 256, learning=learning).total for d in (128, 256))
    assert 1.8 * small < large < 2.2 * small


@every_model
@pytest.mark.parametrize("learning", [False, True])
def test_twice_the_rows_are_at_most_twice_the_work(name, learning):
    small, large = (work_of(name, 32, n, learning=learning).total for n in (4096, 8192))
    assert 1.5 * small < large < 2.05 * small


@pytest.mark.slow
@every_model
def test_no_tensor_of_an_em_step_grows_with_the_rows(name):
    """Numbers (n,) apart; what is worked out once about the data has been worked out before."""
    n, d = 2**15, 16
    small, large = (work_of(name, d, m, before=True).largest for m in (n, 4 * n))
    assert small == large
