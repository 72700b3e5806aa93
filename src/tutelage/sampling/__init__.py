"""Sampling: prompts in, answers out, with the log-probabilities they were drawn at."""

from tutelage.sampling._base import Sampler, Sampling

__all__ = ["Sampler", "Sampling"]
