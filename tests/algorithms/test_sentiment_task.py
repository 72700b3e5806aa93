"""A real, tiny, pretrained model learns to write happier sentences, by the public interface, with PPO and with RLOO."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import tutelage as tt

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["ppo", "rloo"])
def test_a_real_models_sentences_become_happier(algorithm, shared: Path, tmp_path: Path, monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import _sentiment
    import ten_seeds

    settings = ten_seeds.SHARED | ten_seeds.ALGORITHMS[algorithm] | ten_seeds.TASKS["sentiment"]
    run = tt.training(
        algorithm,
        **settings | {"steps": 25, "learning_rate": 3e-4},
        model=str(_sentiment.write_start(shared / "data" / "tiny_model" / "hf", tmp_path / "start")),
        data=str(_sentiment.write_prompts(tmp_path / "prompts.jsonl")),
        out=tmp_path / "run",
    ).train()
    for name in ("_sentiment", "ten_seeds"):
        sys.modules.pop(name)
    lines = [line for line in run.metrics() if "reward/mean" in line]
    assert len(lines) == 25
    early, late = ([line["reward/mean"] for line in part] for part in (lines[:3], lines[-3:]))
    assert sum(late) / 3 > sum(early) / 3 + 0.3
    assert 0 < lines[-1]["policy/kl"] < 20
    assert (run.model / "config.json").is_file()
