"""The outer loop: sample, ask, fit the reward, improve, measure, again, until the target, the budget or an alarm.

A flow is a list of tutelage's own commands, so that whatever it does can be done by hand, one line after another.
What is done stands in `flow.json`; a command that was cut off is simply run again, and goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tutelage.errors import DataError, UsageError
from tutelage.eval.halves import halves
from tutelage.rounds import Command, RoundPlan, round_commands

_NO_ROUND = ("pretrain", "sft", "kto", "reward", "cost")
"""what reads other rows than a round makes, or makes no policy"""
Execute = Callable[[Sequence[str]], int]
"""Runs one command line (without the leading `tutelage`) and answers with its exit code."""


class Stopped(Exception):
    """A command of the flow did not succeed; carries its exit code."""

    def __init__(self, command: Command, code: int) -> None:
        super().__init__(f"'{command}' ended with exit code {code}")
        self.code = code


class Flow:
    """Runs commands in order and remembers, durably, which of them are done.

    Example:
        >>> flow = Flow(Path("RUN"), execute, print)
        >>> flow.run([Command("make data", ("data", "make", "news", "--out", "RUN/data"))])
    """

    def __init__(self, folder: Path, execute: Execute, say: Callable[[str], None]) -> None:
        self.folder, self.execute, self.say = folder, execute, say
        self.path = folder / "flow.json"
        self.began = time.monotonic()
        self.state: dict[str, Any] = read_json(self.path) or {"done": [], "seconds": 0.0, "peak_gib": 0.0}

    @property
    def seconds(self) -> float:
        """Wall time of the commands so far, earlier starts included."""
        return float(self.state["seconds"])

    def run(self, commands: Sequence[Command]) -> None:
        """Run those that are not done.

        Raises:
            Stopped: one did not succeed; the same call goes on with it.
        """
        done = set(self.state["done"])
        for number, command in enumerate(commands, 1):
            line = str(command)
            if line in done:
                continue
            self.say(f"[{number}/{len(commands)}] {command.title}")
            began = time.monotonic()
            code = self.execute(command.words)
            self._remember(line if code == 0 else None, time.monotonic() - began)
            if code:
                raise Stopped(command, code)

    def _remember(self, line: str | None, seconds: float) -> None:
        self.state["seconds"] = round(self.seconds + seconds, 2)
        self.state["peak_gib"] = max(float(self.state["peak_gib"]), peak_gib())
        if line is not None:
            self.state["done"] = [*self.state["done"], line]
        write_json(self.path, self.state)


def peak_gib() -> float:
    """The largest resident memory of this process so far, in GiB."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 3)


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """The outer loop: who answers, who judges, what improves the model, and when it is enough."""

    model: str
    """model that the first round starts from (instruction-tuned)"""
    prompts: str
    """prompts whose answers are judged; each round takes its own slice"""
    test_prompts: str
    """prompts that nothing learns from"""
    out: Path
    """folder of the loop; the same command goes on where it stopped"""
    improve_prompts: str = ""
    """prompts that the policy learns on; by default `prompts`"""
    base: str = ""
    """model whose perplexity measures fluency; by default `model`"""
    algorithm: str = "ppo"
    """what improves the policy: a training command"""
    labeler: Literal["simulated"] = "simulated"
    """who judges; people come with the rating application"""
    taste: str = "news"
    """hidden taste of simulated raters: a name in data/sources, or package.module:function"""
    raters: str = "default"
    """which simulated raters: default, or fresh:N"""
    seed: int = 0
    """of everything random; each round derives its own"""
    rounds: int = 3
    """budget: at most so many rounds"""
    max_steps: int = 0
    """budget: optimiser steps of the improving command, over all rounds; 0 = no limit"""
    max_kl: float = 0.0
    """budget: nats that answers may drift from the first model; 0 = no limit"""
    max_minutes: float = 0.0
    """budget: wall time, looked at between rounds; 0 = no limit"""
    target_score: float = 0.0
    """target: mean score of the hidden taste (0–1) on the test prompts; 0 = none"""
    target_win_rate: float = 0.0
    """target: win rate against the first model; 0 = none"""
    stop_on_alarm: bool = True
    """end when a round's score falls below that of the round before by more than its interval"""
    prompts_per_round: int = 0
    """prompts judged in each round; 0 = all of them, every round"""
    sample: dict[str, Any] | None = None
    """settings of `sample`, e.g. `{n: 4}`"""
    rate: dict[str, Any] | None = None
    """settings of `rate simulate`"""
    reward: dict[str, Any] | None = None
    """settings of `reward`"""
    improve: dict[str, Any] | None = None
    """settings of the improving command"""
    evaluate: dict[str, Any] | None = None
    """settings of `eval`"""

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise UsageError(f"rounds = {self.rounds} makes no sense", fix="--rounds 1 or more")
        if self.algorithm in _NO_ROUND:
            raise UsageError(
                f"no round is improved by {self.algorithm}", fix="--algorithm ppo, rloo, online-dpo, dpo …"
            )


