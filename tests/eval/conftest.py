"""A made-up demo folder, with everything a report can show; run as a script, it writes one to look at."""

from __future__ import annotations

import json
import math
import random
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

ALARM = {
    "step": 48, "time": 50.0, "event": "alarm", "name": "clip-fraction",
    "message": "step 48: 34% of the tokens are clipped (limit 30%)", "advice": "lower --learning-rate",
}  # fmt: skip
EN = (
    "Summarise in one sentence: On Monday the mayor of Talvorin opened a new bridge over the river. It cost 40 million."
)
ZH = "用一句话总结：周一，塔尔沃林市长为跨河新桥剪彩，造价四千万。"


def write_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def make_demo(folder: Path) -> Path:
    """A finished demo: four runs, an evaluation with raters, a summary."""
    rng = random.Random(0)
    _run(folder / "1-pretrain", "pretrain", [_falling(step, 300, 6.2, 1.9, rng) for step in range(1, 301)])
    _run(folder / "2-sft", "sft", [_falling(step, 120, 2.6, 0.9, rng) for step in range(1, 121)])
    accuracy = [
        _falling(s, 80, 0.72, 0.41, rng) | {"reward/accuracy": 0.8 - 0.3 * math.exp(-s / 20)} for s in range(1, 81)
    ]
    _run(folder / "3-reward", "reward", [*accuracy[:-1], accuracy[-1] | {"eval/accuracy": 0.74}])
    _run(folder / "4-ppo", "ppo", [*[_ppo(step, rng) for step in range(1, 61)], ALARM])
    write_lines(folder / "4-ppo" / "samples.jsonl", [_sample(step) for step in range(1, 61, 6)])
    _evaluation(folder / "eval", rng)
    (folder / "summary.json").write_text(json.dumps(_summary()), encoding="utf-8")
    return folder


def _run(folder: Path, command: str, rows: list[dict[str, Any]]) -> None:
    folder.mkdir(parents=True)
    write_lines(folder / "metrics.jsonl", rows)
    config = f"# tutelage {command}\nlearning_rate: 0.001  # flag --learning-rate\nseed: 0  # default\n"
    (folder / "config.yaml").write_text(config, encoding="utf-8")
    (folder / "lineage.json").write_text(json.dumps({"command": command, "parents": []}), encoding="utf-8")


