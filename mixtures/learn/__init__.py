"""Learning: one E-step and one M-step for every model and every family."""

from mixtures.learn.batches import Batch, batches
from mixtures.learn.descend import descend
from mixtures.learn.em import Step, em
from mixtures.learn.fit import fit
from mixtures.learn.history import History, Record
from mixtures.learn.initial import initialise
from mixtures.learn.stochastic import Running, stochastic_em

__all__ = [
    "Batch",
    "History",
    "Record",
    "Running",
    "Step",
    "batches",
    "descend",
    "em",
    "fit",
    "initialise",
    "stochastic_em",
]
