"""What an admin typed, checked: settings and aspects from form fields, with a sentence for each field that is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tutelage.errors import DataError
from tutelage.store.projects import FLAGS, KINDS, Aspect, ProjectSettings, Rubric
from tutelage.types import QuestionKind

Fields = Mapping[str, list[str]]
"""name → every value that was sent"""

NUMBERS: Mapping[str, tuple[float, float, float]] = {
    "overlap": (1, 100, 1),
    "goal": (0, 100_000, 1),
    "budget": (0, 100_000_000, 1),
    "lease_seconds": (30, 86_400, 1),
    "strength": (0, 9, 1),
    "gold_rate": (0, 50, 0),
    "repeat_rate": (0, 50, 0),
    "random_share": (20, 100, 0),
    "quiz": (0, 100, 1),
    "pass_mark": (0, 100, 0),
}
"""name → least, most, and 1 for whole numbers"""
_SHARES = ("gold_rate", "repeat_rate", "random_share", "pass_mark")
TICKS = ("tie", "both_bad", "comment", "open")


@dataclass
class Checked:
    """What a form says, and what is wrong with it."""

    values: dict[str, Any]
    """as typed, to be shown again"""
    problems: dict[str, str] = field(default_factory=dict[str, str])
    """field → sentence"""


def one(fields: Fields, name: str, default: str = "") -> str:
    """The value of a field, without white space at its ends."""
    return (fields.get(name) or [default])[0].strip()


def number(text: str, least: float, most: float, whole: bool, words: Mapping[str, str]) -> tuple[float, str]:
    """The number in `text`, or 0 and what is wrong with it."""
    if not text:
        return 0.0, words["needed"]
    try:
        value = float(text.replace(",", "."))
    except ValueError:
        return 0.0, words["not_number"]
    if not least <= value <= most:
        return 0.0, words["between"].format(least=f"{least:g}", most=f"{most:g}")
    if whole and value != int(value):
        return 0.0, words["whole"]
    return value, ""


def settings_values(settings: ProjectSettings) -> dict[str, Any]:
    """Settings as the form shows them: shares in per cent."""
    values: dict[str, Any] = {name: f"{float(vars(settings)[name]):.10g}" for name in NUMBERS}
    values |= {name: f"{100 * float(vars(settings)[name]):.10g}" for name in _SHARES}
    values |= {name: bool(vars(settings)[name]) for name in TICKS}
    return values | {
        "title": settings.title,
        "kinds": settings.kinds,
        "flags": settings.flags,
        "selection": settings.selection,
    }


def read_settings(
    fields: Fields, before: ProjectSettings, methods: tuple[str, ...], words: Mapping[str, str]
) -> tuple[Checked, ProjectSettings]:
    """The settings that a form asks for; `before` where something is wrong."""
    values: dict[str, Any] = {name: one(fields, name) for name in NUMBERS}
    values |= {name: bool(fields.get(name)) for name in TICKS}
    values |= {
        "title": one(fields, "title"),
        "flags": tuple(flag for flag in FLAGS if flag in fields.get("flag", ())),
        "kinds": tuple(kind for kind in KINDS if kind in fields.get("kind", ())) or before.kinds,
        "selection": one(fields, "selection"),
    }
    checked = Checked(values)
    found: dict[str, Any] = {}
    for name, (least, most, whole) in NUMBERS.items():
        value, wrong = number(values[name], least, most, bool(whole), words)
        if wrong:
            checked.problems[name] = wrong
        found[name] = value / 100 if name in _SHARES else int(value) if whole and name != "lease_seconds" else value
    if values["selection"] not in methods:
        checked.problems["selection"] = words["needed"]
    if checked.problems:
        return checked, before
    taken = {name: values[name] for name in (*TICKS, "title", "flags", "kinds", "selection")}
    return checked, replace(before, **found, **taken)


def kind_of(text: str, default: QuestionKind) -> QuestionKind:
    """A kind of question by its name."""
    known: dict[str, QuestionKind] = {kind: kind for kind in KINDS}
    return known.get(text, default)


def aspect_values(rubric: Rubric) -> list[dict[str, str]]:
    """The aspects of a rubric as the form shows them, and an empty one to add."""
    rows = [
        {
            "name": aspect.name,
            "en": aspect.label.get("en", ""),
            "zh": aspect.label.get("zh", ""),
            "low": f"{aspect.scale[0]:g}",
            "high": f"{aspect.scale[1]:g}",
            "step": f"{aspect.step:g}",
            "anchors_en": _lines(aspect, "en"),
            "anchors_zh": _lines(aspect, "zh"),
        }
        for aspect in rubric.aspects
    ]
    return [*rows, dict.fromkeys(("name", "en", "zh", "anchors_en", "anchors_zh"), "") | _SCALE]


_SCALE = {"low": "0", "high": "5", "step": "1"}


def _lines(aspect: Aspect, language: str) -> str:
    return "\n".join(f"{point}: {told[language]}" for point, told in aspect.anchors.items() if told.get(language))


def read_aspects(fields: Fields, words: Mapping[str, str]) -> tuple[list[dict[str, str]], tuple[Aspect, ...], str]:
    """The aspects of a form as typed, as meant, and what is wrong with them (empty: nothing)."""
    count = one(fields, "aspects", "0")
    typed: list[dict[str, str]] = []
    found: dict[str, Aspect] = {}
    wrong = ""
    for at in range(min(int(count) if count.isdecimal() and len(count) < 4 else 0, 20)):
        names = ("name", "en", "zh", "low", "high", "step", "anchors-en", "anchors-zh")
        row = {name.replace("-", "_"): one(fields, f"a{at}-{name}") for name in names}
        typed.append(row)
        if not row["name"]:
            continue
        try:
            if row["name"] in found:
                raise DataError(words["twice"].format(name=row["name"]))
            found[row["name"]] = _aspect(row, words)
        except DataError as error:
            wrong = error.what
    if not typed or typed[-1]["name"]:
        typed.append(dict.fromkeys(("name", "en", "zh", "anchors_en", "anchors_zh"), "") | _SCALE)
    return typed, tuple(found.values()), wrong


def _aspect(row: Mapping[str, str], words: Mapping[str, str]) -> Aspect:
    try:
        low, high, step = (float(row[name] or default) for name, default in _SCALE.items())
        aspect = Aspect(row["name"], {code: row[code] for code in ("en", "zh") if row[code]}, (low, high), step)
    except ValueError as error:  # also our DataError
        raise DataError(words["bad_scale"].format(name=row["name"])) from error
    anchors: dict[str, dict[str, str]] = {}
    for code in ("en", "zh"):
        for line in row[f"anchors_{code}"].splitlines():
            if not line.strip():
                continue
            point, _, told = line.replace("：", ":", 1).partition(":")
            try:
                value = float(point)
            except ValueError:
                value = high + 1
            if not (low <= value <= high and told.strip()):
                raise DataError(words["bad_anchor"].format(name=row["name"], line=line.strip()[:60]))
            anchors.setdefault(f"{value:g}", {})[code] = told.strip()
    ordered = {point: anchors[point] for point in sorted(anchors, key=float)}
    return replace(aspect, anchors=ordered)
