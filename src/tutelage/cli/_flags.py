"""Turns a Config dataclass into flags, all of them optional, so that what was given is known (built on cyclopts)."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Protocol

from cyclopts import App, CycloptsError, Parameter

from tutelage.cli._help import aliases, bare, is_list
from tutelage.cli._verb import Common, Verb
from tutelage.config import REFUSED, Field, describe
from tutelage.errors import UsageError


@dataclass(frozen=True)
class Asked:
    """A command line, read."""

    flags: Mapping[str, object]
    """dotted key → what was typed"""
    common: Common


class _Token(Protocol):
    @property
    def value(self) -> str: ...


def read(verb: Verb, words: Sequence[str]) -> Asked:
    """Parse `words`.

    Raises:
        UsageError: unknown flag, missing value, stray word; with a suggestion where one is near.
    """
    try:
        _, bound, _ = _app(verb).parse_args(_translate(verb, words), exit_on_error=False, print_error=False)
    except CycloptsError as error:
        _refuse_known(verb, words)
        what = " ".join(str(error).split()).rstrip(".").replace("Unused Tokens:", "words that mean nothing here:")
        raise UsageError(what, where=f"tutelage {verb.name}", fix=f"see tutelage {verb.name} --help") from error
    return _sort(verb, bound.arguments)


def _refuse_known(verb: Verb, words: Sequence[str]) -> None:
    """Say why there is no such flag, rather than which flag is spelt like it."""
    own = {field.name for field in describe(verb.config)}
    for word in words:
        name = word.partition("=")[0].removeprefix("--").replace("-", "_")
        if word.startswith("--") and name in REFUSED and name not in own:
            raise UsageError(f"there is no {word.partition('=')[0]}", where=f"tutelage {verb.name}", fix=REFUSED[name])


def _app(verb: Verb) -> App:
    """A cyclopts command whose signature is made from the dataclass."""

    def command(**_: object) -> None: ...

    fields = describe(verb.config)
    parameters = [_positional(verb, fields)]
    parameters += [_parameter(f"f_{field.name.replace('.', '__')}", field) for field in fields]
    parameters += [_parameter(f"c_{field.name}", field) for field in describe(Common)]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    app = App(name=f"tutelage {verb.name}", help_flags=(), version_flags=(), result_action="return_value")
    app.default(command)
    return app


def _positional(verb: Verb, fields: Sequence[Field]) -> inspect.Parameter:
    many = any(field.name == verb.positional and is_list(field.kind) for field in fields)
    shown = Parameter(name="WORD", negative_iterable="")
    if many:
        return inspect.Parameter("p", inspect.Parameter.VAR_POSITIONAL, annotation=Annotated[str, shown])
    optional = Annotated[str | None, shown]
    return inspect.Parameter("p", inspect.Parameter.POSITIONAL_ONLY, default=None, annotation=optional)


def _parameter(name: str, field: Field) -> inspect.Parameter:
    """Words are counted by cyclopts and read by config.py: one set of rules, whatever way a value came."""
    kind: Any = bool if bare(field.kind) is bool else list[str] if is_list(field.kind) else str
    shown = Parameter(
        name=field.flag,
        negative_iterable="",
        negative_bool="" if field.owner is Common else None,
        converter=_as_typed if kind is str else None,
    )
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, shown]
    )


def _as_typed(_: object, tokens: Sequence[_Token]) -> str:
    return tokens[0].value


def _translate(verb: Verb, words: Sequence[str]) -> list[str]:
    """TRL's flag names replaced by ours."""
    known = aliases(describe(verb.config))
    found: list[str] = []
    for word in words:
        flag, equals, value = word.partition("=")
        key = flag.removeprefix("--").replace("-", "_")
        if flag.startswith("--") and key in known:
            flag = "--" + known[key].replace("_", "-")
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
