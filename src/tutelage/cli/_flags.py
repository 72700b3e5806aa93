"""Turns a Config dataclass into flags, all of them optional, so that what was given is known (built on cyclopts)."""

from __future__ import annotations

import dataclasses
import inspect
import re
import types
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, Union, get_args, get_origin

from cyclopts import App, CycloptsError, Group, Parameter

from tutelage.cli._verb import Verb
from tutelage.config import ALIASES, Field, describe
from tutelage.errors import UsageError

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
"""Shown first in the help of a verb that has many flags."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Common:
    """The flags that every command has."""

    config: str = ""
    """YAML file with any of the options (also as the positional CONFIG.yaml)."""
    set: tuple[str, ...] = ()
    """KEY=VALUE, dotted; may be repeated."""
    print_config: bool = False
    """Print the resolved configuration with the origin of each value, and stop."""
    dry_run: bool = False
    """Check everything and stop before the first step."""
    quiet: bool = False
    """No progress and no tables; warnings and errors stay."""
    json: bool = False
    """Print results as JSON lines on stdout."""
    debug: bool = False
    """Show tracebacks."""


@dataclasses.dataclass(frozen=True)
class Asked:
    """A command line, read."""

    flags: Mapping[str, object]
    """dotted key → what was typed"""
    common: Common


class _Token(Protocol):
    @property
    def value(self) -> str: ...


def read(verb: Verb, words: Sequence[str]) -> Asked | None:
    """Parse `words`; None when they asked for help, which is then printed.

    Raises:
        UsageError: unknown flag, missing value, stray word; with a suggestion where one is near.
    """
    app = build(verb)
    if any(word in ("--help", "-h") for word in words):
        app.help_print([])
        return None
    try:
        _, bound, _ = app.parse_args(_without_aliases(verb, words), exit_on_error=False, print_error=False)
    except CycloptsError as error:
        fix = f"see tutelage {verb.name} --help"
        raise UsageError(" ".join(str(error).split()).rstrip("."), where=f"tutelage {verb.name}", fix=fix) from error
    return _sort(verb, bound.arguments)


def build(verb: Verb) -> App:
    """The cyclopts command of a verb."""

    def command(**_: object) -> None: ...

    fields = describe(verb.config)
    groups = _groups(verb, fields)
    parameters = [_positional(verb, fields)]
    parameters += [_parameter(f"f_{field.name.replace('.', '__')}", field, groups[field.name]) for field in fields]
    common = Group("Common options", sort_key=1000)
    parameters += [_parameter(f"c_{field.name}", field, common) for field in describe(Common)]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    app = App(
        name=f"tutelage {verb.name}",
        help=verb.summary,
        help_epilogue=_epilogue(fields),
        help_flags=(),
        version_flags=(),
        help_format="plaintext",
        help_formatter="plain",
        result_action="return_value",
    )
    app.default(command)
    return app


def _positional(verb: Verb, fields: Sequence[Field]) -> inspect.Parameter:
    name = verb.positional
    if name is None:
        help_text, label, many = "YAML file with any of the options below.", "CONFIG.yaml", False
    else:
        field = next(field for field in fields if field.name == name)
        help_text, label, many = field.help, name.upper().replace("_", "-"), _is_list(field.kind)
    shown = Parameter(name=label, help=help_text, show_default=False, negative_iterable="", allow_leading_hyphen=False)
    if many:
        return inspect.Parameter("p", inspect.Parameter.VAR_POSITIONAL, annotation=Annotated[str, shown])
    return inspect.Parameter(
        "p", inspect.Parameter.POSITIONAL_ONLY, default=None, annotation=Annotated[str | None, shown]
    )


def _parameter(name: str, field: Field, group: Group) -> inspect.Parameter:
    kind = _shown_kind(field.kind)
    shown = Parameter(
        name=field.flag,
        help=field.help,
        group=group,
        show_default=_default(field),
        negative_iterable="",
        negative_bool=None if _bare(field.kind) is bool and field.owner is not Common else "",
        converter=None if kind in (bool, list[str]) else _as_typed,
    )
    optional = Annotated[kind | None, shown]  # type: ignore[valid-type]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=optional)


def _as_typed(_: object, tokens: Sequence[_Token]) -> str:
    """Leave it as text: config.py reads all values, whatever way they came, by one set of rules."""
    return tokens[0].value


def _default(field: Field) -> Any:
    if field.required:
        return lambda _: "required"
    value = field.default
    if value in ("", None, (), []) or value is False:
        return False
    text = ",".join(str(item) for item in value) if isinstance(value, (tuple, list)) else str(value)
    return lambda _: text


def _bare(kind: Any) -> Any:
    """`X` of `X | None`."""
    if get_origin(kind) in (Union, types.UnionType):
        rest = [item for item in get_args(kind) if item is not type(None)]
        return rest[0] if len(rest) == 1 else str
    return kind


def _is_list(kind: Any) -> bool:
    return (get_origin(_bare(kind)) or _bare(kind)) in (list, tuple, Sequence)


def _shown_kind(kind: Any) -> Any:
    """What cyclopts shows and counts words by; the real reading is config.py's."""
    bare = _bare(kind)
    if _is_list(bare):
        return list[str]
    if bare in (int, float, bool, Path) or get_origin(bare) is Literal:
        return bare
    return str


