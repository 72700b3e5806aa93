"""Score against KL: how much was gained for how far the model moved, and whether the proxy was over-optimised.

With d = √KL, Gao et al. 2022 (2210.10760, eq. 1) found gold scores to follow

    best of n:  R(d) = d·(α − β·d),  highest at d = α/2β        reinforcement:  R(d) = d·(α − β·log d),  at exp(α/β − 1)

where R is the gain over the model at d = 0. `fit` finds α and β; a β that is not positive means no turn was seen.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from tutelage.errors import DataError, MissingInputError

Form = Literal["best-of-n", "rl"]


@dataclass(frozen=True)
class Point:
    """One moment of a run.

    Example:
        >>> Point(step=20, kl=3.1, proxy=1.4, gold=0.72)
    """

    step: int
    kl: float
    """Sequence KL to the reference, in nats."""
    proxy: float | None
    """What was optimised: the reward model's mean score."""
    gold: float | None
    """What was meant: the hidden taste or people's own score."""


@dataclass(frozen=True)
class Frontier:
    """The points in order of KL, the best one by gold, and the verdict.

    Example:
        >>> frontier(points).over_optimised
        False
    """

    points: tuple[Point, ...]
    best: Point | None
    """The point of highest gold."""
    over_optimised: bool
    """After the best point the proxy went on rising while gold fell (Gao et al. 2022, arXiv 2210.10760)."""
    lost: float
    """How much gold was lost from the best point to the last one; 0 when the last one is the best."""


def points_of(rows: Sequence[Mapping[str, object]], kl: str, proxy: str | None, gold: str | None) -> list[Point]:
    """Points from `metrics.jsonl` rows: each row with a KL and at least one of proxy and gold."""
    found = [
        Point(int(_number(row.get("step")) or 0), distance, _pick(row, proxy), _pick(row, gold))
        for row in rows
        if (distance := _number(row.get(kl))) is not None
    ]
    return [point for point in found if point.proxy is not None or point.gold is not None]


def frontier(points: Sequence[Point], tolerance: float = 0.02) -> Frontier:
    """Order the points by KL and look for over-optimisation.

    `tolerance`: how far gold must fall below its best, in units of gold, to count; set it to about the half-width of
    gold's interval.
    """
    ordered = tuple(sorted(points, key=lambda point: point.kl))
    judged = sorted((p for p in points if p.gold is not None), key=lambda point: point.step)
    if not judged:
        return Frontier(ordered, None, False, 0.0)
    best = max(judged, key=lambda point: point.gold or 0.0)
    last = judged[-1]
    lost = (best.gold or 0.0) - (last.gold or 0.0)
    rising = best.proxy is not None and last.proxy is not None and last.proxy > best.proxy
    return Frontier(ordered, best, rising and lost > tolerance, max(0.0, lost))


@dataclass(frozen=True)
class Fit:
    """Gold against distance, by one of the two forms.

    Example:
        >>> fit([0.5, 1.0, 2.0], [0.75, 1.0, 0.0], "best-of-n").peak
        1.0
    """

    form: Form
    alpha: float
    beta: float
    explained: float
    """share of the gains' squares that the form explains, at most 1"""

    def gain(self, distance: float) -> float:
        """R at d = √KL ≥ 0, in units of gold."""
        return distance * (self.alpha - self.beta * _bend(distance, self.form))

    @property
    def peak(self) -> float | None:
        """The d at which gold is highest; None if the form never turns over (β ≤ 0, or R falls from the start)."""
        if self.beta <= 0 or (self.form == "best-of-n" and self.alpha <= 0):
            return None
        return self.alpha / (2 * self.beta) if self.form == "best-of-n" else math.exp(self.alpha / self.beta - 1)


def fit(distances: Sequence[float], gains: Sequence[float], form: Form) -> Fit:
    """Least squares of `gains` (gold less that of the start) on d·α − d·bend(d)·β, exact for exact data.

    Args:
        distances: d = √KL of each model, > 0 for at least two different ones

    Raises:
        DataError: fewer than two different distances above 0: two numbers cannot be found from them.
    """
    pairs = [(d, gain) for d, gain in zip(distances, gains, strict=True) if d > 0]
    if len({d for d, _ in pairs}) < 2:
        raise DataError("a curve needs models at two distances at least", fix="train with several values of β")
    rows = [(d, -d * _bend(d, form), gain) for d, gain in pairs]
    aa, ab, bb = (sum(row[i] * row[j] for row in rows) for i, j in ((0, 0), (0, 1), (1, 1)))
    ag, bg = (sum(row[i] * row[2] for row in rows) for i in (0, 1))
    whole = aa * bb - ab * ab
    alpha, beta = (ag * bb - bg * ab) / whole, (bg * aa - ag * ab) / whole
    missed = sum((gain - alpha * first - beta * second) ** 2 for first, second, gain in rows)
    squares = sum(gain**2 for *_, gain in rows)
    return Fit(form, alpha, beta, 1 - missed / squares if squares else 1.0)


def _bend(distance: float, form: Form) -> float:
    return distance if form == "best-of-n" else math.log(distance) if distance > 0 else 0.0


