"""Choosing what to ask next in a real project, and what it is said to have saved."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from chosen_pairs import judge, judge_alike, judge_taught, pairs
from tutelage.cli.main import main
from tutelage.errors import DataError, UsageError
from tutelage.labelers._choosing import choose, saving
from tutelage.store.choosing import Choosing
from tutelage.store.decisions import Decisions
from tutelage.store.people import People
from tutelage.store.projects import Projects
from tutelage.store.store import Store
from tutelage.types import Comparison, Judgement


def scores(asked: list[Comparison]) -> dict[str, list[float]]:
    draw = Random(1)
    return {said.id: [draw.gauss(0, 1) for _ in range(4)] for one in asked for said in one.candidates}


@pytest.mark.parametrize("method", ["random", "disagreement", "thompson"])
def test_a_batch_keeps_its_random_share_and_every_probability(method: str):
    asked = pairs(60)
    with Store(":memory:") as store:
        store.ask(asked, "p")
        done = choose(store, "p", method, 20, scores=scores(asked), random_share=0.4, seed=3)
        assert (
            done["batch"] == 0 and done["pool"] == 60 and done["random"] + done["active"] == 20 and done["random"] >= 8
        )
        chosen = {
            one.id: one.probability for one in store.comparisons("p") if one.id in Choosing(store.database).arms("p")
        }
        assert len(chosen) == 20 and all(0 < chance < 1 for chance in chosen.values())
        again = choose(store, "p", method, 20, scores=scores(asked), seed=3)
        assert again["batch"] == 1 and again["pool"] == 40, "nothing is chosen twice"


def test_what_cannot_be_chosen_is_said():
    asked = pairs(5)
    with Store(":memory:") as store:
        with pytest.raises(DataError, match="no pair left"):
            choose(store, "p", "random", 3)
        store.ask(asked, "p")
        with pytest.raises(DataError, match="no scores by the heads"):
            choose(store, "p", "disagreement", 3)
        with pytest.raises(UsageError, match="random share 0.1"):
            choose(store, "p", "random", 3, random_share=0.1)
        with pytest.raises(UsageError, match="not one of"):
            choose(store, "p", "magic", 3)


def test_arms_that_are_alike_save_nothing_and_that_is_said():
    with Store(":memory:") as store:
        judge_alike(store, "p")
        gain = saving(store, "p")
    assert (gain.random, gain.active) == (120, 120)
    assert gain.saving.interval is not None and str(gain.saving).startswith("no saving ("), str(gain.saving)


def test_choosing_what_teaches_saves_labels():
    with Store(":memory:") as store:
        judge_taught(store, "p")
        gain = saving(store, "p")
    assert gain.saving.interval is not None and gain.saving.interval.low > 0, str(gain.saving)
    assert "of the labels saved" in str(gain.saving)


def test_who_is_excluded_labels_nothing():
    with Store(":memory:") as store:
        judge_alike(store, "p")
        before = saving(store, "p")
        against = [Judgement(f"x{one.id}", one.comparison, "bo", one.ranks[::-1]) for one in store.judgements("p")]
        store.answer_many(against)
        assert saving(store, "p") != before, "every pair is undecided"
        People(store.database, b"").exclude("p", "bo", True, reason="contrary", actor="test")
        assert saving(store, "p") == before


def test_too_few_labels_say_nothing():
    asked = pairs(30)
    with Store(":memory:") as store:
        judge(store, asked, {one.id: "random" if number % 2 else "active" for number, one in enumerate(asked)}, "p")
        gain = saving(store, "p")
    assert gain.saving.interval is None and "200 are the least" in gain.why


def test_the_shell_sets_a_project_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    db, gold, heads = str(tmp_path / "r.db"), tmp_path / "gold.jsonl", tmp_path / "heads.jsonl"
    gold.write_text("".join(f'{{"prompt": "g{n}", "chosen": "good {n}", "rejected": "bad {n}"}}\n' for n in range(6)))
    assert main(["rate", "import", "--db", db, "--gold", str(gold)]) == 0
    assert main(["rate", "project", "--db", db, "gold_rate=0.1", "quiz=5", "selection=disagreement", "tie=off"]) == 0
    asked = pairs(30)
    lines = [f'{{"sample": "{name}", "scores": {told}}}\n' for name, told in scores(asked).items()]
    heads.write_text("".join(lines))
    with Store(db) as store:
        store.ask(asked)
        told = Projects(store.database).settings("default")
        assert (told.gold_rate, told.quiz, told.selection, told.tie) == (0.1, 5, "disagreement", False)
        assert Decisions(store.database).golds("default") == 6 and store.stats()["questions"] == 30
    assert main(["rate", "select", "--db", db, "--reward", str(heads), "--count", "10"]) == 0
    assert "of 30 in the pool" in capsys.readouterr().out
    with Store(db) as store:
        assert Choosing(store.database).left("default") == (10, 20, 10)
    for wrong, code in (("quiz=many", 2), ("nonsense=1", 2), ("gold_rate=0.9", 65), ("selection=magic", 2)):
        assert main(["rate", "project", "--db", db, wrong]) == code, wrong
    assert main(["rate", "select", "--db", db]) == 2, "disagreement needs the heads of a reward model"


def test_the_heads_of_a_reward_model_are_heard(tmp_path: Path, model_folder: Callable[[str], Path]):
    from tutelage.cli._rate_quality import head_scores
    from tutelage.models.heads import Heads
    from tutelage.models.load import load_scorer

    load_scorer(str(model_folder("llama")), head="normal", heads=Heads(ensemble=4)).save(tmp_path / "rm")
    found = head_scores(str(tmp_path / "rm"), pairs(3))
    assert len(found) == 6 and all(len(told) == 4 and len(set(told)) > 1 for told in found.values())
