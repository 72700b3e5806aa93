"""From text, YAML nodes and Python values to what a field's annotation asks for; never by guessing (no torch)."""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml

from tutelage.errors import UsageError


@dataclasses.dataclass(frozen=True)
class Given:
    """One value as someone wrote it."""

    value: Any
    """str (text, not yet read) · None · list[Given] · dict[str, Given] · any other Python value, taken as it is"""
    where: str
    """place of the value, for messages: `file:line:column` or the flag"""
    origin: str
    """place, for `--print-config`: `file:line`, `flag --x`, `--set`, `default`"""
    key: str = ""
    """place of the key"""
    quoted: bool = False
    """written in quotes, and therefore text"""


class UnfitError(ValueError):
    """A value that its field cannot take."""

    def __init__(self, what: str, given: Given, fix: str | None = None) -> None:
        super().__init__(what)
        self.what, self.where, self.fix = what, given.where, fix


def convert(kind: Any, given: Given) -> Any:
    """`given` as `kind`: str int float bool Path Literal `X | None` list tuple dict, dataclasses, and nests of these.

    Raises:
        UnfitError: it is something else.
    """
    origin = get_origin(kind)
    if kind is Any or kind is object:
        return _untyped(given)
    if origin in (Union, types.UnionType):
        return _union(get_args(kind), given)
    if origin is Literal:
        return _literal(get_args(kind), given)
    if (origin or kind) in (list, tuple, Sequence):
        return _sequence(kind, given)
    if (origin or kind) in (dict, Mapping):
        return _mapping(get_args(kind) or (str, Any), given)
    if dataclasses.is_dataclass(kind):
        return _dataclass(kind, given)
    if kind in _SCALARS:
        return _SCALARS[kind](given)
    raise TypeError(f"settings cannot have the type {kind!r}")


def from_python(value: Any, origin: str, where: str) -> Given:
    """Wrap what a flag or a caller gave; strings stay text to be read later."""
    if isinstance(value, dict):
        value = {str(key): from_python(item, origin, where) for key, item in value.items()}
    elif isinstance(value, (list, tuple)):
        value = [from_python(item, origin, where) for item in value]
    return Given(value, where, origin, key=where)


def from_yaml(text: str, path: str) -> Given:
    """Read YAML into `Given`s that know their line; no tags, no anchors, no key twice.

    Raises:
        UsageError: it is not such YAML; with `path:line:column`.
    """
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.events.AliasEvent):
                raise UsageError("YAML aliases (*name) are not read here", where=_place(path, event.start_mark))
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        where = _place(path, error.problem_mark) if error.problem_mark else path
        raise UsageError(f"not valid YAML: {error.problem or error.context}", where=where) from error
    except yaml.YAMLError as error:
        raise UsageError(f"not valid YAML: {error}", where=path) from error
    return _from_node(node, path) if node is not None else Given(None, path, path)


