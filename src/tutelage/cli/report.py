"""Write what runs and evaluations show as one self-contained HTML page: curves, answers, tables, alarms, sources."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from tutelage.cli._ui import UI
from tutelage.config import Resolved
from tutelage.errors import CannotCreateError, UsageError


@dataclass(frozen=True, kw_only=True)
class Config:
    run: tuple[Path, ...] = ()
    """folders of runs, evaluations or a whole demo, also several; what lies below them is found, and runs that moved a
    policy are drawn side by side: score against KL"""
    out: Path | None = None
    """the page; by default report.html in the first folder"""
    title: str = ""
    """its title; by default the folders' names"""
    positional: ClassVar[str] = "run"


def run(resolved: Resolved[Config], ui: UI) -> int:
    """Read, render, write."""
    config = resolved.config
    if not config.run:
        raise UsageError("which run?", fix="tutelage report RUN_FOLDER, or --run RUN_FOLDER")
    out = config.out or config.run[0] / "report.html"
    size = write(config.run, out, title=config.title)
    ui.say(f"{out} ({size / 1024:.0f} KiB)")
    ui.result({"out": str(out), "bytes": size})
    return 0


def write(folders: tuple[Path, ...], out: Path, *, title: str = "") -> int:
    """Write the page of `folders` to `out`; its size in bytes."""
    from tutelage.eval.report import render
    from tutelage.train.durable import write_text

    page = render(folders, title=title)
    if out.is_dir():
        raise CannotCreateError("this is a folder", where=str(out), fix=f"--out {out}/report.html")
    if not out.parent.is_dir():
        raise CannotCreateError(
            "its folder is not there", where=str(out.parent), fix="make it, or choose another --out"
        )
    write_text(out, page)
    return len(page.encode())
