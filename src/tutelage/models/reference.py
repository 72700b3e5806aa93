"""The frozen model that training is held close to: a copy, or the same weights with the adapter switched off."""

from __future__ import annotations

import copy

import torch

from tutelage.batches import TokenBatch
from tutelage.models.policy import Policy, TokenScores


class Reference:
    """Where the policy started from; its log-probabilities never carry a gradient."""

    def __init__(self, policy: Policy, *, copied: bool = True) -> None:
        """Remember `policy` as it is now. Under LoRA the base weights are shared, so nothing is copied.

        Args:
            copied: False = never; it must then be asked before `policy` learns.
        """
        self._adapter_off = hasattr(policy.model, "peft_config")
        self._policy = _frozen_copy(policy) if copied and not self._adapter_off else policy

    @torch.no_grad()
    def logprobs(self, batch: TokenBatch, temperature: float = 1.0) -> TokenScores:
        """As `Policy.logprobs`, of the frozen weights."""
        if not self._adapter_off:
            return self._policy.logprobs(batch, temperature)
        with self._policy.model.disable_adapter():
            return self._policy.logprobs(batch, temperature)


def _frozen_copy(policy: Policy) -> Policy:
    frozen = copy.deepcopy(policy)
    for parameter in frozen.parameters():
        parameter.requires_grad_(False)
    return frozen
