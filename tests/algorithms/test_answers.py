"""The scored answers of a step: which belongs to which prompt, and what each token is paid."""

from __future__ import annotations

import pytest
import torch
from table_world import answered
from test_known_optimum import world

from tutelage.algorithms.rloo import RLOO

FOUR = [(4,), (0, 1, 2), (1, 4), (2, 3, 4)]
"""answers of 1, 3, 2 and 3 tokens; 4 ends one"""


def test_row_i_times_n_plus_j_is_answer_j_of_prompt_i() -> None:
    parts = world(3)
    rloo = RLOO(RLOO.Config(model="t", max_new_tokens=3, answers=4), parts)
    answers = rloo.answer(parts.prompts.batch(0), 0)
    assert answers.groups.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert [prompt.id for prompt in answers.prompts] == ["0", "1", "2"]
    assert [sample.prompt.id for sample in answers.rollouts.samples] == ["0"] * 4 + ["1"] * 4 + ["2"] * 4


def test_the_score_lands_on_the_last_token_and_every_token_pays_for_its_drift() -> None:
    score = torch.tensor([1.0, 3.0, -2.0, 0.0])
    answers = answered(world(2), FOUR, 2, score)
    gap = torch.where(answers.mask, answers.logprobs - answers.reference, torch.zeros(()))
    wanted = -0.5 * gap
    for row, last in enumerate([0, 2, 1, 2]):
        wanted[row, last] += score[row]
    torch.testing.assert_close(answers.token_rewards(0.5), wanted)
    torch.testing.assert_close(answers.rewards(0.5), score - 0.5 * gap.sum(1))
    assert answers.token_rewards(0.0).sum(1).tolist() == score.tolist()


def test_the_drift_of_an_answer_is_the_sum_over_its_own_tokens() -> None:
    answers = answered(world(2), FOUR, 2, torch.zeros(4))
    for row, count in enumerate([1, 3, 2, 3]):
        gap = (answers.logprobs - answers.reference)[row, :count]
        assert float(answers.kl[row]) == pytest.approx(float(gap.sum()), abs=1e-6)