def plain(value: Any) -> Any:
    """A configuration value as dicts, lists, strings, numbers and None."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value) if field.init}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _place(path: str, mark: yaml.Mark) -> str:
    return f"{path}:{mark.line + 1}:{mark.column + 1}"


def _from_node(node: yaml.Node, path: str) -> Given:
    where, origin = _place(path, node.start_mark), f"{path}:{node.start_mark.line + 1}"
    if node.tag.startswith("!") or node.tag.startswith("tag:yaml.org,2002:python"):
        raise UsageError(f"YAML tags ({node.tag}) are not read here", where=where)
    if isinstance(node, yaml.ScalarNode):
        quoted = node.style is not None
        return Given(None if node.tag.endswith(":null") and not quoted else node.value, where, origin, where, quoted)
    if isinstance(node, yaml.SequenceNode):
        return Given([_from_node(item, path) for item in node.value], where, origin, where)
    found: dict[str, Given] = {}
    for key_node, value_node in node.value:
        key_place = _place(path, key_node.start_mark)
        if not isinstance(key_node, yaml.ScalarNode):
            raise UsageError("a key must be a word", where=key_place)
        name = str(key_node.value)
        if name in found:
            raise UsageError(f"the key '{name}' is given twice", where=f"{found[name].key} and {key_place}")
        found[name] = dataclasses.replace(_from_node(value_node, path), key=key_place)
    return Given(found, where, origin, where)


def _union(kinds: tuple[Any, ...], given: Given) -> Any:
    rest = [kind for kind in kinds if kind is not type(None)]
    if len(rest) < len(kinds) and (given.value is None or (given.value in ("null", "none") and not given.quoted)):
        return None
    refusals: list[UnfitError] = []
    for kind in sorted(rest, key=lambda kind: kind is str):  # text fits anything, so it is asked last
        try:
            return convert(kind, given)
        except UnfitError as refusal:
            refusals.append(refusal)
    raise refusals[0]


def _literal(choices: tuple[Any, ...], given: Given) -> Any:
    for choice in choices:
        if given.value == choice and type(given.value) is type(choice):
            return choice
        if isinstance(given.value, str) and given.value == str(choice):
            return choice
    names = [str(choice) for choice in choices]
    near = difflib.get_close_matches(str(_shown(given)), names, n=1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    raise UnfitError(f"{_shown(given)!r} is not one of its choices", given, f"{hint}choices: {', '.join(names)}")


def _sequence(kind: Any, given: Given) -> Any:
    arguments = get_args(kind)
    items = _items(given, of_paths=bool(arguments) and arguments[0] is Path)
    if get_origin(kind) is tuple and arguments and arguments[-1] is not Ellipsis:
        if len(items) != len(arguments):
            raise UnfitError(f"expected {len(arguments)} values, found {len(items)}", given)
        return tuple(convert(inner, item) for inner, item in zip(arguments, items, strict=True))
    inner = arguments[0] if arguments else str
    converted = [convert(inner, item) for item in items]
    return converted if (get_origin(kind) or kind) is list else tuple(converted)


def _items(given: Given, of_paths: bool) -> list[Given]:
    value = given.value
    if isinstance(value, list):
        if len(value) == 1 and given.origin.startswith("flag ") and isinstance(value[0].value, str):
            return _items(value[0], of_paths)  # `--targets a,b`, where the command line makes a list of one
        return value
    if isinstance(value, str) and value.startswith("["):
        return _inline(given).value
    if isinstance(value, str) and not given.quoted:
        parts = [value] if of_paths else [part.strip() for part in value.split(",")]
        return [dataclasses.replace(given, value=part) for part in parts if part]
    raise UnfitError(f"{_shown(given)!r} is not a list", given, "write [a, b], or a,b on the command line")


def _inline(given: Given) -> Given:
    try:
        inner = from_yaml(given.value, given.where)
    except UsageError as error:
        raise UnfitError(f"{given.value!r}: {error.what}", given) from error
    return _relabel(inner, given)


def _relabel(inner: Given, outer: Given) -> Given:
    value = inner.value
    if isinstance(value, list):
        value = [_relabel(item, outer) for item in value]
    elif isinstance(value, dict):
        value = {key: _relabel(item, outer) for key, item in value.items()}
    return dataclasses.replace(outer, value=value, quoted=inner.quoted)


def _mapping(arguments: tuple[Any, ...], given: Given) -> dict[str, Any]:
    if isinstance(given.value, str) and not given.quoted and given.value.startswith("{"):
        given = _inline(given)
    if not isinstance(given.value, dict):
        raise UnfitError(f"{_shown(given)!r} is not a mapping", given, "write {name: value, …}")
    return {key: convert(arguments[1], item) for key, item in given.value.items()}


def _dataclass(kind: Any, given: Given) -> Any:
    if isinstance(given.value, kind):
        return given.value
    if not isinstance(given.value, dict):
        raise UnfitError(f"{_shown(given)!r} is not a mapping", given, "write one `key: value` per line")
    values = {key.replace("-", "_"): item for key, item in given.value.items()}
    kinds = get_type_hints(kind)
    names = [field.name for field in dataclasses.fields(kind) if field.init]
    for key, item in values.items():
        if key not in names:
            near = difflib.get_close_matches(key, names, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"choices: {', '.join(names)}"
            raise UnfitError(f"unknown key '{key}'", dataclasses.replace(item, where=item.key), hint)
    try:
        return kind(**{key: convert(kinds[key], item) for key, item in values.items()})
    except TypeError as error:
        raise UnfitError(str(error), given) from error


def _untyped(given: Given) -> Any:
    value = given.value
    if isinstance(value, list):
        return [_untyped(item) for item in value]
    if isinstance(value, dict):
        return {key: _untyped(item) for key, item in value.items()}
    if not isinstance(value, str) or given.quoted:
        return value
    for reader in (_integer, _number, _truth):
        try:
            return reader(given)
        except UnfitError:
            continue
    return value


def _shown(given: Given) -> Any:
    if isinstance(given.value, list):
        return [_shown(item) for item in given.value]
    if isinstance(given.value, dict):
        return {key: _shown(item) for key, item in given.value.items()}
    return given.value


def _text(given: Given) -> str:
    if isinstance(given.value, str):
        return given.value
    raise UnfitError(f"{_shown(given)!r} is not text", given)


def _path(given: Given) -> Path:
    if isinstance(given.value, (str, Path)) and str(given.value):
        return Path(given.value)
    raise UnfitError(f"{_shown(given)!r} is not a path", given)


def _integer(given: Given) -> int:
    value = given.value
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and not given.quoted:
        try:
            return int(value)
        except ValueError:
            pass
        if "e" in value.lower() and _is_number(value) and float(value).is_integer():
            return int(float(value))
    raise UnfitError(f"{_shown(given)!r} is not a whole number", given)


def _number(given: Given) -> float:
    value = given.value
    if isinstance(value, (int, float)) and not isinstance(value, bool) and not math.isnan(value):
        return float(value)
    if isinstance(value, str) and not given.quoted and _is_number(value):
        return float(value)
    raise UnfitError(f"{_shown(given)!r} is not a number", given)


def _is_number(text: str) -> bool:
    try:
        return not math.isnan(float(text.replace(".inf", "inf")))
    except ValueError:
        return False


def _truth(given: Given) -> bool:
    if isinstance(given.value, bool):
        return given.value
    words = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
    if isinstance(given.value, str) and not given.quoted and given.value.lower() in words:
        return words[given.value.lower()]
    raise UnfitError(f"{_shown(given)!r} is neither true nor false", given, "write true or false")


_SCALARS: dict[Any, Any] = {str: _text, int: _integer, float: _number, bool: _truth, Path: _path}
