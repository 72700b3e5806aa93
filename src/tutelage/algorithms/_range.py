"""Which numbers a setting may have, found by asking the settings' own `sane`: said once, never out of date."""

from __future__ import annotations

import copy
from typing import Any

_SMALL, _LARGE = 1e-6, 1e9
_ENDS = (0.0, 0.5, 1.0, 2.0)


def allowed(config: Any, name: str) -> str:
    """The range of one number in words, such as `≥ 1`, `> 0` or `≥ 0 and < 1`.

    Args:
        config: settings with `sane() -> {name: whether it is fine}`.

    Example:
        >>> allowed(config, "batch_size")
        '≥ 1'
    """
    if isinstance(getattr(config, name), int):
        least = next((number for number in range(4) if _sane(config, name, number)), None)
        return "another one" if least is None else f"≥ {least}"
    fine = [end for end in _ENDS if _sane(config, name, end) or _sane(config, name, end + _SMALL)]
    words = list[str]()
    if fine and not _sane(config, name, -_LARGE):
        words.append(f"≥ {fine[0]:g}" if _sane(config, name, fine[0]) else f"> {fine[0]:g}")
    if fine and not _sane(config, name, _LARGE):
        top = next(end for end in (*_ENDS, _LARGE) if end >= fine[-1] and not _sane(config, name, end + _SMALL))
        words.append(f"≤ {top:g}" if _sane(config, name, top) else f"< {top:g}")
    return " and ".join(words) or "another one"


def _sane(config: Any, name: str, value: float) -> bool:
    """Whether `sane` is content with this value, all else as it is."""
    probe = copy.copy(config)
    kind = type(getattr(config, name))
    object.__setattr__(probe, name, kind(value))  # a copy of a frozen dataclass, never seen by anyone else
    return bool(probe.sane().get(name))
