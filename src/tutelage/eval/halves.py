"""Two halves of the test prompts: one to choose the best model by, the other to say how good the chosen one is.

The best of several numbers is too high by the luck it was chosen for (Cawley & Talbot 2010, "On over-fitting in model
selection"); numbers on other prompts are not.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from statistics import fmean


def halves(answers: Path, score: str = "gold_model") -> dict[str, float]:
    """`chosen_by` and `reported`: the mean of `score` over the one and the other half; {} without both.

    Args:
        answers: `answers.jsonl` of `tutelage eval`; a prompt's half depends on its id alone, so it is the same always.
    """
    if not answers.is_file():
        return {}
    sides: tuple[list[float], list[float]] = ([], [])
    for line in answers.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if score in row:
            sides[hashlib.sha256(str(row["id"]).encode()).digest()[0] % 2].append(float(row[score]))
    return {"chosen_by": fmean(sides[0]), "reported": fmean(sides[1])} if all(sides) else {}
