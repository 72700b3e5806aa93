"""How long the light commands take to start, in seconds: the best and the median of several processes.

.venv/bin/python benchmarks/startup.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

REPEATS = 7
CASES = {
    "import tutelage": ["-c", "import tutelage"],
    "tutelage --help": ["-m", "tutelage.cli.main", "--help"],
    "tutelage data check --help": ["-m", "tutelage.cli.main", "data", "check", "--help"],
}


def main() -> int:
    """Print one line per case."""
    for name, words in CASES.items():
        seconds = [_once(words) for _ in range(REPEATS)]
        print(f"{name}: best {min(seconds):.3f} s, median {statistics.median(seconds):.3f} s of {REPEATS}")
    return 0


def _once(words: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(main())
