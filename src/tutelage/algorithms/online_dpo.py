"""Online DPO: the policy answers, a reward source or judge says which answer is better, DPO learns it (OAIF, 2024)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from tutelage.algorithms._ahead import Stale
from tutelage.algorithms._answers import Answers
from tutelage.algorithms._online import Online, OnlineConfig
from tutelage.algorithms._preference import ReferencedConfig, check_start, joined, referenced, sides
from tutelage.batches import Loss, ScoredPairs
from tutelage.errors import UsageError
from tutelage.ops.best_of import pick
from tutelage.ops.seeds import derive


@dataclass(frozen=True, kw_only=True)
class OnlineDPOConfig(OnlineConfig, ReferencedConfig):
    """How online DPO learns."""

    stale: ClassVar[Stale] = "as they are"

    answers: int = 2
    """answers sampled for each prompt, at least 2; the best and the worst become a pair"""
    learning_rate: float = 1e-6
    """peak learning rate; 1e-5 to 1e-4 for models below 5 million parameters"""
    kl: float = 0.0
    """price of a nat of drift, taken from the score before answers are compared; --beta holds the policy already"""
    labels: Literal["hard", "soft", "asked"] = "hard"
    """hard: the higher score is better for certain, which leaves no optimum but the best answer; soft: with probability
    sigmoid(score difference), whose optimum is that of ppo at --kl = beta; asked: the reward source compares the two,
    in both orders where it could depend on that"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.answers < 2:
            raise UsageError(f"answers = {self.answers}: one answer is no pair", fix="--answers 2 or more")


class OnlineDPO(Online[OnlineDPOConfig, ScoredPairs]):
    """DPO's loss on the best and the worst of n answers of the policy as it is now (Guo et al. 2024, 2402.04792).

    Ties are left out and counted; under soft labels they stay, at probability one half. The same text twice is no pair.
    """

    Config = OnlineDPOConfig

    def credit(self, answers: Answers) -> ScoredPairs:
        """The pairs of the step; `weight` is 2P − 1, P the probability that "chosen" is the better one."""
        first, second, better = self._compared(answers)
        texts = [sample.text for sample in answers.rollouts.samples]
        same = torch.tensor([texts[one] == texts[two] for one, two in zip(first, second, strict=True)])
        tied = same | (better == 0.5)
        dropped = same if self.config.labels == "soft" else tied
        left = (~dropped).nonzero()[:, 0].tolist() or [0]  # where none is left, one stands in: see `minibatches`
        sure = torch.where(dropped, 0.0, 2 * better - 1)[left]
        self._metrics |= {"pairs/tied": float(tied.float().mean()), "pairs/learned": float((~dropped).sum())}
        chosen = [first[row] if sure[place] >= 0 else second[row] for place, row in enumerate(left)]
        rejected = [second[row] if sure[place] >= 0 else first[row] for place, row in enumerate(left)]
        summed = answers.reference.sum(1)
        batch, none = answers.batch, torch.zeros(len(left))
        return ScoredPairs(
            batch.select(chosen), batch.select(rejected), none, sure.abs(), summed[chosen], summed[rejected]
        )

    def _compared(self, answers: Answers) -> tuple[list[int], list[int], Tensor]:
        """([G], [G], float32 [G]): the rows of each prompt's best and worst answer, P(the best is the better one)."""
        value = answers.rewards(self.kl.coef).view(-1, answers.n)
        lots = torch.rand(
            value.shape, generator=torch.Generator().manual_seed(derive(self.config.seed, answers.step, "ties"))
        ).to(value)
        best, worst = pick(value, lots), pick(-value, -lots)  # of equals never the same one twice
        gap = (value.gather(1, best[:, None]) - value.gather(1, worst[:, None]))[:, 0].cpu()
        starts = torch.arange(len(value)) * answers.n
        first, second = (starts + best.cpu()).tolist(), (starts + worst.cpu()).tolist()
        if self.config.labels == "asked":
            said = answers.rollouts.samples
            asked = self.parts.reward.prefer([said[row] for row in first], [said[row] for row in second])
            return first, second, asked.cpu()
        return first, second, torch.sigmoid(gap) if self.config.labels == "soft" else torch.where(gap > 0, 1.0, 0.5)

    def minibatches(self, experience: ScoredPairs, step: int) -> Iterator[ScoredPairs]:
        """None where every pair of the step was a tie: there is nothing to learn, and the step leaves all as it is."""
        if self._metrics["pairs/learned"]:
            yield experience

    def loss(self, batch: ScoredPairs) -> Loss:
        said = sides(self.parts.policy, batch, self.config.temperature)
        flipped = ((1 - batch.weight) / 2).to(said.chosen)
        return joined(referenced(batch, said, flipped, self.config), torch.ones_like(flipped))

    @torch.no_grad()
    def preflight(self, batch: ScoredPairs) -> dict[str, float]:
        """The policy is the sampler and the reference: h = 0 and the DPO loss is ln 2."""
        said = sides(self.parts.policy, batch, self.config.temperature)
        flipped = ((1 - batch.weight) / 2).to(said.chosen)
        start = check_start(batch, said, torch.ones_like(flipped), flipped, self.config)
        return super().preflight(batch) | start