def loop(config: LoopConfig, execute: Execute, say: Callable[[str], None]) -> dict[str, Any]:
    """Go round until a reason to stop; returns what `loop.json` holds: the rounds, the reason, the best model.

    Raises:
        Stopped: a command of a round did not succeed.
    """
    config.out.mkdir(parents=True, exist_ok=True)
    flow = Flow(config.out, execute, say)
    model, rounds = config.model, list[dict[str, Any]]()
    reason = f"all {config.rounds} rounds done"
    for number in range(1, config.rounds + 1):
        folder = config.out / f"round-{number:02d}"
        folder.mkdir(exist_ok=True)
        plan = _plan(config, number, folder)
        flow.run(round_commands(folder, model, plan))
        rounds.append(_outcome(folder, number, model, plan))
        model = str(folder / plan.algorithm / "model")
        stop = stop_reason(config, rounds, flow.seconds)
        write_json(config.out / "loop.json", {"rounds": rounds, "reason": stop or "", "best": best(rounds)["model"]})
        write_json(config.out / "lineage.json", {"start": config.model, "rounds": [one["lineage"] for one in rounds]})
        say(_sentence(rounds[-1]))
        if stop:
            reason = stop
            break
    chosen = best(rounds)
    result = {"rounds": rounds, "reason": reason, "best": chosen["model"], "best_score": chosen.get("reported")}
    result["seconds"] = flow.seconds
    write_json(config.out / "loop.json", result)
    return result


def stop_reason(config: LoopConfig, rounds: Sequence[Mapping[str, Any]], seconds: float) -> str | None:
    """Why the loop ends after these rounds: a target reached, a budget spent, an alarm; None = go on."""
    last = rounds[-1]
    steps = sum(int(one["steps"]) for one in rounds)
    if config.target_score and last["score"] is not None and last["score"] >= config.target_score:
        return f"target reached: score {last['score']:.3f} (--target-score {config.target_score:g})"
    if config.target_win_rate and last["win_rate"] is not None and last["win_rate"] >= config.target_win_rate:
        return f"target reached: win rate {last['win_rate']:.3f} (--target-win-rate {config.target_win_rate:g})"
    before = rounds[-2]["score"] if len(rounds) > 1 else None
    if config.stop_on_alarm and None not in (before, last["score"]) and last["score_high"] < before:
        return f"alarm: the score fell from {before:.3f} to {last['score']:.3f}; the best round is the one to keep"
    if config.max_kl and last["kl"] is not None and last["kl"] >= config.max_kl:
        return f"budget spent: answers have drifted {last['kl']:.2f} nats (--max-kl {config.max_kl:g})"
    if config.max_steps and steps >= config.max_steps:
        return f"budget spent: {steps} steps (--max-steps {config.max_steps})"
    if config.max_minutes and seconds >= 60 * config.max_minutes:
        return f"budget spent: {seconds / 60:.1f} minutes (--max-minutes {config.max_minutes:g})"
    return None


def best(rounds: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The round with the highest score on half of the test prompts; `reported` is its score on the other half.

    Where rounds were not measured prompt by prompt, the whole score decides.
    """
    scores = [one["score"] if one.get("chosen_by") is None else one["chosen_by"] for one in rounds]
    return rounds[max(range(len(rounds)), key=lambda index: (scores[index] is not None, scores[index] or 0.0))]


def _plan(config: LoopConfig, number: int, folder: Path) -> RoundPlan:
    prompts = _slice(config, number, folder / "prompts.jsonl") if config.prompts_per_round else config.prompts
    return RoundPlan(
        algorithm=config.algorithm,
        prompts=str(prompts),
        improve_prompts=config.improve_prompts or config.prompts,
        test_prompts=config.test_prompts,
        taste=config.taste,
        raters=config.raters,
        seed=config.seed * 1000 + number,
        base=config.base or config.model,
        baseline=config.model,
        sample={"n": 4} | (config.sample or {}),
        rate=config.rate or {},
        reward=config.reward or {},
        improve=config.improve or {},
        evaluate=config.evaluate or {},
    )


def _slice(config: LoopConfig, number: int, path: Path) -> Path:
    """This round's share of the prompts, going round when they are used up."""
    lines = [line for line in Path(config.prompts).read_text(encoding="utf-8").splitlines() if line.strip()]
    if not lines:
        raise DataError("there are no prompts", where=config.prompts)
    start, size = (number - 1) * config.prompts_per_round, min(config.prompts_per_round, len(lines))
    path.write_text("\n".join(lines[(start + i) % len(lines)] for i in range(size)) + "\n", encoding="utf-8")
    return path


def _outcome(folder: Path, number: int, start: str, plan: RoundPlan) -> dict[str, Any]:
    """What a round came to, and which judgements made its model."""
    found = read_json(folder / "eval" / "summary.json")
    done = read_json(folder / plan.algorithm / "done.json")
    model = str(folder / plan.algorithm / "model")
    gain = (found.get("gold_gain_high") or 0.0) - (found.get("gold_gain") or 0.0)
    score = found.get("gold_after")
    return {
        "round": number,
        "model": model,
        "score": score,
        "score_high": None if score is None else score + gain,
        **halves(folder / "eval" / "answers.jsonl"),
        "win_rate": found.get("win_rate"),
        "kl": found.get("kl"),
        "steps": done.get("steps", 0),
        "alarms": done.get("alarms", []),
        "lineage": {
            "round": number,
            "start": start,
            "answers": _fingerprint(folder / "answers.jsonl"),
            "database": str(folder / "ratings.db"),
            "pairs": _fingerprint(folder / "pairs.jsonl"),
            "reward": str(folder / "reward" / "lineage.json"),
            "model": model,
            "model_lineage": str(folder / plan.algorithm / "lineage.json"),
        },
    }


def _sentence(one: Mapping[str, Any]) -> str:
    numbers = {"score": one["score"], "win rate": one["win_rate"], "KL": one["kl"]}
    told = ", ".join(f"{name} {value:.3f}" for name, value in numbers.items() if value is not None)
    return f"round {one['round']}: {told or 'done'}"


def _fingerprint(path: Path) -> dict[str, str]:
    return {"file": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def read_json(path: Path) -> dict[str, Any]:
    """What a JSON file holds; nothing if it is not there."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".tmp-{path.name}")
    with draft.open("w", encoding="utf-8") as file:
        json.dump(value, file, ensure_ascii=False, indent=2)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
