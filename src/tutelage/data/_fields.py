"""One row, column by column: takes values out, checks them, and says where a wrong one stands."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from tutelage.data.jsonl import Row
from tutelage.errors import DataError
from tutelage.types import Message, Text

ROLES = ("system", "user", "assistant", "tool")
SHAREGPT_ROLES = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bard": "assistant",
    "bing": "assistant",
    "model": "assistant",
    "assistant": "assistant",
    "function_call": "assistant",
    "system": "system",
    "tool": "tool",
    "observation": "tool",
}


@dataclass
class Cells:
    """The columns of one row under the names that the formats use, and which of the file's columns they came from."""

    row: Row
    values: dict[str, Any]
    origin: dict[str, str]
    """our name → the file's name, where they differ"""
    used: set[str] = field(default_factory=set[str])
    """the file's columns that were read"""

    def __contains__(self, name: str) -> bool:
        return self.values.get(name) is not None

    def place(self, name: str, *path: str | int) -> str:
        """`file:line:column` of a column, or of something in it."""
        return self.row.place(self.origin.get(name, name), *path)

    def fail(self, name: str, what: str, fix: str, *path: str | int) -> NoReturn:
        """
        Raises:
            DataError: always.
        """
        raise DataError(what, where=self.place(name, *path), fix=fix)

    def take(self, name: str) -> Any:
        """A column's value, which must not be null; marks it as read.

        Raises:
            DataError: the column is missing or null.
        """
        shown = self.origin.get(name, name)
        self.used.add(shown)
        if name not in self.values:
            found = ", ".join(sorted(self.row.data)) or "none"
            raise DataError(f"the column '{shown}' is missing; found: {found}", where=self.row.place(), fix="add it")
        if self.values[name] is None:
            self.fail(name, f"'{shown}' is null", "fill it in or remove the row")
        return self.values[name]

    def string(self, name: str) -> str:
        """A text that is not empty."""
        value = self.take(name)
        if not isinstance(value, str):
            self.fail(name, f"'{name}' is {kind_of(value)}, not a string", "write it as a string")
        if not value.strip():
            self.fail(name, f"'{name}' is empty", "fill it in or remove the row")
        return value

    def content(self, name: str, *path: str | int) -> Text:
        """A text or a list of messages, not empty; `path` leads on into the column."""
        value = self.take(name)
        for step in path:
            value = value[step]
        shown = name + "".join(f"[{step}]" for step in path)
        if isinstance(value, Mapping):
            value = [value]
        if isinstance(value, list):
            return self.messages(name, value, *path)
        if not isinstance(value, str):
            self.fail(name, f"'{shown}' is {kind_of(value)}, not a string or messages", "write it as text", *path)
        if not value.strip():
            self.fail(name, f"'{shown}' is empty", "fill it in or remove the row", *path)
        return value

    def messages(self, name: str, value: Sequence[Any], *path: str | int) -> tuple[Message, ...]:
        """Messages, each with a known role and some text."""
        if not value:
            self.fail(name, f"'{name}' is an empty list", "fill it in or remove the row", *path)
        made = tuple(self._message(name, item, *path, index) for index, item in enumerate(value))
        for index, message in enumerate(made[1:], start=1):
            if message.role == "system":
                self.fail(name, "a system message stands inside the conversation", "put it first", *path, index)
        return made

    def _message(self, name: str, item: Any, *path: str | int) -> Message:
        if not isinstance(item, Mapping):
            self.fail(name, f"a message is {kind_of(item)}", 'write {"role": "user", "content": "…"}', *path)
        if "from" in item and "value" in item:
            role, role_key, text_key = SHAREGPT_ROLES.get(item["from"], item["from"]), "from", "value"
        elif "role" in item and "content" in item:
            role, role_key, text_key = item["role"], "role", "content"
        else:
            keys = ", ".join(map(str, item)) or "none"
            fix = 'write {"role": "user", "content": "…"}'
            self.fail(name, f"a message has the keys {keys}, not role and content", fix, *path)
        if role not in ROLES:
            self.fail(name, f"the role {role!r} is none of {', '.join(ROLES)}", "rename it", *path, role_key)
        text = item[text_key]
        if isinstance(text, list):
            text = self._parts(name, text, *path, text_key)
        if not isinstance(text, str):
            what = f"a {role} message holds {kind_of(text)}, not text"
            self.fail(name, what, "write it as a string", *path, text_key)
        if not text.strip():
            self.fail(name, f"a {role} message is empty", "fill it in or remove the row", *path, text_key)
        return Message(role, text)

    def _parts(self, name: str, parts: Sequence[Any], *path: str | int) -> str:
        for index, part in enumerate(parts):
            if not (isinstance(part, Mapping) and part.get("type") == "text" and isinstance(part.get("text"), str)):
                self.fail(name, "a part of a message is not text", "remove images and other parts", *path, index)
        return "".join(part["text"] for part in parts)

    def number(self, name: str, default: float) -> float:
        """A finite number of 0 or more; `default` where the column is missing or null."""
        if name not in self:
            self.used.add(self.origin.get(name, name))
            return default
        value = self.take(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
            shown = value if isinstance(value, int | float) else kind_of(value)
            self.fail(name, f"'{name}' is {shown}, not a number of 0 or more", "write one or remove the column")
        return float(value)

    def items(self, name: str, least: int) -> list[Any]:
        """A list of at least `least` items."""
        value = self.take(name)
        if not isinstance(value, list) or len(value) < least:
            got = f"a list of {len(value)}" if isinstance(value, list) else kind_of(value)
            self.fail(name, f"'{name}' is {got}, not a list of at least {least}", "complete it or remove the row")
        return value

    def meta_columns(self) -> list[str]:
        """The file's columns that nobody read; an object named `meta` is where such things belong, and is not one."""
        return [
            key
            for key, value in self.row.data.items()
            if key not in self.used and not (key == "meta" and isinstance(value, Mapping))
        ]

    def meta(self) -> dict[str, Any]:
        """The file's columns that nobody read; what lies in a column `meta` stands beside them."""
        rest = {key: value for key, value in self.row.data.items() if key not in self.used}
        inner = rest.get("meta")
        if isinstance(inner, Mapping):
            rest = {key: value for key, value in rest.items() if key != "meta"} | dict(inner)
        return rest


def kind_of(value: Any) -> str:
    """What a JSON value is, for messages."""
    if value is None:
        return "null"
    names = {bool: "true/false", str: "a string", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return names.get(type(value), type(value).__name__)


def same_text(left: Text, right: Text) -> bool:
    """Whether two answers are the same but for white space around them."""
    return _stripped(left) == _stripped(right)


def _stripped(content: Text) -> str:
    if isinstance(content, str):
        return content.strip()
    return json.dumps([[message.role, message.content.strip()] for message in content])
