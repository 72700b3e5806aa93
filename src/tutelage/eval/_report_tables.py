"""The report's numbers: what the summary says, in one sentence, in tiles, in tables; each with its file and key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from tutelage.eval._base import SUMMARY, Measure
from tutelage.eval._report_charts import interval_bar, short
from tutelage.eval._report_read import EvalFolder, Found
from tutelage.eval._report_words import WORDS, t


@dataclass(frozen=True)
class Number:
    """A value and where it stands.

    Example:
        >>> Number(0.83, 0.80, 0.86, "demo/eval/eval.json › summary.gold_after")
    """

    value: float
    low: float | None
    high: float | None
    source: str


_DOWN = {"perplexity", "self_bleu", "reward_ece", "empty"}
_UP = {"gold", "reward", "rouge1", "rouge2", "rougeL", "bleu", "chrf", "stop_rate", "distinct_1", "distinct_2"}


def numbers(found: Found) -> dict[str, Number]:
    """Summary key → number: from `summary.json`, else from the last evaluation that has it."""
    out: dict[str, Number] = {}
    places = [(found.summary_source, "", found.summary)]
    places += [(_file(one, found), "summary.", one.content.get("summary") or {}) for one in reversed(found.evals)]
    for file, prefix, values in places:
        for key, value in values.items():
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                out.setdefault(key, Number(float(value), None, None, f"{file} › {prefix}{key}"))
    for key, number in out.items():
        low, high = _interval(key, number, found)
        if low is None and f"{key}_low" in out:
            low = out[f"{key}_low"].value
        out[key] = Number(number.value, low, high, number.source)
    return out


def _interval(key: str, number: Number, found: Found) -> tuple[float | None, float | None]:
    """The interval of the same measurement in an evaluation, if that is where the number came from."""
    for one in found.evals:
        row = one.content.get("measures", {}).get(SUMMARY.get(key, ""))
        if row and row.get("value") is not None and abs(row["value"] - number.value) < 1e-6:
            return row.get("low"), row.get("high")
    return None, None


def verdicts(found: Mapping[str, Number]) -> list[Markup]:
    """What it all means, in one or two sentences."""
    out: list[Markup] = []
    if "win_rate" in found:
        rate = found["win_rate"]
        key = "verdict_win" if rate.low is not None and rate.low > 0.5 else "verdict_no_win"
        out.append(t(key, rate=percent(rate.value), low="?" if rate.low is None else percent(rate.low)))
    if {"gold_before", "gold_after", "gold_gain"} <= found.keys():
        gain = found["gold_gain"]
        key = "verdict_gain" if gain.low is not None and gain.low > 0 else "verdict_no_gain"
        words = {name: f"{found['gold_' + name].value:.2f}" for name in ("before", "after")}
        out.append(t(key, **words, gain=f"{gain.value:+.2f}", low="?" if gain.low is None else f"{gain.low:+.2f}"))
    return out or [t("verdict_none")]


def tiles(found: Mapping[str, Number]) -> list[dict[str, Any]]:
    """The numbers to look at first."""
    made = [_gold(found), _rate(found), _accuracy(found), _stop(found), _kl(found), _time(found)]
    return [tile for tile in made if tile]


def _tile(key: str, found: Mapping[str, Number], **parts: Any) -> dict[str, Any]:
    usual: dict[str, Any] = {"name": t(key), "extra": "", "bar": "", "note": t(f"{key}_note"), "tone": ""}
    return usual | {"source": found[key].source} | parts


def _gold(found: Mapping[str, Number]) -> dict[str, Any] | None:
    if not {"gold_before", "gold_after"} <= found.keys():
        return None
    before, after, gain = found["gold_before"], found["gold_after"], found.get("gold_gain")
    tone = "" if gain is None or gain.low is None else "good" if gain.low > 0 else "bad"
    return {
        "name": t("gold"),
        "value": f"{before.value:.3f} → {after.value:.3f}",
        "extra": _minus(f"{gain.value:+.3f}") if gain else "",
        "bar": interval_bar(after.value, after.low, after.high, scale=(0, 1), marks=[before.value]),
        "note": t("gold_note", range=_signed(gain) if gain else "–"),
        "tone": tone,
        "source": after.source,
    }


def _rate(found: Mapping[str, Number]) -> dict[str, Any] | None:
    if "win_rate" not in found:
        return None
    one = found["win_rate"]
    bar = interval_bar(one.value, one.low, one.high, scale=(0, 1), marks=[0.5])
    tone = "" if one.low is None else "good" if one.low > 0.5 else "bad"
    return _tile("win_rate", found, value=percent(one.value), extra=_range(one, percent), bar=bar, tone=tone)


def _accuracy(found: Mapping[str, Number]) -> dict[str, Any] | None:
    if "reward_accuracy" not in found:
        return None
    one, length, ceiling = (found.get(k) for k in ("reward_accuracy", "length_only_accuracy", "rater_agreement"))
    assert one is not None
    marks = [other.value for other in (length, ceiling) if other]
    note = t(
        "reward_accuracy_note",
        length=percent(length.value) if length else "–",
        ceiling=percent(ceiling.value) if ceiling else "–",
    )
    above = one.value if one.low is None else one.low
    tone = "" if length is None else "good" if above > length.value else "bad"
    bar = interval_bar(one.value, one.low, one.high, scale=(0.4, 1), marks=marks)
    value = percent(one.value)
    return _tile("reward_accuracy", found, value=value, extra=_range(one, percent), bar=bar, note=note, tone=tone)


def _stop(found: Mapping[str, Number]) -> dict[str, Any] | None:
    if "stop_rate" not in found:
        return None
    one = found["stop_rate"]
    bar = interval_bar(one.value, one.low, one.high, scale=(0, 1), marks=[0.95])
    return _tile("stop_rate", found, value=percent(one.value), bar=bar, tone="good" if one.value >= 0.95 else "bad")


def _kl(found: Mapping[str, Number]) -> dict[str, Any] | None:
    if "kl" not in found:
        return None
    one = found["kl"]
    return _tile("kl", found, value=f"{one.value:.2f}", extra=_range(one, lambda value: f"{value:.2f}"))


def _time(found: Mapping[str, Number]) -> dict[str, Any] | None:
    if "seconds" not in found:
        return None
    minutes, seconds = divmod(round(found["seconds"].value), 60)
    memory, seed = found.get("peak_gib"), found.get("seed")
    return _tile(
        "seconds",
        found,
        value=f"{minutes}:{seconds:02d}",
        extra=f"{memory.value:.2f} GiB" if memory else "",
        note=t("seconds_note", seed=int(seed.value) if seed else "–"),
    )


def tables(found: Found) -> list[dict[str, Any]]:
    """One table per evaluation: each measure before, after and its change."""
    out: list[dict[str, Any]] = []
    for one in found.evals:
        measures = {name: Measure.from_json(row) for name, row in (one.content.get("measures") or {}).items()}
        sides = {name.partition("/")[2] for name in measures if name.startswith(("model/", "baseline/"))}
        two = any(name.startswith("baseline/") for name in measures)
        file = _file(one, found)
        rows = [_row(name, measures, file) for name in sorted(sides, key=_rank)]
        single = [name for name in measures if not name.startswith(("model/", "baseline/", "gain/", "rater/"))]
        rows += [_single(name, measures[name], file) for name in sorted(single, key=_rank)]
        about = " → ".join(str(one.content[key]) for key in ("baseline", "model") if one.content.get(key))
        out.append({"name": one.name, "about": about, "two": two, "rows": rows})
    return out


def _row(name: str, measures: Mapping[str, Measure], file: str) -> dict[str, Any]:
    before, after, gain = (measures.get(f"{side}/{name}") for side in ("baseline", "model", "gain"))
    base, _, part = name.partition("/")
    arrow = "↑" if base in _UP else "↓" if base in _DOWN else ""
    tone = ""
    if gain and gain.low is not None and gain.high is not None and arrow and not gain.low <= 0 <= gain.high:
        tone = "up" if (gain.value > 0) == (arrow == "↑") else "down"
    present = [f"{side}/{name}" for side, m in (("baseline", before), ("model", after), ("gain", gain)) if m]
    return {
        "name": t("lang_" + part) if part else t("m_" + base) if f"m_{base}" in WORDS else base,
        "minor": bool(part),
        "arrow": "" if part else arrow,
        "arrow_title": WORDS["better_up" if arrow == "↑" else "better_down"][0],
        "before": _cell(before),
        "after": _cell(after),
        "gain": _cell(gain, signed=True),
        "tone": tone,
        "how": (after or before or Measure(0)).how,
        "source": f"{file} › measures.{{{', '.join(present)}}}",
    }


def _single(name: str, measure: Measure, file: str) -> dict[str, Any]:
    label = t(f"m_{name}") if f"m_{name}" in WORDS else name
    usual = {"minor": "/" in name, "arrow": "", "arrow_title": "", "before": "", "gain": "", "tone": ""}
    row = {"name": label, "after": _cell(measure), "how": measure.how, "source": f"{file} › measures.{name}"}
    return usual | row


_ORDER = (
    *("gold", "reward", "win_rate", "agreement", "left", "kl"),
    *("reward_accuracy", "length_only_accuracy", "rater_agreement", "reward_ece", "rouge1", "rouge2", "rougeL"),
    *("bleu", "chrf", "perplexity", "distinct_1", "distinct_2", "self_bleu", "length", "stop_rate", "empty"),
)


def _rank(name: str) -> tuple[int, str]:
    base = name.partition("/")[0]
    return (_ORDER.index(base) if base in _ORDER else len(_ORDER), name)


def _cell(measure: Measure | None, *, signed: bool = False) -> Markup:
    if measure is None or measure.value != measure.value:
        return Markup("–")
    form = f"{{:{'+' if signed else ''}.{_digits(measure.value)}f}}"
    value, *ends = [_minus(form.format(x)) for x in (measure.value, measure.low, measure.high) if x is not None]
    if len(ends) < 2:
        return escape(value)
    return Markup(f'{value}<span class="range">[{ends[0]}, {ends[1]}]</span>')


def _digits(value: float) -> int:
    return 1 if abs(value) >= 20 else 2 if abs(value) >= 2 else 3


def sources(found: Mapping[str, Number]) -> list[dict[str, str]]:
    """Every number of the summary."""
    return [
        {"key": key, "value": short(number.value), "source": number.source} for key, number in sorted(found.items())
    ]


def percent(value: float) -> str:
    """0.7123 → 71.2%."""
    return f"{value * 100:.1f}%"


def _range(number: Number, form: Any) -> str:
    if number.low is None or number.high is None:
        return "" if number.low is None else f"≥ {form(number.low)}"
    return f"{form(number.low)} – {form(number.high)}"


def _signed(number: Number) -> str:
    ends = [_minus(f"{end:+.3f}") for end in (number.low, number.high) if end is not None]
    return f"[{', '.join(ends)}]" if len(ends) == 2 else f"≥ {ends[0]}" if ends else "–"


def _minus(text: str) -> str:
    """A typographic minus, told apart from a dash."""
    return text.replace("-", "−")


def _file(one: EvalFolder, found: Found) -> str:
    for root in found.roots:
        if one.path.is_relative_to(root):
            return f"{root.resolve().name}/{(one.path / 'eval.json').relative_to(root).as_posix()}"
    return f"{one.name}/eval.json"