def _groups(verb: Verb, fields: Sequence[Field]) -> dict[str, Group]:
    """Many flags: the most used first, then by the class that declares them, the verb's own before the shared."""
    if len(fields) <= 16:
        own = Group("Options", sort_key=1)
        return {field.name: own for field in fields}
    first = Group("Most used", sort_key=0)
    order = [base for base in verb.config.__mro__ if base is not object]
    by_owner: dict[type, Group] = {}
    found: dict[str, Group] = {}
    for field in fields:
        if field.name in _FIRST:
            found[field.name] = first
            continue
        rank = order.index(field.owner) if field.owner in order else len(order)
        title = verb.name if field.owner is verb.config else _title(field.owner)
        found[field.name] = by_owner.setdefault(field.owner, Group(f"{title} options", sort_key=10 + rank))
    return found


def _title(owner: type) -> str:
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", owner.__name__.removesuffix("Config").strip("_"))
    return words or "More"


def _epilogue(fields: Iterable[Field]) -> str:
    own = {field.name: field.flag for field in fields}
    pairs = [f"--{alias} = {own[name]}" for alias, name in ALIASES.items() if name in own and alias not in own]
    return f"Also understood: {', '.join(pairs)}." if pairs else ""


def _without_aliases(verb: Verb, words: Sequence[str]) -> list[str]:
    """TRL's flag names replaced by ours."""
    own = {field.name for field in describe(verb.config)}
    found: list[str] = []
    for word in words:
        flag, equals, value = word.partition("=")
        key = flag.removeprefix("--").replace("-", "_")
        if flag.startswith("--") and key not in own and ALIASES.get(key) in own:
            flag = "--" + ALIASES[key].replace("_", "-")
        found.append(flag + equals + value)
    return found


def _sort(verb: Verb, arguments: Mapping[str, Any]) -> Asked:
    flags: dict[str, object] = {}
    common: dict[str, Any] = {}
    for name, value in arguments.items():
        if name.startswith("f_"):
            flags[name.removeprefix("f_").replace("__", ".")] = value
        elif name.startswith("c_"):
            common[name.removeprefix("c_")] = tuple(value) if isinstance(value, list) else value
    words = arguments.get("p")
    if words:
        target, into = verb.positional or "config", flags if verb.positional else common
        if into.get(target):
            raise UsageError(f"'{target}' is given twice: as a word and as --{target}", fix="keep one of them")
        into[target] = list(words) if isinstance(words, tuple) else words
    return Asked(flags, Common(**common))
