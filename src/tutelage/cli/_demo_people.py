"""`tutelage demo --serve`: the person at the keyboard as one of the raters, and what their word was worth."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tutelage.rounds import Command, flags

YOU = "you"
"""The rater id under which the person stands among the others."""


def with_you(
    plan: list[Command], out: Path, rate: Mapping[str, Any], tasks: int, served: dict[str, Any], taste: str
) -> list[Command]:
    """The same commands; before the simulated raters come, some pairs are asked, and a page waits for you.

    After them you are compared with them and with the hidden taste, in a file that the report reads.

    Args:
        rate: settings of `rate simulate`, whose pairs these are some of.
        tasks: how many pairs.
        served: settings of `rate serve`.
        taste: the hidden taste of the simulated raters.
    """
    after = 1 + next(index for index, command in enumerate(plan) if command.words[:2] == ("rate", "simulate"))
    where = f"lang={served['language']}"
    asked = {
        "db": out / "ratings.db",
        "samples": out / "answers.jsonl",
        "kinds": "pair",
        "limit": tasks,
        "where": where,
    }
    asked |= {name: rate[name] for name in ("overlap", "pairs", "seed")}
    yours = [
        Command("make the goal yours", ("rate", "project", f"goal={tasks}", *flags({"db": out / "ratings.db"}))),
        Command("choose pairs for you", ("rate", "ask", *flags(asked))),
        Command("wait for your judgements", ("rate", "serve", *flags({"db": out / "ratings.db", "port": 0} | served))),
    ]
    compared = {"db": out / "ratings.db", "rater": YOU, "taste": taste, "out": out / "people.json"}
    told = Command("compare you with the others", ("rate", "stats", *flags(compared)))
    return [*plan[: after - 1], *yours, plan[after - 1], told, *plan[after:]]
