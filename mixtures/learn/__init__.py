"""Learning: one E-step and one M-step for every model and every family."""

from mixtures.importing import undisturbed

with undisturbed():
    from mixtures.learn.batches import Batch, batches
    from mixtures.learn.conditional import conditional_gradient
    from mixtures.learn.descend import descend
    from mixtures.learn.em import Step, em
    from mixtures.learn.fit import fit
    from mixtures.learn.growth import Growth, Stage
    from mixtures.learn.history import History, Record
    from mixtures.learn.initial import initialise
    from mixtures.learn.joining import latent_tree, log_det_distances, neighbour_joining
    from mixtures.learn.networks import learn_spn
    from mixtures.learn.stochastic import Running, annealed, stochastic_em
    from mixtures.learn.structure import chow_liu, chow_liu_model, hidden_chow_liu

__all__ = [
    "Batch",
    "Growth",
    "History",
    "Record",
    "Running",
    "Stage",
    "Step",
    "annealed",
    "batches",
    "chow_liu",
    "chow_liu_model",
    "conditional_gradient",
    "descend",
    "em",
    "fit",
    "hidden_chow_liu",
    "initialise",
    "latent_tree",
    "learn_spn",
    "log_det_distances",
    "neighbour_joining",
    "stochastic_em",
]
