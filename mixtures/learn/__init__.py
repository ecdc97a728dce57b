"""Learning: one E-step and one M-step for every model and every family."""

from mixtures.learn.em import Step, em

__all__ = ["Step", "em"]
