"""`tutelage rate batches`: what training runs wait for, and how to wait no longer."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from tutelage.cli._ui import UI
from tutelage.config import Resolved
from tutelage.errors import UsageError

if TYPE_CHECKING:
    from tutelage.store.batches import Batch


@dataclass(frozen=True, kw_only=True)
class BatchesConfig:
    """What training runs wait for in a database, and how to wait no longer."""

    db: str = "ratings.db"
    """database of the ratings"""
    project: str = ""
    """of one project only"""
    all: bool = False
    """also those that are done with, oldest first"""
    cancel: str = ""
    """ID of a batch: its questions are handed out no more, and a run that waits for it ends"""
    end: str = ""
    """ID of a batch: its deadline is now, and --late says what becomes of it"""
    late: Literal["train", "model", "stop", "wait"] = "train"
    """with --end: train on what is there, let the model stand in that the run names, stop the run, or wait on"""
    positional: ClassVar[str | None] = None


def batches(resolved: Resolved[BatchesConfig], ui: UI) -> int:
    """List the batches that training waits for; cancel one, or end its time."""
    from tutelage.store.batches import Batches
    from tutelage.store.store import Store

    config = resolved.config
    if config.cancel and config.end:
        raise UsageError("a batch is cancelled or ended, not both", fix="--cancel ID or --end ID")
    with Store(config.db, create=False) as store:
        known = Batches(store.database)
        if config.cancel:
            found = [known.cancel(config.cancel, actor="cli")]
        elif config.end:
            if config.late == "model" and known.get(config.end).late != "model":
                raise UsageError(
                    f"the run that waits for {config.end} names no model that could stand in",
                    fix="--late train, stop or wait; a run names one by people:DB?late=model&model=REWARD",
                )
            found = [known.end_now(config.end, config.late, actor="cli")]
        else:
            found = known.all(config.project, "" if config.all else "open")
    waited = sorted((batch.step, batch.run) for batch in found if batch.state == "open")
    due = {run: step for step, run in reversed(waited)}
    for batch in found:
        ui.say(_line(batch, due.get(batch.run, batch.step)))
    if not found:
        ui.say("no training run waits for people")
    ui.result({"batches": [asdict(batch) | {"step": batch.step + 1} for batch in found]})
    return 0


def _line(batch: Batch, due: int) -> str:
    """One line; steps are counted from 1, as in the log of the run, which waits for step `due` first."""
    left = f"deadline in {batch.seconds_left:.0f} s" if batch.seconds_left > 0 else "deadline over"
    state = f"open, {left}, then {batch.late}; {batch.held} being judged now" if batch.state == "open" else batch.state
    if batch.state == "open" and batch.step > due:
        state += f"; asked ahead, the run waits for step {due + 1} first"
    things = "pairs" if batch.kind == "pair" else "answers"
    judged = f"{batch.settled} of {batch.items} {things} judged by {batch.wanted}, {batch.missing} judgements missing"
    wrote = f"  weights {batch.checkpoint[:12]}" if batch.checkpoint else ""
    return f"{batch.id}  project {batch.project}  step {batch.step + 1}{wrote}  {judged}; {state}"
