"""What an answer lacks of an aspect is its cost."""

from __future__ import annotations

import pytest

from tutelage.errors import UsageError
from tutelage.rewards import RewardSource
from tutelage.rewards._lack import Lack
from tutelage.rewards.function import Function
from tutelage.rewards.taste import TasteReward
from tutelage.types import Prompt, Sample

SAMPLES = [Sample(str(n), Prompt("p", "Say."), text, "stop") for n, text in enumerate(["safe", "", "harm"])]


def made(name: str) -> RewardSource:
    if name.startswith("taste:"):
        return TasteReward(lambda meta, text: {"overall": 0.5, "safe": 0.25 if text == "harm" else 1.0})
    return Function(lambda prompt, completion: 0.75)


def test_it_is_one_less_the_aspect() -> None:
    assert Lack.named("lack:taste:mine#safe", made).score(SAMPLES).value.tolist() == [0.0, 0.0, 0.75]
    assert Lack.named("lack:taste:mine", made).score(SAMPLES).value.tolist() == [0.5, 0.5, 0.5]


def test_any_source_between_0_and_1_will_do() -> None:
    assert Lack.named("lack:people:ratings.db#safe", made).score(SAMPLES).value.tolist() == [0.25] * 3


def test_an_unknown_aspect_is_told_with_those_there_are() -> None:
    with pytest.raises(UsageError, match="no aspect 'kind'") as caught:
        Lack.named("lack:taste:mine#kind", made).score(SAMPLES)
    assert "safe" in str(caught.value.fix)
