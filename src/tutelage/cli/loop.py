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
    from tutelage.data.taste import named_taste

    config: LoopConfig = resolved.config
    _warn_of_leaks(config, ui)
    named_taste(config.taste)  # a wrong name is met here, not after the first round's answers
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


def _warn_of_leaks(config: LoopConfig, ui: UI) -> None:
    """The score that ends the loop and picks the best round is only worth something on prompts that nothing saw."""
    from tutelage.data import formats
    from tutelage.data.check import leaked

    paths = dict.fromkeys([config.prompts, config.improve_prompts or config.prompts])
    learned = [row for path in paths for row in formats.load(path, "prompt", on_bad="skip")]
    tests = formats.load(config.test_prompts, "prompt", on_bad="skip")
    if seen := leaked(learned, tests):
        ui.warn(f"{len(seen)} of {len(tests)} test prompts are learned on too: the loop's scores will flatter")
