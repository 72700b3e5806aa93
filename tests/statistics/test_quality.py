"""Good raters are left in peace, planted faults are named, and doubtful items queue for a second look."""

from __future__ import annotations

from random import Random

import pytest

from tutelage.statistics.quality import FAULTS, RaterEvidence, quality, to_adjudicate


def test_a_good_rater_has_no_fault() -> None:
    found = quality(_evidence())
    assert found.faults == ()
    assert found.agrees is not None and found.agrees.low > 0.6
    assert found.letters_per_second == pytest.approx(30)


@pytest.mark.parametrize(
    ("fault", "changed"),
    [
        ("contradicts", {"with_others": [True] * 30 + [False] * 70}),
        ("guesses", {"with_others": [True] * 52 + [False] * 48}),
        ("left", {"left": [True] * 80 + [False] * 20}),
        ("right", {"left": [True] * 20 + [False] * 80}),
        ("inconsistent", {"again": [True] * 11 + [False] * 9}),
        ("fast", {"seconds": [1.5] * 100}),
        ("fails_gold", {"gold": [True] * 4 + [False] * 8}),
        ("one_number", {"scores": [0.6] * 99 + [0.8]}),
    ],
)
def test_a_planted_fault_is_named(fault: str, changed: dict[str, list[float]]) -> None:
    assert quality(_evidence(**changed)).faults == (fault,)
    assert fault in FAULTS


def test_few_answers_reproach_nobody() -> None:
    few = RaterEvidence(
        with_others=[False] * 6, left=[True] * 9, again=[False] * 4, gold=[False] * 3, seconds=[0.1] * 5
    )
    assert quality(few).faults == ()
    nothing = quality(RaterEvidence())
    assert (nothing.agrees, nothing.gold, nothing.median_seconds, nothing.score_deviation) == (None,) * 4


def test_the_most_doubtful_come_first() -> None:
    first = {"clear": 0.97, "split": 0.52, "leaning": 0.3, "single": 0.6, "harm": 0.9, "left_out": 0.5}
    votes = dict.fromkeys(first, 3) | {"single": 1}
    found = to_adjudicate(first, votes, skips={"left_out": 4, "clear": 1}, flags={"harm": 1})
    assert [(doubt.item, doubt.reason) for doubt in found] == [
        ("left_out", "skipped"),
        ("harm", "flagged"),
        ("split", "split"),
        ("leaning", "split"),
    ]


def test_a_good_rater_with_few_checks_is_not_reproached_for_bad_luck() -> None:
    few = quality(_evidence(with_others=[True] * 15 + [False] * 7, again=[True] * 8 + [False] * 2))
    assert few.faults == ()


def _evidence(**changed: list[float]) -> RaterEvidence:
    random = Random(0)
    seen = {
        "with_others": [True] * 75 + [False] * 25,
        "left": [True] * 52 + [False] * 48,
        "again": [True] * 18 + [False] * 2,
        "gold": [True] * 11 + [False],
        "seconds": [20.0] * 100,
        "letters": [600] * 100,
        "scores": [random.random() for _ in range(100)],
    }
    return RaterEvidence(**(seen | changed))  # type: ignore[arg-type]
