"""The help page of a verb: purpose, most used flags first, then the verb's own, the shared and the common ones."""

from __future__ import annotations

import re
import shutil
import textwrap
import types
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from tutelage.cli._verb import Common, Verb
from tutelage.config import ALIASES, Field, describe

_FIRST = (
    "model",
    "data",
    "out",
    "reward",
    "seed",
    "steps",
    "epochs",
    "batch_size",
    "learning_rate",
    "max_length",
    "lora",
)
"""Shown first where a verb has many flags."""
_MANY = 16
_COLUMN = 26
_WORDS = {int: "INT", float: "NUMBER", Path: "PATH", str: "TEXT", bool: ""}


@dataclass(frozen=True)
class Outline:
    """A help page before its lines are broken: nothing but words, so that it can be kept in a file."""

    usage: str
    summary: str
    positional: tuple[str, str]
    """name, text"""
    groups: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    """(title, (flag, text) …) …"""
    aliases: str = ""


def page(verb: Verb, width: int = 0) -> str:
    """What `tutelage <verb> --help` prints, `width` columns wide (0 = the terminal's)."""
    return rendered(outline(verb), width)


def outline(verb: Verb) -> Outline:
    """What a verb's settings say of themselves."""
    fields = describe(verb.config)
    word, text = positional(verb, fields)
    groups = [(title, tuple(_flag(field) for field in group)) for title, group in _groups(verb, fields)]
    groups.append(("Common options", tuple(_flag(field, plain=True) for field in describe(Common))))
    listed = ", ".join(f"--{theirs} = --{ours.replace('_', '-')}" for theirs, ours in aliases(fields).items())
    usage = f"Usage: tutelage {verb.name} [{word}] [OPTIONS]"
    return Outline(usage, verb.summary, (word, text), tuple(groups), f"Also understood: {listed}." if listed else "")


def rendered(found: Outline, width: int = 0) -> str:
    """The page, `width` columns wide (0 = the terminal's)."""
    width = width or min(max(shutil.get_terminal_size((100, 24)).columns, 60), 120)
    blocks = [found.usage, textwrap.fill(found.summary, width), _entry(*found.positional, width)]
    for title, group in found.groups:
        blocks.append("\n".join([f"{title}:", *(_entry(left, text, width) for left, text in group)]))
    if found.aliases:
        blocks.append(textwrap.fill(found.aliases, width, subsequent_indent="  ", break_on_hyphens=False))
    return "\n\n".join(blocks)


def positional(verb: Verb, fields: Sequence[Field]) -> tuple[str, str]:
    """Name and help text of the positional argument."""
    if verb.positional is None:
        return "CONFIG.yaml", "YAML file with any of the options below; flags win over it"
    field = next(field for field in fields if field.name == verb.positional)
    name = field.name.upper().replace("_", "-")
    return (f"{name} ..." if is_list(field.kind) else name), field.help


def aliases(fields: Iterable[Field]) -> dict[str, str]:
    """TRL's name → ours, as far as they apply to these settings."""
    own = {field.name for field in fields}
    return {theirs: ours for theirs, ours in ALIASES.items() if ours in own and theirs not in own}


def is_list(kind: Any) -> bool:
    """Whether a flag of this type takes several values."""
    return (get_origin(bare(kind)) or bare(kind)) in (list, tuple, Sequence)


def bare(kind: Any) -> Any:
    """`X` of `X | None`; text for any other union."""
    if get_origin(kind) in (Union, types.UnionType):
        rest = [item for item in get_args(kind) if item is not type(None)]
        return rest[0] if len(rest) == 1 else str
    return kind


def _groups(verb: Verb, fields: Sequence[Field]) -> list[tuple[str, list[Field]]]:
    if len(fields) <= _MANY:
        return [("Options", list(fields))] if fields else []
    order = [base for base in verb.config.__mro__ if base is not object]
    order += [field.owner for field in fields if field.owner not in order]
    titles = {owner: f"Options of {verb.name}" if owner is verb.config else _title(owner) for owner in order}
    found = [("Most used", [field for field in fields if field.name in _FIRST])]
    for owner in dict.fromkeys(order):
        found.append((titles[owner], [field for field in fields if field.owner is owner and field.name not in _FIRST]))
    return [(title, group) for title, group in found if group]


def _title(owner: type) -> str:
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", owner.__name__.strip("_").removesuffix("Config"))
    return {"Train": "Training options", "": "More options"}.get(words, f"{words} options")


def _flag(field: Field, plain: bool = False) -> tuple[str, str]:
    kind = bare(field.kind)
    left = f"{field.flag} {_word(kind)}"
    if kind is bool:
        left = field.flag if plain else f"--[no-]{field.flag[2:]}"
    return left, " ".join([field.help, *_asides(field, kind)]).strip()


def _word(kind: Any) -> str:
    if is_list(kind):
        inner = get_args(kind)
        return f"{_word(inner[0]) if inner else 'TEXT'},…"
    if get_origin(kind) is Literal:
        return "WORD"
    if (get_origin(kind) or kind) in (dict, types.MappingProxyType):
        return "{KEY: VALUE}"
    return _WORDS.get(kind, "TEXT")


def _asides(field: Field, kind: Any) -> list[str]:
    found: list[str] = []
    if get_origin(kind) is Literal:
        found.append(f"[{' | '.join(str(choice) for choice in get_args(kind))}]")
    if field.required:
        found.append("[required]")
    elif (value := field.default) is not False and value not in ("", None, (), [], {}):
        text = ",".join(str(item) for item in value) if isinstance(value, (tuple, list)) else str(value)
        found.append(f"[default: {'on' if value is True else text}]")
    return found


def _entry(left: str, text: str, width: int) -> str:
    indent = " " * (_COLUMN + 4)
    head = f"  {left:<{_COLUMN}}  "
    if len(left) > _COLUMN or not text:
        return "\n".join([f"  {left}", *textwrap.wrap(text, width, initial_indent=indent, subsequent_indent=indent)])
    return textwrap.fill(text, width, initial_indent=head, subsequent_indent=indent, break_on_hyphens=False)
