"""JSON from outside: small, flat, of the promised types; everything else is refused with what was wanted."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any, cast

from starlette.requests import Request

from tutelage.errors import DataError

DEPTH = 32
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
_STRING_OR_BRACKET = re.compile(rb'"(?:[^"\\]+|\\.)*"?|[\[\]{}]', re.DOTALL)
Body = Mapping[str, Any]


async def read(request: Request, known: Sequence[str]) -> Body:
    """The object in a request.

    Raises:
        DataError: it is not JSON, not an object, too deep, or has names beside `known`.
    """
    if not request.headers.get("content-type", "").partition(";")[0].strip() == "application/json":
        raise DataError("the content type is not application/json", fix="say content-type: application/json")
    raw = await request.body()
    if deepest(raw) > DEPTH:
        raise DataError(f"the JSON is more than {DEPTH} levels deep")
    try:
        value = json.loads(raw.decode("utf-8"), parse_constant=_no_constant)
    except DataError:
        raise
    except (ValueError, RecursionError) as error:  # broken UTF-8 or JSON, numbers without end
        raise DataError(f"this is not JSON: {error}"[:200]) from error
    if not isinstance(value, dict):
        raise DataError("an object is wanted")
    body = cast(Body, value)
    strange = [name for name in body if name not in known]
    if strange:
        raise DataError(f"unknown names: {', '.join(sorted(strange))[:200]}", fix=f"known: {', '.join(known)}")
    return body


def deepest(raw: bytes) -> int:
    """How deep the brackets outside strings go, without parsing."""
    depth = most = 0
    for found in _STRING_OR_BRACKET.finditer(raw):
        letter = found.group()
        if letter in (b"[", b"{"):
            depth += 1
            most = max(most, depth)
        elif letter in (b"]", b"}"):
            depth -= 1
    return most


def identifier(body: Body, name: str = "id") -> str:
    """A UUID made by the client, in small letters."""
    value = body.get(name)
    if not isinstance(value, str) or not UUID.fullmatch(value):
        raise DataError(f"'{name}' is not a UUID", fix="make one (version 7) before the first send and keep it")
    return value.lower()


def text(body: Body, name: str, most: int, default: str | None = "") -> str:
    """A string of at most `most` letters that every database can keep."""
    value = body.get(name, default)
    if not isinstance(value, str) or len(value) > most:
        raise DataError(f"'{name}' is not a text of at most {most} letters")
    if "\x00" in value or any("\ud800" <= letter <= "\udfff" for letter in value):
        raise DataError(f"'{name}' holds a NUL or half a surrogate pair")
    return value


def number(body: Body, name: str, low: float, high: float, default: float | None = None) -> float:
    """A finite number in a range."""
    value = body.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise DataError(f"'{name}' is not a number from {low:g} to {high:g}")
    return float(value)


def whole(body: Body, name: str, low: int, high: int, default: int | None = None) -> int:
    """A whole number in a range."""
    value = body.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise DataError(f"'{name}' is not a whole number from {low} to {high}")
    return value


def truth(body: Body, name: str, default: bool | None = None) -> bool:
    """True or false."""
    value = body.get(name, default)
    if not isinstance(value, bool):
        raise DataError(f"'{name}' is neither true nor false")
    return value


def wholes(body: Body, name: str, most: int) -> tuple[int, ...]:
    """A list of whole numbers; () where it is not given."""
    value = body.get(name, [])
    if not isinstance(value, list) or len(cast(list[Any], value)) > most:
        raise DataError(f"'{name}' is not a list of at most {most} whole numbers")
    items = cast(list[Any], value)
    if any(isinstance(item, bool) or not isinstance(item, int) or not 0 <= item <= most for item in items):
        raise DataError(f"'{name}' holds something else than whole numbers from 0 to {most}")
    return tuple(items)


def numbers(body: Body, name: str, most: int) -> dict[str, float]:
    """An object of finite numbers; {} where it is not given."""
    value = body.get(name, {})
    if not isinstance(value, dict) or len(cast(Body, value)) > most:
        raise DataError(f"'{name}' is not an object of at most {most} numbers")
    items = cast(Body, value)
    for item in items.values():
        if isinstance(item, bool) or not isinstance(item, int | float) or not abs(item) <= sys.float_info.max:
            raise DataError(f"'{name}' holds something else than numbers")
    return {key: float(item) for key, item in items.items()}


def words(body: Body, name: str, known: Sequence[str]) -> tuple[str, ...]:
    """A list of some of `known`, each once, in their order."""
    value = body.get(name, [])
    items = cast(list[Any], value) if isinstance(value, list) else [None]
    if any(item not in known for item in items):
        raise DataError(f"'{name}' is not a list of: {', '.join(known) or 'nothing'}")
    return tuple(word for word in known if word in items)


def _no_constant(name: str) -> None:
    raise DataError(f"{name} is not a number in JSON")