def _falling(step: int, steps: int, first: float, last: float, rng: random.Random) -> dict[str, Any]:
    loss = last + (first - last) * math.exp(-5 * step / steps) + rng.gauss(0, 0.05)
    row = {"step": step, "time": step * 0.2, "loss": loss, "optim/learning_rate": 1e-3 * (1 - step / steps)}
    return (
        row | ({"eval/loss": loss + 0.06} if step % (steps // 10) == 0 else {}) | {"optim/grad_norm": 1 + rng.random()}
    )


def _ppo(step: int, rng: random.Random) -> dict[str, Any]:
    part = 1 - math.exp(-step / 18)
    row = {
        "step": step, "time": float(step), "loss": 0.4 * math.exp(-step / 20) + rng.gauss(0, 0.02),
        "reward/mean": 2.1 * part + rng.gauss(0, 0.12), "gold/mean": 0.55 + 0.29 * part + rng.gauss(0, 0.015),
        "policy/kl": 9.2 * part + rng.gauss(0, 0.2), "policy/entropy": 1.4 - 0.6 * part + rng.gauss(0, 0.02),
        "policy/stop_rate": min(1.0, 0.93 + 0.07 * part), "answer/length": 21 - 3 * part + rng.gauss(0, 0.3),
        "policy/clipped": 0.05 + 0.03 * rng.random(), "value/explained_variance": 0.7 * part,
        "kl/coef": 0.05, "reward/std": 0.8, "preflight/kl": 0.0,
    }  # fmt: skip
    return row | ({"eval/reward": 2.0 * part, "eval/gold": 0.56 + 0.28 * part} if step % 10 == 0 else {})


def _sample(step: int) -> dict[str, Any]:
    return {"step": step, "prompt": EN, "completion": f"The mayor opened a bridge (step {step}).", "reward": step / 30}


def _evaluation(folder: Path, rng: random.Random) -> None:
    folder.mkdir(parents=True)
    measures = {
        "baseline/gold": (0.556, 0.532, 0.581, 200), "model/gold": (0.838, 0.820, 0.857, 200),
        "gain/gold": (0.282, 0.253, 0.311, 200), "model/rouge1": (0.71, 0.69, 0.73, 200),
        "baseline/rouge1": (0.52, 0.5, 0.55, 200), "gain/rouge1": (0.19, 0.16, 0.22, 200),
        "model/bleu": (38.2, None, None, 200), "baseline/bleu": (24.1, None, None, 200),
        "model/bleu/zh": (41.0, None, None, 100), "baseline/bleu/zh": (27.0, None, None, 100),
        "model/bleu/en": (35.4, None, None, 100), "baseline/bleu/en": (21.2, None, None, 100),
        "model/perplexity": (6.1, 5.8, 6.4, 200), "baseline/perplexity": (9.9, 9.2, 10.6, 200),
        "gain/perplexity": (-3.8, -4.4, -3.1, 200), "model/self_bleu": (61.0, None, None, 200),
        "baseline/self_bleu": (48.0, None, None, 200), "model/stop_rate": (0.995, 0.972, 0.999, 200),
        "baseline/stop_rate": (0.96, 0.92, 0.98, 200), "model/length": (18.1, 17.6, 18.6, 200),
        "baseline/length": (22.4, 21.3, 23.6, 200), "win_rate": (0.781, 0.734, 0.826, 200),
        "win_rate/other_raters": (0.781, 0.70, 0.85, 5), "kl": (8.7, 8.1, 9.3, 200),
        **{f"rater/fresh-{n}": (0.7 + 0.03 * n, 0.62 + 0.03 * n, 0.78 + 0.03 * n, 200) for n in range(5)},
    }  # fmt: skip
    rows = {
        k: {"value": v, "low": lo, "high": hi, "n": n, "how": "as measured"} for k, (v, lo, hi, n) in measures.items()
    }
    content = {"model": "4-ppo/model", "baseline": "2-sft/model", "measures": rows, "summary": {"gold_after": 0.838}}
    (folder / "eval.json").write_text(json.dumps(content), encoding="utf-8")
    write_lines(folder / "answers.jsonl", [_answer(index, rng) for index in range(24)])
    write_lines(folder / "judgements.jsonl", [_question(index, rng) for index in range(8)])


def _answer(index: int, rng: random.Random) -> dict[str, Any]:
    zh = bool(index % 2)
    after = (
        "塔尔沃林市长周一为造价四千万的新桥剪彩。"
        if zh
        else "The mayor of Talvorin opened a bridge worth 40 million on Monday."
    )
    before = "市长为新桥剪彩，网友都惊呆了！" if zh else "You won't believe what the mayor did: a bridge bridge bridge."
    return {
        "id": f"news-{index}", "lang": "zh" if zh else "en", "prompt": ZH if zh else EN, "reference": after,
        "baseline": before, "model": after, "gold_baseline": 0.4 + 0.2 * rng.random(), "gold_model": 0.9,
        "reward_baseline": -0.3, "reward_model": 1.9,
    }  # fmt: skip


def _question(index: int, rng: random.Random) -> dict[str, Any]:
    kind = ("pair", "ranking", "scores")[index % 3]
    count = {"pair": 2, "ranking": 4, "scores": 1}[kind]
    ranks = {"pair": [[1, 2], [1, 1], [2, 1]], "ranking": [[1, 2, 2, 4]], "scores": [[]]}[kind]
    scores = {"faithful": 4.0, "concise": 3.5, "fluent": 5.0, "safe": 5.0} if kind == "scores" else {}
    votes = [
        {"rater": f"r{r}", "ranks": rng.choice(ranks), "scores": scores, "shown": [1, 0][:count]} for r in range(3)
    ]
    candidates = [{"text": f"The mayor opened a bridge, version {i}.", "model": f"model {i}"} for i in range(count)]
    return {"id": f"q{index}", "kind": kind, "prompt": EN, "candidates": candidates, "judgements": votes}


def _summary() -> dict[str, float]:
    return {
        "gold_before": 0.556, "gold_after": 0.838, "gold_gain": 0.282, "gold_gain_low": 0.253, "win_rate": 0.781,
        "win_rate_low": 0.734, "stop_rate": 0.995, "kl": 8.7, "reward_accuracy": 0.742, "reward_accuracy_low": 0.701,
        "rater_agreement": 0.79, "length_only_accuracy": 0.56, "seconds": 184.2, "peak_gib": 1.31, "seed": 0,
    }  # fmt: skip


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    """The folder of a finished, made-up demo."""
    return make_demo(tmp_path / "demo")


if __name__ == "__main__":
    from tutelage.eval.report import render

    root = make_demo(Path(sys.argv[1]))
    (root / "report.html").write_text(render([root]), encoding="utf-8")
