"""Hidden Markov models of chorales: sequences of frames of notes that sound or not."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy
import torch
from numpy.typing import NDArray

from mixtures.components import Bernoulli, Data, Product
from mixtures.hmm import HMM
from mixtures.learn.benchmark.data import PARTS
from mixtures.learn.fit import fit
from mixtures.mixture import Mixture

DTYPE = torch.float32
BATCH = 20  # sequences
PSEUDO_COUNT = 0.1  # of every entry: of the transitions, and of every note sounding or not
STARTS = ("data", "k-means")  # tried one after the other, so often:
TRIES = 3
NAME = "jsb_chorales"

Record = dict[str, Any]


class Sequences(NamedTuple):
    """One part: frames of all sequences (steps, notes), and how many each sequence has."""

    frames: NDArray[Any]
    lengths: list[int]

    def rows(self, longest: int) -> numpy.ma.MaskedArray[Any, Any]:
        """Rows (n, longest, notes), masked where a sequence has ended."""
        inside = numpy.arange(longest) < numpy.array(self.lengths)[:, None]
        rows = numpy.zeros((*inside.shape, self.frames.shape[1]), dtype=self.frames.dtype)
        rows[inside] = self.frames
        mask = numpy.broadcast_to(~inside[:, :, None], rows.shape)
        return numpy.ma.MaskedArray(rows, mask)


def load(folder: Path, name: str = NAME) -> list[Sequences]:
    """The parts train, valid and test of NAME.npz; FileNotFoundError where it is not there.

    PART holds the frames of all sequences, packed along their rows by `numpy.packbits`,
    PART_lengths the steps of each sequence, and n_vars says how many notes there are.
    """
    path = folder / f"{name}.npz"
    if not path.exists():
        raise FileNotFoundError(f"no {name}.npz in {folder}")
    with numpy.load(path) as held:
        notes = int(held["n_vars"])
        return [
            Sequences(
                numpy.unpackbits(held[part], axis=1, count=notes).astype(numpy.int64),
                held[f"{part}_lengths"].tolist(),
            )
            for part in PARTS
        ]


def compare(
    parts: Sequence[Sequences],
    states: Sequence[int],
    *,
    walks: int,
    seed: int,
    tries: int = TRIES,
    stamp: Mapping[str, Any],
) -> Iterator[Record]:
    """One record per number of states: the negative log-likelihood per step, in nats.

    Homogeneous chains, notes independent given the state, by stochastic EM; of `tries` times as
    many starts as there are kinds the one that does best on the validation sequences stands.
    """
    longest = max(length for part in parts for length in part.lengths)
    notes = parts[0].frames.shape[1]
    for count in states:
        generator = torch.Generator().manual_seed(seed)
        began, used = time.perf_counter(), time.process_time()
        starts = STARTS * tries
        models = [chain(notes, longest, count, generator) for _ in starts]
        train, valid, test = (models[0].encode(part.rows(longest)) for part in parts)
        for model, start in zip(models, starts, strict=True):
            fit(
                model,
                train,
                method="stochastic_em",
                validation=valid,
                start=start,
                pseudo_count=PSEUDO_COUNT,
                batch_size=BATCH,
                max_iter=walks,
                progress=False,
                generator=generator,
            )
        scores = [per_step(model, valid, parts[1]) for model in models]
        best = scores.index(min(scores))
        yield {
            "states": count,
            "test": per_step(models[best], test, parts[2]),
            "valid": scores[best],
            "train": per_step(models[best], train, parts[0]),
            "num_parameters": models[best].num_parameters,
            "start": starts[best],
            "tries": tries,
            "walks": walks,
            "minutes": (time.perf_counter() - began) / 60,
            "cpu_minutes": (time.process_time() - used) / 60,
            "seed": seed,
            **stamp,
        }


def chain(notes: int, longest: int, states: int, generator: torch.Generator) -> Mixture:
    """A homogeneous hidden Markov model whose states are the components of whole frames."""
    factor = Bernoulli(notes, states, pseudo_count=PSEUDO_COUNT, generator=generator, dtype=DTYPE)
    leaves = Product(factor, notes, variables=longest)
    tensor = HMM(
        longest, states, states, shared=True, emission=False, generator=generator, dtype=DTYPE
    )
    return Mixture(tensor, leaves)


def per_step(model: Mixture, rows: Data, part: Sequences) -> float:
    """The mean negative log-likelihood of a step of the sequences."""
    return -model.score(rows) * len(part.lengths) / sum(part.lengths)