@dataclass(frozen=True)
class RunPoint:
    """Where one run ended.

    Example:
        >>> RunPoint("ppo", "kl 0.05", kl=4.2, reward=1.3, gold=0.71, folder="runs/ppo-3")
    """

    method: str
    setting: str
    """what was varied, for people"""
    kl: float
    """nats per answer"""
    reward: float | None
    gold: float | None
    folder: str = ""


def run_points(folders: Sequence[Path]) -> list[RunPoint]:
    """One line per run folder: the end of its held-out or, without those, of its training numbers.

    `eval.json` of `tutelage eval` in the folder, or in its `eval/`, is taken before `metrics.jsonl`: its KL is that of
    the exported model.

    Raises:
        MissingInputError: a folder holds no run; DataError: a run has no KL.
    """
    return [_run_point(Path(folder)) for folder in folders]


def _run_point(folder: Path) -> RunPoint:
    if not (folder / "run.json").is_file():
        raise MissingInputError("there is no run here", where=str(folder), fix="give run folders (--out of a training)")
    run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    setting = next((f"{key} {run['config'][key]:g}" for key in ("beta", "kl") if key in run["config"]), "")
    found = _evaluated(folder) or _logged(folder)
    if found.get("kl") is None:
        raise DataError("the run has no KL", where=str(folder), fix="measure it: tutelage eval --baseline START …")
    kl = max(0.0, float(found["kl"] or 0.0))
    return RunPoint(str(run["command"]), setting, kl, found.get("reward"), found.get("gold"), str(folder))


def _evaluated(folder: Path) -> dict[str, float | None]:
    for path in (folder / "eval" / "eval.json", folder / "eval.json"):
        if path.is_file():
            measures = json.loads(path.read_text(encoding="utf-8"))["measures"]
            names = {"kl": "kl", "reward": "model/reward", "gold": "model/gold"}
            return {key: measures[name]["value"] for key, name in names.items() if name in measures}
    return {}


def _logged(folder: Path) -> dict[str, float | None]:
    path = folder / "metrics.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []

    def last(*names: str) -> float | None:
        """Of the first of these numbers that was ever written."""
        for name in names:
            if known := [value for row in rows if (value := _number(row.get(name))) is not None]:
                return known[-1]
        return None

    return {
        "kl": last("eval/kl", "policy/kl"),
        "reward": last("eval/reward", "reward/mean"),
        "gold": last("eval/gold", "gold/mean"),
    }


def best_of_points(
    proxy: Sequence[Sequence[float]], gold: Sequence[Sequence[float]], sizes: Sequence[int]
) -> list[RunPoint]:
    """Best-of-n for each n of `sizes`, from N ≥ n answers to each prompt: unbiased, all N used (see `ops/best_of.py`).

    Args:
        proxy, gold: one row of N scores per prompt; the best by `proxy` is taken, and `gold` says what it was worth

    Raises:
        ValueError: an n outside 1 … N.
    """
    points: list[RunPoint] = []
    for n in sizes:
        if not all(1 <= n <= len(row) for row in proxy):
            raise ValueError(f"n = {n} must lie between 1 and the number of answers")
        sums = [_best_of(scores, goods, n) for scores, goods in zip(proxy, gold, strict=True)]
        reward, worth = (sum(one[part] for one in sums) / len(sums) for part in (0, 1))
        points.append(RunPoint("best-of-n", f"n {n}", math.log(n) - (n - 1) / n, reward, worth))
    return points


def _best_of(scores: Sequence[float], goods: Sequence[float], n: int) -> tuple[float, float]:
    """Equal scores share their places, as a lot would have it."""
    order = sorted(range(len(scores)), key=lambda index: scores[index])
    places = [math.comb(place, n - 1) / math.comb(len(scores), n) for place in range(len(scores))]
    reward = sum(share * scores[index] for share, index in zip(places, order, strict=True))
    worth = 0.0
    for value in set(scores):
        tied = [place for place, index in enumerate(order) if scores[index] == value]
        worth += sum(places[place] for place in tied) * sum(goods[order[place]] for place in tied) / len(tied)
    return reward, worth


def table(points: Sequence[RunPoint]) -> str:
    """The points as a Markdown table, by method and KL."""
    lines = ["| method | setting | KL | reward | gold |", "|---|---|---|---|---|"]
    for point in sorted(points, key=lambda one: (one.method, one.kl)):
        cells = ["" if value is None else f"{value:.3f}" for value in (point.kl, point.reward, point.gold)]
        lines.append(f"| {point.method} | {point.setting} | {' | '.join(cells)} |")
    return "\n".join(lines)


def as_json(points: Sequence[RunPoint], fits: Mapping[str, Fit]) -> dict[str, Any]:
    """Points and fitted curves for a file; `peak` in d = √KL."""
    told = {name: asdict(one) | {"peak": one.peak} for name, one in fits.items()}
    return {"points": [asdict(point) for point in points], "fits": told}


def _pick(row: Mapping[str, object], key: str | None) -> float | None:
    return None if key is None else _number(row.get(key))


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
