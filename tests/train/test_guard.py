"""The held-out judge: when a run is called over-optimised, and that going back leaves the best model, bit for bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from toy_learner import Adam, Toy, learn, options

from tutelage.algorithms import WatchRule
from tutelage.train.guard import Guard
from tutelage.train.run import Run


def looks(guard: Guard, rows: list[tuple[float, float]], error: float = 0.01) -> list[int]:
    """At which looks the alarm came."""
    return [
        number
        for number, (reward, gold) in enumerate(rows)
        if guard.observe(
            number * max(guard.rule.every, 1), {"eval/reward": reward, "eval/gold": gold, "eval/gold_se": error}
        )
    ]


RISING = [(number / 10, number / 20) for number in range(8)]
TURNING = [*RISING, *((0.8 + number / 10, 0.35 - number / 10) for number in range(8))]


def test_both_rising_is_no_alarm_and_the_last_is_the_best() -> None:
    guard = Guard(WatchRule(every=10, patience=2, action="rollback"))
    assert looks(guard, RISING) == [] and guard.verdict is None
    assert guard.best is not None and guard.best.step == 70 and guard.spared == {60, 70}


def test_the_watched_score_falling_while_the_reward_rises_is_one_alarm_after_patience() -> None:
    first = looks(Guard(WatchRule(every=10, patience=1, action="stop")), TURNING)
    third = looks(Guard(WatchRule(every=10, patience=3, action="stop")), TURNING)
    assert len(first) == len(third) == 1 and third[0] == first[0] + 2
    guard = Guard(WatchRule(every=10, patience=3, action="stop"))
    looks(guard, TURNING)
    assert guard.verdict is not None and "fell from 0.333 at step 80" in guard.verdict
    assert guard.best is not None and guard.best.step == 80


def test_both_falling_or_a_fall_within_the_error_is_no_alarm() -> None:
    falling = [*RISING, *((0.7 - number / 10, 0.35 - number / 10) for number in range(1, 8))]
    assert looks(Guard(WatchRule(every=1, patience=1, action="stop")), falling) == []
    noisy = [*RISING, *((0.8 + number / 10, 0.32 - 0.01 * number) for number in range(8))]
    assert looks(Guard(WatchRule(every=1, patience=1, action="stop")), noisy, error=0.1) == []
    assert looks(Guard(WatchRule(every=1, patience=1, action="stop")), noisy, error=0.01) != []


def test_one_bad_look_between_good_ones_is_no_alarm() -> None:
    rows = [*RISING, (0.9, 0.1), *((1.0 + number / 10, 0.45 + number / 10) for number in range(4))]
    assert looks(Guard(WatchRule(every=1, patience=2, action="stop")), rows) == []


def test_warning_does_not_end_a_run_and_spares_no_checkpoint() -> None:
    guard = Guard(WatchRule(patience=1))
    assert len(looks(guard, TURNING)) == 1
    assert guard.verdict is None and guard.spared == set()


def test_looks_off_its_own_beat_do_not_count() -> None:
    guard = Guard(WatchRule(every=10, patience=1, action="stop"))
    assert guard.observe(7, {"eval/reward": 1.0, "eval/gold": 0.7}) is None and guard.best is None
    assert guard.observe(10, {"eval/gold": 0.7}) is None and guard.best is None
    assert guard.due(20) and not guard.due(21) and not Guard(WatchRule()).due(20)


def test_the_state_survives_json() -> None:
    through = Guard(WatchRule(every=1, patience=2, action="stop"))
    stopped = Guard(through.rule)
    for number, row in enumerate(TURNING):
        numbers = {"eval/reward": row[0], "eval/gold": row[1], "eval/gold_se": 0.01}
        assert through.observe(number, numbers) == stopped.observe(number, numbers)
        state = json.loads(json.dumps(stopped.state()))
        stopped = Guard(through.rule)
        stopped.restore(state)
    assert stopped.state() == through.state() and stopped.verdict == through.verdict is not None


# A run


class Judged(Toy):
    """Its watched score turns over after step 8 while its reward goes on rising."""

    turns_at = 8

    def evaluate(self) -> dict[str, float]:
        done = float(self.calls)
        gold = done if done <= self.turns_at else 2 * self.turns_at - done
        return {"eval/reward": done, "eval/gold": gold / 10, "eval/gold_se": 0.01}


class JudgedFromTheStart(Judged):
    turns_at = 0


def run(folder: Path, toy: Toy, *, until: int | None = None, **more: Any) -> dict[str, Any]:
    """The loop as `build.train` runs it; `until` leaves it like a power cut after so many steps."""
    torch.set_num_threads(1)
    adam = Adam(toy)
    settings = {"save_every": 5, "eval_every": 0, "watch": WatchRule(every=2, patience=2, action="rollback")}
    with Run(folder, **options(20, **settings | more)) as going:
        going.resume(toy, adam)
        going.save_start(toy, adam)
        for step in going.steps():
            if step == 0:
                going.begin(toy.evaluate())
            loss = toy.loss(step)
            adam.step(loss)
            going.finish(step, toy, adam, {"loss": float(loss.detach())})
            if until == step + 1:
                return {}
        going.complete(toy)
    return json.loads((folder / "done.json").read_text())


def weights(path: Path) -> bytes:
    return path.read_bytes()


def test_rolling_back_ends_the_run_and_leaves_the_best_model(tmp_path: Path) -> None:
    done = run(tmp_path / "run", Judged())
    # smoothed over three looks the best is one look after the turn
    assert done["model_step"] == 10 and done["steps"] == 14
    assert "over-optimised" in done["reason"] and [alarm["name"] for alarm in done["alarms"]] == ["over-optimised"]
    kept = sorted(path.name for path in (tmp_path / "run/checkpoints").iterdir())
    assert "step-00000010" in kept and kept[-1] == "step-00000014"
    assert "model/ is that of step 10" in (tmp_path / "run/metrics.jsonl").read_text(), "the report reads it there"
    lineage = json.loads((tmp_path / "run/lineage.json").read_text())
    assert lineage["model_step"] == 10
    other = run(tmp_path / "plain", Judged(), watch=WatchRule(), until=10)
    assert other == {}
    learn(tmp_path / "ten", 10, toy=Judged(), save_every=5)
    assert weights(tmp_path / "run/model/w.safetensors") == weights(tmp_path / "ten/model/w.safetensors")


def test_stopping_leaves_the_last_model(tmp_path: Path) -> None:
    done = run(tmp_path / "run", Judged(), watch=WatchRule(every=2, patience=2, action="stop"))
    assert done["steps"] == done["model_step"] == 14 and "over-optimised" in done["reason"]


class Ending(Judged):
    """It ends by itself after 7 steps, between two looks."""

    ends_at = 7

    def stop(self) -> str | None:
        return "enough" if self.calls >= self.ends_at else None


class EndingFallen(Ending):
    turns_at = 0


class Rising(Judged):
    turns_at = 99


def test_a_run_that_ends_between_two_looks_gets_a_last_one(tmp_path: Path) -> None:
    every = WatchRule(every=3, patience=2, action="rollback")
    done = run(tmp_path / "high", Ending(), watch=every)
    assert done["steps"] == done["model_step"] == 7 and done["reason"] == "enough"
    worse = run(tmp_path / "worse", EndingFallen(), watch=WatchRule(every=4, patience=9, action="rollback"))
    assert worse["steps"] == 7 and worse["model_step"] == 0


def test_the_last_step_off_the_beat_counts_as_a_look(tmp_path: Path) -> None:
    done = run(tmp_path / "run", Rising(), watch=WatchRule(every=3, patience=2, action="rollback"))
    assert done["steps"] == done["model_step"] == 20


def test_a_last_look_is_forgotten_when_the_run_goes_on_after_all() -> None:
    rule = WatchRule(every=10, patience=1, action="stop")
    guard, never = Guard(rule), Guard(rule)
    for one in (guard, never):
        one.observe(0, {"eval/reward": 0.0, "eval/gold": 0.5, "eval/gold_se": 0.01})
    alarm = guard.observe(7, {"eval/reward": 9.0, "eval/gold": 0.0, "eval/gold_se": 0.01}, ends=True)
    assert alarm is not None and guard.verdict is None, "the run ends for its own reason"
    again = Guard(rule)
    again.restore(json.loads(json.dumps(guard.state())))
    again.reopen()
    assert again.state() == never.state()


def test_warning_goes_on_to_the_end(tmp_path: Path) -> None:
    done = run(tmp_path / "run", Judged(), watch=WatchRule(every=2, patience=2, action="warn"))
    assert done["steps"] == done["model_step"] == 20 and done["reason"] == "all steps done"
    assert [alarm["name"] for alarm in done["alarms"]] == ["over-optimised"]


def test_where_everything_got_worse_the_model_it_started_from_is_left(tmp_path: Path) -> None:
    start = Judged()
    start.export(tmp_path)
    done = run(tmp_path / "run", JudgedFromTheStart())
    assert done["model_step"] == 0
    assert weights(tmp_path / "run/model/w.safetensors") == weights(tmp_path / "w.safetensors")


@pytest.mark.parametrize("cut", [1, 3, 9, 10, 13])
def test_cut_off_anywhere_it_ends_in_the_same_bits(cut: int, tmp_path: Path) -> None:
    wanted = run(tmp_path / "through", Judged())
    run(tmp_path / "cut", Judged(), until=cut)
    found = run(tmp_path / "cut", Judged())
    assert {**found, "seconds": 0} == {**wanted, "seconds": 0}
    for name in ("model/w.safetensors", "checkpoints/step-00000014/module-policy.safetensors"):
        assert weights(tmp_path / "cut" / name) == weights(tmp_path / "through" / name)
    numbers = [
        [{k: v for k, v in json.loads(line).items() if k != "time"} for line in path.read_text().splitlines()]
        for path in (tmp_path / "cut/metrics.jsonl", tmp_path / "through/metrics.jsonl")
    ]
    assert numbers[0] == numbers[1]


def test_the_same_command_on_a_rolled_back_run_has_nothing_to_do(tmp_path: Path) -> None:
    run(tmp_path / "run", Judged())
    with Run(tmp_path / "run", **options(20)) as going:
        assert going.done


def test_a_damaged_best_checkpoint_is_said_and_the_last_model_left(tmp_path: Path) -> None:
    toy, rule = Judged(), WatchRule(every=2, patience=2, action="rollback")
    adam = Adam(toy)
    with Run(tmp_path / "run", **options(20, save_every=5, eval_every=0, watch=rule)) as going:
        going.resume(toy, adam)
        for step in going.steps():
            loss = toy.loss(step)
            adam.step(loss)
            going.finish(step, toy, adam, {"loss": float(loss.detach())})
        (going.checkpoints / "step-00000010/manifest.json").write_text("{}")
        going.complete(toy)
    done = json.loads((tmp_path / "run/done.json").read_text())
    assert done["model_step"] == done["steps"] == 14
    assert "cannot be put back" in (tmp_path / "run/metrics.jsonl").read_text()
