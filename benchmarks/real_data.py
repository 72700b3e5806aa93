"""The steps one by one on real English and Chinese data: pretrain, SFT, a reward model, DPO, PPO; prints one table.

    python benchmarks/real_data.py --data FOLDER --out runs/real

FOLDER holds `pretrain/ sft/ preference/` as JSONL (see docs/LOG.md for what was used). Every line is a `tutelage`
command, printed before it runs; run again, it goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

LENGTH = 320
SMALL = {"max_length": LENGTH, "on_bad": "skip", "batch_size": 32}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/real"))
    options = parser.parse_args()
    data, out = options.data, options.out
    out.mkdir(parents=True, exist_ok=True)
    preferences = [data / "preference" / f"{name}.train.jsonl" for name in ("en_hh_harmless", "en_oasst", "zh_oasst")]
    tests = [data / "preference" / f"{name}.test.jsonl" for name in ("en_hh_harmless", "zh_oasst")]
    instructions = [data / "sft" / f"{name}_alpaca.train.jsonl" for name in ("en", "zh")]
    chat = [
        _chat(path, out / path.name.replace(".jsonl", ".chat.jsonl")) for path in [*instructions, *preferences, *tests]
    ]
    sft, pairs, held_out = chat[:2], chat[2:5], chat[5:]
    sft_test = [
        _chat(data / "sft" / f"{name}_alpaca.test.jsonl", out / f"{name}_alpaca.test.chat.jsonl")
        for name in ("en", "zh")
    ]
    prompts = _prompts(sft_test, out / "prompts.jsonl")
    base, tuned = out / "pretrain" / "model", out / "sft" / "model"
    _run(
        "pretrain",
        data=_join(data / "pretrain" / f"{name}_train.jsonl" for name in ("en", "zh")),
        eval_data=_join(data / "pretrain" / f"{name}_valid.jsonl" for name in ("en", "zh")),
        out=out / "pretrain", steps=1000, batch_size=12, max_length=256, vocab_size=5000, hidden_size=192, layers=4,
        heads=6, key_value_heads=6, learning_rate=2e-3, adam_beta2=0.98,
    )  # fmt: skip
    _run(
        "sft", model=base, data=_join(sft), eval_data=_join(sft_test), out=out / "sft", steps=500, learning_rate=1e-3,
        **SMALL | {"max_length": 160},
    )  # fmt: skip
    _run(
        "reward", model=tuned, data=_join(pairs), eval_data=_join(held_out), out=out / "reward", epochs=1,
        learning_rate=3e-4, **SMALL | {"batch_size": 16},
    )  # fmt: skip
    _run(
        "dpo", model=tuned, data=_join(pairs), eval_data=_join(held_out), out=out / "dpo", epochs=1, learning_rate=5e-5,
        **SMALL | {"batch_size": 16},
    )  # fmt: skip
    _run(
        "ppo", model=tuned, reward=out / "reward" / "model", data=prompts, out=out / "ppo", steps=60,
        learning_rate=1e-4, critic_learning_rate=3e-4, critic_init="zero", updates=2, minibatches=2, max_new_tokens=120,
        temperature=0.7,
        value_clip=0, **SMALL,
    )  # fmt: skip
    print(table(out, pairs, held_out))


def table(out: Path, pairs: list[Path], held_out: list[Path]) -> str:
    """The first and last numbers of each run, as Markdown."""
    rows = ["| run | steps | seconds | what | first | last |", "|---|---|---|---|---|---|"]
    shown = {
        "pretrain": ("loss", "eval/perplexity"),
        "sft": ("loss", "eval/nll"),
        "reward": ("loss", "eval/accuracy"),
        "dpo": ("loss", "eval/accuracy"),
        "ppo": ("reward/mean", "policy/kl", "policy/stop_rate"),
    }
    for name, keys in shown.items():
        lines = [json.loads(line) for line in (out / name / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
        done = json.loads((out / name / "done.json").read_text(encoding="utf-8"))
        for key in keys:
            values = [line[key] for line in lines if key in line]
            rows.append(
                f"| {name} | {done['steps']} | {done['seconds']:.0f} | {key} | {values[0]:.4g} | {values[-1]:.4g} |"
            )
        alarms = "; ".join(alarm["message"] for alarm in done["alarms"]) or "none"
        rows.append(f"| {name} | | | alarms | | {alarms} |")
    longer = _longer_wins(pairs) >= 0.5
    for path in held_out:
        share = _longer_wins([path])
        rows.append(f"| length only | | | accuracy on {path.name} | | {share if longer else 1 - share:.4g} |")
    share = _longer_wins(held_out)
    rows.append(f"| length only | | | accuracy on both | | {share if longer else 1 - share:.4g} |")
    return "\n".join(rows)


def _longer_wins(paths: list[Path]) -> float:
    rows = [json.loads(line) for path in paths for line in path.read_text(encoding="utf-8").splitlines()]
    gaps = [len(_text(row["chosen"])) - len(_text(row["rejected"])) for row in rows]
    return sum((gap > 0) + 0.5 * (gap == 0) for gap in gaps) / len(gaps)


def _text(turns: list[dict[str, str]] | str) -> str:
    return turns if isinstance(turns, str) else "".join(turn["content"] for turn in turns)


def _chat(source: Path, target: Path) -> Path:
    """String prompts and answers as chat messages, so that the chat template separates them."""
    if not target.is_file():
        rows = [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()]
        target.write_text(
            "".join(json.dumps(_as_chat(row), ensure_ascii=False) + "\n" for row in rows), encoding="utf-8"
        )
    return target


def _as_chat(row: dict[str, Any]) -> dict[str, Any]:
    prompt = row.get("prompt_messages") or [{"role": "user", "content": row["prompt"]}]
    answers = {
        name: [{"role": "assistant", "content": row[name]}]
        for name in ("completion", "chosen", "rejected")
        if name in row
    }
    return {"prompt": prompt} | answers


def _prompts(sources: list[Path], target: Path) -> Path:
    rows = [json.loads(line)["prompt"] for path in sources for line in path.read_text(encoding="utf-8").splitlines()]
    short = [row for row in rows if len(_text(row)) < 120]
    target.write_text(
        "".join(json.dumps({"prompt": row}, ensure_ascii=False) + "\n" for row in short), encoding="utf-8"
    )
    return target


def _join(paths: Any) -> str:
    return ",".join(str(path) for path in paths)


def _run(verb: str, **settings: Any) -> None:
    words = ["tutelage", verb]
    for name, value in settings.items():
        words += [f"--{name.replace('_', '-')}", str(value)]
    print("$", shlex.join(words), flush=True)
    began = time.monotonic()
    code = subprocess.run([sys.executable, "-m", *words], check=False).returncode
    print(f"# {time.monotonic() - began:.0f} s, exit code {code}", flush=True)
    if code:
        sys.exit(code)


if __name__ == "__main__":
    main()
