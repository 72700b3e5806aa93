"""A taste, the hidden rule behind simulated raters: found by its name, and checked when it speaks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from numbers import Real
from typing import Any

from tutelage import registry
from tutelage.errors import UsageError

Taste = Callable[[Mapping[str, Any], str], Mapping[str, float]]
"""(the prompt's `meta`, the answer's text) → `overall` and perhaps aspects, each 0–1."""


def named_taste(name: str) -> Taste:
    """The taste of a source (`news`) or `package.module:function`; what it returns is checked at every call.

    Raises:
        UsageError: there is none; or, when it is called, it returns something else than numbers by name.
    """
    taste = registry.function("data/sources", name, "taste")

    @wraps(taste)
    def checked(meta: Mapping[str, Any], text: str) -> Mapping[str, float]:
        found = taste(meta, text)
        fine = isinstance(found, Mapping) and isinstance(found.get("overall"), Real)
        if not fine:
            raise UsageError(
                f"the taste '{name}' returned {found!r:.80}",
                fix="a taste is a function of (the prompt's meta, the answer's text) that returns numbers from 0 to 1 "
                'by name, such as {"overall": 0.7, "fluent": 0.9}; `overall` must be there',
            )
        return found

    return checked
