"""`tutelage demo --serve`: the person at the keyboard as one of the raters, and what their word was worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tutelage.rounds import Command, flags

if TYPE_CHECKING:
    from tutelage.cli._ui import UI
    from tutelage.labelers._worth import Worth

YOU = "you"
"""The rater id under which the person stands among the others."""
PROJECT = "default"


def with_you(
    plan: list[Command], out: Path, rate: Mapping[str, Any], tasks: int, served: dict[str, Any]
) -> list[Command]:
    """The same commands, and before the simulated raters come: some pairs are asked, and a page waits for you.

    Args:
        rate: settings of `rate simulate`, whose pairs these are some of.
        tasks: how many pairs.
        served: settings of `rate serve`.
    """
    at = next(index for index, command in enumerate(plan) if is_rating(command.words))
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
    return [*plan[:at], *yours, *plan[at:]]


def is_rating(words: Sequence[str]) -> bool:
    """Whether this is the command by which the simulated raters judge."""
    return tuple(words[:2]) == ("rate", "simulate")


def worth_of_you(out: Path, taste: str) -> Worth:
    """What your judgements were worth."""
    from tutelage.data.taste import named_taste
    from tutelage.labelers._worth import worth
    from tutelage.store.store import Store

    with Store(out / "ratings.db", create=False) as store:
        return worth(store, PROJECT, YOU, named_taste(taste))


def tell(found: Worth, ui: UI) -> None:
    """Say it."""
    for line in found.lines():
        ui.say(line)
