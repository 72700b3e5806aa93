"""The demo with several seeds, one after another: does the hidden taste rise in nearly all of them?

    .venv/bin/python benchmarks/seeds.py --seeds 10 --out runs/seeds [-- flags for the demo]

Prints a Markdown table for docs/LOG.md from each run's summary.json. A run that is already complete is not repeated,
and one that was interrupted goes on.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

COLUMNS = (
    "seed", "gold_before", "gold_after", "gold_gain", "gold_gain_low", "win_rate", "win_rate_low", "stop_rate", "kl",
    "reward_accuracy", "rater_agreement", "length_only_accuracy", "seconds", "peak_gib",
)  # fmt: skip
RAISED, WON = "gold_gain_low > 0", "win_rate ≥ 0.6 and win_rate_low > 0.5"


def main() -> int:
    """Run the seeds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10, help="how many, counted from 0")
    parser.add_argument("--out", type=Path, default=Path("runs/seeds"), help="folder of the runs")
    parser.add_argument("flags", nargs="*", help="after --: flags for `tutelage demo`")
    asked = parser.parse_args()
    rows = [run(seed, asked.out / f"seed-{seed}", asked.flags) for seed in range(asked.seeds)]
    print(table(rows))
    return 0


def run(seed: int, out: Path, flags: Sequence[str]) -> dict[str, Any]:
    """One demo; its summary."""
    command = [sys.executable, "-m", "tutelage.cli.main", "demo", "--seed", str(seed), "--out", str(out), *flags]
    subprocess.run(command, check=True)
    return json.loads((out / "summary.json").read_text(encoding="utf-8"))


def table(rows: Sequence[dict[str, Any]]) -> str:
    """One line per seed, and how many kept the promises."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    lines += ["| " + " | ".join(_cell(row.get(name)) for name in COLUMNS) + " |" for row in rows]
    raised = sum(row["gold_gain_low"] > 0 for row in rows)
    won = sum(row["win_rate"] >= 0.6 and row["win_rate_low"] > 0.5 for row in rows)
    return "\n".join([*lines, "", f"{RAISED}: {raised} of {len(rows)} · {WON}: {won} of {len(rows)}"])


def _cell(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else "" if value is None else str(value)


if __name__ == "__main__":
    sys.exit(main())
