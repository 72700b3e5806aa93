"""The outer loop on commands that only write down what the real ones would: order, resumption, reasons to stop."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tutelage.errors import DataError, UsageError
from tutelage.flow import Flow, LoopConfig, Stopped, best, loop, stop_reason
from tutelage.rounds import Command, flags

A, B, C = (Command(name, (name, "--out", f"runs/{name} 1")) for name in ("a", "b", "c"))


class Shell:
    """Runs nothing; remembers what it was asked, and writes the files that the loop reads afterwards."""

    def __init__(self, outcomes: Sequence[dict[str, Any]] = (), fail_at: int = -1, code: int = 65) -> None:
        self.outcomes, self.fail_at, self.code = list(outcomes), fail_at, code
        self.asked: list[tuple[str, ...]] = []

    def __call__(self, words: Sequence[str]) -> int:
        self.asked.append(tuple(words))
        if len(self.asked) - 1 == self.fail_at:
            return self.code
        given = dict(zip(words, words[1:], strict=False))
        if words[0] == "sample":
            _write(Path(given["--out"]), {"completion": "x"})
        if words[:2] == ("rate", "export"):
            _write(Path(given["--out"]), {"chosen": "x"})
        if words[0] in ("ppo", "dpo", "simpo"):
            _write(Path(given["--out"]) / "done.json", {"steps": 10, "alarms": []})
        if words[0] == "eval":
            _write(Path(given["--out"]) / "summary.json", self.outcomes.pop(0))
        return 0

    def of(self, verb: str) -> list[dict[str, str]]:
        """The flags of each call of one verb."""
        return [dict(zip(words, words[1:], strict=False)) for words in self.asked if words[0] == verb]


def _write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def outcome(score: float, *, win_rate: float = 0.5, kl: float = 1.0, spread: float = 0.02) -> dict[str, float]:
    return {"gold_after": score, "gold_gain": 0.1, "gold_gain_high": 0.1 + spread, "win_rate": win_rate, "kl": kl}


def config(folder: Path, **settings: Any) -> LoopConfig:
    prompts = folder / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": f"问 {n}"}, ensure_ascii=False) + "\n" for n in range(5)))
    given = {"model": "start", "prompts": str(prompts), "test_prompts": "test.jsonl", "out": folder / "loop"}
    return LoopConfig(**(given | settings))


def test_a_flow_runs_in_order_and_never_again_what_is_done(tmp_path: Path) -> None:
    said: list[str] = []
    shell = Shell()
    Flow(tmp_path, shell, said.append).run([A, B])
    assert shell.asked == [A.words, B.words] and said == ["[1/2] a", "[2/2] b"]
    Flow(tmp_path, shell, said.append).run([A, B, C])
    assert shell.asked[2:] == [C.words] and said[2:] == ["[3/3] c"]
    kept = json.loads((tmp_path / "flow.json").read_text())
    assert kept["done"] == [str(A), str(B), str(C)] and kept["seconds"] >= 0 and kept["peak_gib"] > 0
    assert str(A) == "tutelage a --out 'runs/a 1'", "a line can be pasted into a shell"


def test_a_command_that_fails_stops_the_flow_with_its_code_and_is_the_next_one(tmp_path: Path) -> None:
    with pytest.raises(Stopped, match="exit code 75") as caught:
        Flow(tmp_path, Shell(fail_at=1, code=75), str).run([A, B, C])
    assert caught.value.code == 75
    shell = Shell()
    Flow(tmp_path, shell, str).run([A, B, C])
    assert shell.asked == [B.words, C.words]


def test_an_interrupted_command_is_run_again(tmp_path: Path) -> None:
    def killed(words: Sequence[str]) -> int:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Flow(tmp_path, killed, str).run([A])
    shell = Shell()
    Flow(tmp_path, shell, str).run([A])
    assert shell.asked == [A.words]


def test_a_command_with_other_settings_is_another_command(tmp_path: Path) -> None:
    shell = Shell()
    Flow(tmp_path, shell, str).run([A])
    Flow(tmp_path, shell, str).run([Command("a", (*A.words, "--seed", "1"))])
    assert len(shell.asked) == 2


def test_settings_become_flags() -> None:
    assert flags({"batch_size": 8, "lora": True, "join": False, "out": Path("a b")}) == (
        "--batch-size", "8", "--lora", "--no-join", "--out", "a b",
    )  # fmt: skip


def test_each_round_starts_from_the_last_and_says_what_made_its_model(tmp_path: Path) -> None:
    shell = Shell([outcome(0.5), outcome(0.6)])
    settings = {"rounds": 2, "base": "base", "improve": {"batch_size": 7}, "sample": {"n": 3}}
    found = loop(config(tmp_path, **settings), shell, str)
    first = str(tmp_path / "loop/round-01/ppo/model")
    assert [one["--model"] for one in shell.of("sample")] == ["start", first]
    assert [one["--model"] for one in shell.of("ppo")] == ["start", first]
    assert [one["--baseline"] for one in shell.of("eval")] == ["start", "start"], (
        "compared with the first model, always"
    )
    assert {one["--n"] for one in shell.of("sample")} == {"3"} and {one["--batch-size"] for one in shell.of("ppo")} == {
        "7"
    }
    assert len({one["--seed"] for one in shell.of("ppo")}) == 2, "each round has its own randomness"
    assert found["reason"] == "all 2 rounds done" and found["best"] == str(tmp_path / "loop/round-02/ppo/model")
    lineage = json.loads((tmp_path / "loop/lineage.json").read_text())
    assert lineage["start"] == "start" and [one["start"] for one in lineage["rounds"]] == ["start", first]
    assert all(len(one["pairs"]["sha256"]) == 64 for one in lineage["rounds"])
    assert json.loads((tmp_path / "loop/loop.json").read_text())["reason"] == found["reason"]


@pytest.mark.parametrize("fail_at", range(0, 12, 3))
def test_a_loop_that_was_stopped_anywhere_goes_on_there(fail_at: int, tmp_path: Path) -> None:
    through = Shell([outcome(0.5), outcome(0.6)])
    wanted = loop(config(tmp_path, rounds=2), through, str)
    (tmp_path / "again").mkdir()
    settings = config(tmp_path / "again", rounds=2)
    broken = Shell([outcome(0.5), outcome(0.6)], fail_at=fail_at)
    with pytest.raises(Stopped):
        loop(settings, broken, str)
    rest = Shell(broken.outcomes)
    found = loop(settings, rest, str)
    assert len(broken.asked) - 1 + len(rest.asked) == len(through.asked) == 12
    assert [one["score"] for one in found["rounds"]] == [one["score"] for one in wanted["rounds"]]
    nothing = Shell()
    assert loop(settings, nothing, str)["reason"] == found["reason"] and nothing.asked == []


@pytest.mark.parametrize("algorithm", ["dpo", "simpo"])
def test_direct_preferences_need_no_prompts_to_improve_on(tmp_path: Path, algorithm: str) -> None:
    shell = Shell([outcome(0.5)])
    loop(config(tmp_path, rounds=1, algorithm=algorithm), shell, str)
    (improve,) = shell.of(algorithm)
    assert improve["--data"].endswith("pairs.jsonl") and "--reward" not in improve


def test_what_a_round_has_no_rows_for_is_refused_before_it_begins(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no round is improved by kto"):
        config(tmp_path, algorithm="kto")


def test_each_round_may_take_its_own_prompts_and_goes_round(tmp_path: Path) -> None:
    loop(config(tmp_path, rounds=3, prompts_per_round=2), Shell([outcome(0.5)] * 3), str)
    taken = [(tmp_path / f"loop/round-0{n}/prompts.jsonl").read_text(encoding="utf-8") for n in (1, 2, 3)]
    assert [[json.loads(line)["prompt"][-1] for line in text.splitlines()] for text in taken] == [
        ["0", "1"],
        ["2", "3"],
        ["4", "0"],
    ]
    empty = config(tmp_path, rounds=1, prompts_per_round=2, out=tmp_path / "other")
    Path(empty.prompts).write_text("\n")
    with pytest.raises(DataError, match="no prompts"):
        loop(empty, Shell(), str)


@pytest.mark.parametrize(
    ("settings", "rounds", "said"),
    [
        ({"target_score": 0.6}, 2, "target reached: score 0.600 (--target-score 0.6)"),
        ({"target_win_rate": 0.7}, 2, "target reached: win rate 0.700 (--target-win-rate 0.7)"),
        ({"max_kl": 5}, 2, "budget spent: answers have drifted 6.00 nats (--max-kl 5)"),
        ({"max_steps": 20}, 2, "budget spent: 20 steps (--max-steps 20)"),
        ({}, 3, "alarm: the score fell from 0.600 to 0.500; the best round is the one to keep"),
        ({"stop_on_alarm": False}, 4, "all 4 rounds done"),
    ],
)  # fmt: skip
def test_a_loop_ends_for_a_reason_that_it_says(
    settings: dict[str, Any], rounds: int, said: str, tmp_path: Path
) -> None:
    scores = [outcome(0.5), outcome(0.6, win_rate=0.7, kl=6), outcome(0.5, kl=2), outcome(0.55, kl=2)]
    found = loop(config(tmp_path, rounds=4, **settings), Shell(scores), str)
    assert said in found["reason"] and len(found["rounds"]) == rounds
    if rounds > 1:
        assert found["best"].endswith("round-02/ppo/model")


def test_a_fall_within_the_interval_is_no_alarm_and_what_was_not_measured_stops_nothing(tmp_path: Path) -> None:
    fine = {"score": 0.5, "score_high": 0.7, "win_rate": None, "kl": None, "steps": 0}
    settings = config(tmp_path, target_score=0.9, target_win_rate=0.9, max_kl=1)
    assert stop_reason(settings, [fine | {"score": 0.6}, fine], 0.0) is None
    unknown = fine | {"score": None, "score_high": None}
    assert stop_reason(settings, [unknown], 0.0) is None and stop_reason(settings, [unknown, fine], 0.0) is None
    assert best([unknown, fine])["score"] == 0.5


def test_a_loop_ends_when_its_time_is_spent(tmp_path: Path) -> None:
    done = {"score": None, "score_high": None, "win_rate": None, "kl": None, "steps": 0}
    settings = config(tmp_path, max_minutes=2)
    assert stop_reason(settings, [done], 119.9) is None
    assert stop_reason(settings, [done], 120.0) == "budget spent: 2.0 minutes (--max-minutes 2)"


def test_a_loop_without_rounds_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="rounds = 0"):
        config(tmp_path, rounds=0)


def test_the_best_round_is_chosen_by_other_prompts_than_those_that_are_reported() -> None:
    lucky = {"score": 0.7, "chosen_by": 0.6, "reported": 0.8}
    steady = {"score": 0.65, "chosen_by": 0.66, "reported": 0.64}
    assert best([lucky, steady]) is steady
    assert best([{"score": None}, {"score": 0.2}]) == {"score": 0.2}
