"""Learning: one E-step and one M-step for every model and every family."""

from mixtures.learn.em import Step, em
from mixtures.learn.initial import initialise

__all__ = ["Step", "em", "initialise"]
