"""The command `tutelage`: finds the verb, reads its flags, runs it, turns every ending into an exit code (no torch).

Protocol of a verb. `cli/<verb>.py` is the command `tutelage <verb>`; the first line of its docstring is its help line.
It imports only light things at the top (never torch: import inside `run`) and offers either

    @dataclass(frozen=True, kw_only=True)
    class Config:                              # each field is a flag, the string literal under it its help text
        model: str = ""
        \"\"\"Folder or hub id.\"\"\"
        positional: ClassVar[str] = "model"    # optional: `tutelage chat MODEL`; without it the positional argument
                                               # is CONFIG.yaml. A `tuple[str, ...]` or `tuple[Path, ...]` field
                                               # takes any number
        handles_dry_run: ClassVar[bool] = True # optional: `run` looks at `ui.dry_run` itself; without it `--dry-run`
                                               # ends after the configuration was checked

    def run(resolved: Resolved[Config], ui: UI) -> int:    # resolved.config, resolved.origins; returns the exit code

or, for sub-verbs (`tutelage data check`), `VERBS: dict[str, tuple[type, Callable]]` = sub-verb → (Config, run);
the first line of its docstring is the help line. A field without a default must be given. Field types:
str int float bool Path Literal `X | None` tuple[X, ...] list dict and nested dataclasses (`--optim.lr`).
Mistakes of the user are raised as leaves of `errors.py`; `main` prints them and returns their exit code.
Every verb also gets: CONFIG.yaml or --config, --set, --print-config, --dry-run, --quiet, --json, --debug, --help.
Training verbs are the files in `algorithms/`; see `cli/_train.py`.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence

from tutelage.cli._endings import guarded
from tutelage.ops.allocator import collect_seldom, prepare_for_torch


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit code and never raises."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a captured stream is something else
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    words = list(sys.argv[1:] if argv is None else argv)
    if "--debug" not in words:
        _calm_libraries()
    prepare_for_torch()
    collect_seldom()
    return guarded(lambda: _run(words), debug="--debug" in words, json_lines="--json" in words)


def _calm_libraries() -> None:
    """Before they are imported: no advice and no progress bars of their own among ours, and nothing sent anywhere."""
    calm = {"TRANSFORMERS_VERBOSITY": "error", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    for name, value in {**calm, "TOKENIZERS_PARALLELISM": "false"}.items():
        os.environ.setdefault(name, value)


def _run(words: Sequence[str]) -> int:
    from tutelage.cli import _verbs

    if not words or words[0] in ("--help", "-h", "help"):
        print(_verbs.overview())
        return 0
    if words[0] == "--version":
        from tutelage import __version__

        print(f"tutelage {__version__}")
        return 0
    return _verbs.start(words)


if __name__ == "__main__":
    sys.exit(main())
