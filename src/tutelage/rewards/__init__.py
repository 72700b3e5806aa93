"""Rewards: where the number for an answer comes from."""

from tutelage.rewards._base import RewardSource

__all__ = ["RewardSource"]
