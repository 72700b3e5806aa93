"""Finds verbs: the files in `cli/` without an underscore and those in `algorithms/`; imports only the one wanted."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tutelage import registry
from tutelage.cli._endings import EXIT_CODES
from tutelage.cli._ui import UI
from tutelage.cli._verb import Run, Verb
from tutelage.config import resolve, suggest
from tutelage.errors import UsageError


def names() -> list[str]:
    """All verbs, sorted; sub-verbs are not opened up."""
    return sorted(set(_files()) | set(registry.names("algorithms")))


def summary(name: str) -> str:
    """The help line of a verb: the first line of its file's docstring."""
    return registry.summary("cli" if name in _files() else "algorithms", name)


def start(words: Sequence[str]) -> int:
    """Run the command line `words` (without the program's name)."""
    name, rest = words[0], list(words[1:])
    table = subverbs(name)
    if table is None:
        return execute(load(name), rest) if not _asks_for_help(rest) else _show(name)
    if not rest or rest[0] in ("--help", "-h"):
        print(_listing(f"Usage: tutelage {name} VERB [OPTIONS]\n\n{summary(name)}", table))
        return 0
    if rest[0] not in table:
        hint = suggest(rest[0], list(table)) or f"choices: {', '.join(table)}"
        raise UsageError(f"'{rest[0]}' is not one of the verbs of `tutelage {name}`", fix=hint)
    return execute(load(name, rest[0]), rest[1:])


def subverbs(name: str) -> dict[str, str] | None:
    """Sub-verb → help line, or None when the verb has none.

    Raises:
        UsageError: no such verb.
    """
    if name not in names():
        hint = suggest(name, names())
        raise UsageError(f"there is no command '{name}'", fix=f"{hint + ' ' if hint else ''}see tutelage --help")
    if name not in _files():
        return None
    table: Mapping[str, tuple[type, Run]] | None = vars(_module(name)).get("VERBS")
    return {sub: _first_line(run) for sub, (_, run) in table.items()} if table else None


def load(name: str, sub: str | None = None) -> Verb:
    """Import a verb, and only it."""
    if name not in _files():
        from tutelage.cli import _train

        return Verb(name, _train.config_of(name), _train.runner(name), summary(name), handles_dry_run=True)
    module = _module(name)
    if sub is None:
        return _verb(name, module.Config, module.run, summary(name))
    config, run = module.VERBS[sub]
    return _verb(f"{name} {sub}", config, run, _first_line(run))


def execute(verb: Verb, words: Sequence[str]) -> int:
    """Read the flags, resolve the configuration, run."""
    from tutelage.cli import _flags, _help

    if _asks_for_help(words):
        print(_help.page(verb))
        return 0
    asked = _flags.read(verb, words)
    common = asked.common
    resolved = resolve(
        verb.config,
        yaml_file=Path(common.config) if common.config else None,
        sets=common.set,
        flags=asked.flags,
    )
    ui = UI(quiet=common.quiet, json_lines=common.json, dry_run=common.dry_run, debug=common.debug)
    if common.print_config:
        print(resolved.to_yaml(), end="")
        return 0
    if common.dry_run and not verb.handles_dry_run:
        ui.say(f"the configuration of `tutelage {verb.name}` is fine; nothing was run")
        return 0
    return verb.run(resolved, ui)


def _asks_for_help(words: Sequence[str]) -> bool:
    return any(word in ("--help", "-h") for word in words)


def _show(name: str) -> int:
    """The help page; of a training verb the one that is kept, for its settings stand among torch's users."""
    from tutelage.cli import _help, _train_help

    found = None if name in _files() else _train_help.kept(name)
    print(_help.page(load(name)) if found is None else _help.rendered(found))
    return 0


def overview() -> str:
    """What `tutelage --help` prints."""
    training = {name: summary(name) for name in registry.names("algorithms")}
    others = {name: summary(name) for name in _files()}
    codes = " · ".join(f"{code} {meaning}" for code, meaning in EXIT_CODES.items())
    parts = [
        "Usage: tutelage COMMAND [CONFIG.yaml] [OPTIONS]\n\n"
        "Teach a language model from people's feedback. `tutelage COMMAND --help` lists a command's options.",
        _listing("Train a model:", training),
        _listing("Everything else:", others),
        f"Exit codes: {codes}",
    ]
    return "\n\n".join(parts)


def _verb(name: str, config: type, run: Run, summary: str) -> Verb:
    return Verb(name, config, run, summary, handles_dry_run=vars(config).get("handles_dry_run", False))


def _listing(head: str, entries: Mapping[str, str]) -> str:
    width = max((len(name) for name in entries), default=0)
    room = shutil.get_terminal_size((120, 24)).columns - width - 4
    lines = [f"  {name:<{width}}  {_short(text, room)}".rstrip() for name, text in entries.items()]
    return "\n".join([head, *lines])


def _short(text: str, room: int) -> str:
    return text if len(text) <= max(room, 40) else text[: max(room, 40) - 1].rstrip() + "…"


def _files() -> list[str]:
    return [name for name in registry.names("cli") if name != "main"]


def _module(name: str) -> Any:
    return importlib.import_module(f"tutelage.cli.{name.replace('-', '_')}")


def _first_line(run: Run) -> str:
    return (run.__doc__ or "").strip().partition("\n")[0]
