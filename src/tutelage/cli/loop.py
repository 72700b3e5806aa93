"""Go round: sample, rate, fit the reward, improve, measure, until the target, the budget or an alarm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tutelage.cli._ui import UI
from tutelage.config import Resolved
from tutelage.flow import LoopConfig, Stopped, loop

Config = LoopConfig


def run(resolved: Resolved[Any], ui: UI) -> int:
    """Run the rounds that are not done yet."""
    from tutelage.cli.main import main

    config: LoopConfig = resolved.config
    extra = [flag for flag, on in {"--quiet": ui.quiet, "--debug": ui.debug}.items() if on]
    try:
        result = loop(config, lambda words: main([*words, *extra]), ui.say)
    except Stopped as stopped:
        ui.warn(f"{stopped}; the same command goes on from there")
        return stopped.code
    ui.table(
        [
            {name: one[name] for name in ("round", "score", "win_rate", "kl", "steps", "model")}
            for one in result["rounds"]
        ],
        title="rounds",
    )
    ui.say(f"ended: {result['reason']}; best model: {result['best']}; details: {Path(config.out) / 'loop.json'}")
    ui.result(result)
    return 0
