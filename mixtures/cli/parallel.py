"""EM on as many processes as torchrun starts, of a matrix on disk of which each reads its rows.

torchrun --nproc-per-node 2 -m mixtures.cli.parallel x.npy --states 8 --out model.pt
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy
import torch

from mixtures import HMM, LTM, TMM, CoefficientTensor, Mixture, Tree
from mixtures.components import Bernoulli, Components, Gaussian, Poisson
from mixtures.learn import fit
from mixtures.learn.parallel import Ranks, connect, shard

FAMILIES = {"Bernoulli": Bernoulli, "Gaussian": Gaussian, "Poisson": Poisson}


def main(given: list[str] | None = None) -> None:
    """Parse the command line, learn, and let rank 0 report and save."""
    parser = argparse.ArgumentParser(prog="mixtures.cli.parallel", description=__doc__)
    parser.add_argument("data", type=Path, help="a .npy file (rows, variables), NaN for missing")
    parser.add_argument("--family", choices=FAMILIES, default="Gaussian")
    parser.add_argument("--model", choices=("TMM", "HMM", "LTM"), default="TMM")
    parser.add_argument("--states", type=int, default=8)
    parser.add_argument("--iterations", type=int, default=50)
    parser.add_argument("--method", choices=("em", "stochastic_em"), default="em")
    parser.add_argument("--out", type=Path, help="where rank 0 saves the model's state_dict")
    options = parser.parse_args(given)
    torch.set_num_threads(1)
    with connect() as group:
        ranks = Ranks(group)
        rows = numpy.load(options.data, mmap_mode="r")
        model = Mixture(*_parts(options.model, options.family, rows.shape[1], options.states))
        history = fit(
            model,
            shard(rows, group),
            method=options.method,
            max_iter=options.iterations,
            group=group,
            generator=torch.Generator().manual_seed(0),
        )
        if ranks.rank == 0:
            print(f"{len(rows)} rows on {ranks.size} ranks: {history}")
            if options.out is not None:
                torch.save(model.state_dict(), options.out)


def _parts(
    model: str, family: str, variables: int, states: int
) -> tuple[CoefficientTensor, Components]:
    """Coefficients and components of the names given."""
    tensors = {
        "TMM": lambda: TMM(variables, states, states, emission=False),
        "HMM": lambda: HMM(variables, states, states, emission=False),
        "LTM": lambda: LTM(Tree.balanced(variables), states, states, emission=False),
    }
    return tensors[model](), FAMILIES[family](variables, states)


if __name__ == "__main__":
    main()
