"""The file name is the name: finds the one choice that a file in a folder of choices defines."""

from __future__ import annotations

import ast
import difflib
import importlib
import inspect
import pkgutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from tutelage.errors import UsageError

T = TypeVar("T")
_ROOT = Path(__file__).parent


def names(folder: str) -> list[str]:
    """The choices of `folder` (such as "algorithms"), sorted; command names, so `online_dpo.py` is "online-dpo"."""
    found = (module.name for module in pkgutil.iter_modules([str(_ROOT / folder)]))
    return sorted(name.replace("_", "-") for name in found if not name.startswith("_"))


def summary(folder: str, name: str) -> str:
    """The first line of a choice's docstring, read without importing the file (and so without torch)."""
    path = _ROOT / folder / f"{name.replace('-', '_')}.py"
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0]


def find(folder: str, name: str, base: type[T]) -> type[T]:
    """The one concrete subclass of `base` in `tutelage/<folder>/<name>.py`, or in "package.module:Class".

    Raises:
        UsageError: no such file or class; the message lists the choices and the nearest one.
    """
    if ":" in name:
        module, _, attribute = name.partition(":")
        return _outside(module, attribute, base)
    if name not in names(folder):
        near = difflib.get_close_matches(name, names(folder), n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise UsageError(f"'{name}' is not one of {folder}", fix=f"{hint}choices: {', '.join(names(folder))}")
    module_name = f"tutelage.{folder.replace('/', '.')}.{name.replace('-', '_')}"
    module = importlib.import_module(module_name)
    own = [
        member
        for member in vars(module).values()
        if inspect.isclass(member)
        and issubclass(member, base)
        and member.__module__ == module_name
        and not inspect.isabstract(member)
    ]
    if len(own) != 1:
        raise UsageError(f"{module_name} must define exactly one {base.__name__}, it defines {len(own)}")
    return own[0]


def _outside(module: str, attribute: str, base: type[T]) -> type[T]:
    found = _attribute(module, attribute, fix="give it as package.module:Name")
    if not (inspect.isclass(found) and issubclass(found, base)):
        raise UsageError(f"'{module}:{attribute}' is not a subclass of {base.__name__}")
    return found


def function(folder: str, name: str, attribute: str) -> Callable[..., Any]:
    """The function `attribute` of `tutelage/<folder>/<name>.py`, or "package.module:function" from anywhere.

    Raises:
        UsageError: there is none; the message lists the choices that have one.
    """
    module, outside, own = name.partition(":")
    if not outside:
        if name not in names(folder):
            near = difflib.get_close_matches(name, names(folder), n=1)
            hint = f"did you mean '{near[0]}'? " if near else ""
            raise UsageError(
                f"'{name}' is not one of {folder}",
                fix=f"{hint}choices: {', '.join(names(folder))}, or package.module:function",
            )
        module, own = f"tutelage.{folder.replace('/', '.')}.{name.replace('-', '_')}", attribute
    found = _attribute(module, own, fix="give it as package.module:function")
    if not callable(found):
        raise UsageError(f"'{module}:{own}' is not a function")
    return found


def _attribute(module: str, attribute: str, fix: str) -> Any:
    """The installed command does not look for modules in the current folder as `python -m` does: here it does."""
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, SyntaxError) as error:
        raise UsageError(f"cannot import '{module}:{attribute}': {error}", where=f"{Path.cwd()}", fix=fix) from error
