"""Table and chart of trl_ppo.py: reward against wall time and against KL, as one SVG made by hand."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from tutelage.eval._report_charts import short, ticks

TONES = {"trl": "#c2410c", "trl-best": "#f59e0b", "ppo": "#1d4ed8", "ppo-best": "#7c3aed", "rloo": "#15803d"}
NAMES = {
    "trl": "TRL 1.9.2 PPO",
    "trl-best": "TRL 1.9.2 PPO, best",
    "ppo": "tutelage ppo",
    "ppo-best": "tutelage ppo, best",
    "rloo": "tutelage rloo",
}
COLUMNS = (
    "method", "seed", "step-0 reward", "step-0 KL", "answers", "tokens", "mean length", "s/step", "CPU s/step",
    "tokens per CPU s", "last 5: reward", "KL", "held-out reward", "KL", "process s", "CPU s", "GiB", "load",
)  # fmt: skip
WIDTH, HEIGHT, LEFT, TOP, BOTTOM, GAP = 400, 270, 46, 44, 36, 14
SMOOTH = 5


def table(runs: Sequence[dict[str, Any]]) -> str:
    """One line per run, for docs/LOG.md."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    return "\n".join([*lines, *("| " + " | ".join(_cells(run)) + " |" for run in runs)])


def _cells(run: dict[str, Any]) -> list[str]:
    rows, final, process = run["rows"], run["final"], run["process"]
    first, last = rows[0], rows[-5:]
    answers, tokens = sum(row["answers"] for row in rows), sum(row["length"] * row["answers"] for row in rows)
    error = first["reward_sd"] / first["answers"] ** 0.5
    intervals = max(1, len(rows) - 1)
    cpu = rows[-1]["cpu"] / intervals
    return [
        NAMES[run["method"]], str(run["seed"]), f"{first['reward']:.3f} ± {error:.3f}", f"{abs(first['kl']):.1e}",
        str(answers), f"{tokens:.0f}", f"{tokens / answers:.1f}", f"{rows[-1]['seconds'] / intervals:.2f}",
        f"{cpu:.2f}", f"{tokens / len(rows) / cpu:.0f}", f"{_mean(last, 'reward'):.3f}", f"{_mean(last, 'kl'):.2f}",
        f"{final['reward']:.3f} ± {final['reward_se']:.3f}", f"{final['kl']:.2f} ± {final['kl_se']:.2f}",
        f"{process['seconds']:.0f}", f"{process['cpu_seconds']:.0f}", f"{process['peak_gib']:.2f}",
        "–".join(f"{load:.1f}" for load in run["load_average"]),
    ]  # fmt: skip


def race(runs: Sequence[dict[str, Any]]) -> str:
    """Time to the same reward: the least of the best that each run reached, in the mean of five steps."""
    target = min(max(_smooth([row["reward"] for row in run["rows"]])) for run in runs)
    lines = [f"Mean reward of five steps at {target:.3f}, which all reach:", ""]
    lines += ["| method | seed | step | wall s | CPU s |", "|---|---|---|---|---|"]
    for run in runs:
        row = next(row for row, mean in zip(run["rows"], _smooth([r["reward"] for r in run["rows"]]), strict=True)
                   if mean >= target)  # fmt: skip
        lines.append(f"| {NAMES[run['method']]} | {run['seed']} | {row['step']} | {row['seconds']} | {row['cpu']} |")
    return "\n".join(lines)


def figure(runs: Sequence[dict[str, Any]]) -> str:
    """Three panels; a thin line per step, a thick one over the mean of five steps."""
    over = {"seconds": "wall time, s", "cpu": "CPU time, s", "kl": "sequence KL to the start, nats"}
    panels = [_panel(runs, *one, WIDTH * index) for index, one in enumerate(over.items())]
    legend, x = [], LEFT
    for method in dict.fromkeys(run["method"] for run in runs):
        legend.append(f'<rect x="{x}" y="9" width="14" height="4" fill="{TONES[method]}"/>')
        legend.append(f'<text x="{x + 19}" y="15">{escape(NAMES[method])}</text>')
        x += 150
    label = "Mean reward of each step against wall time, CPU time and sequence KL"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {3 * WIDTH} {HEIGHT}" role="img" aria-label="{label}" '
        'font-family="system-ui, sans-serif" font-size="11" fill="#334155">'
        f'<title>{label}</title><rect width="100%" height="100%" fill="#fff"/>{"".join(legend + panels)}</svg>\n'
    )


def _panel(runs: Sequence[dict[str, Any]], over: str, name: str, shift: int) -> str:
    lines = [
        (TONES[run["method"]], [row[over] for row in run["rows"]], [row["reward"] for row in run["rows"]])
        for run in runs
    ]
    xs, ys = [x for _, line, _ in lines for x in line], [y for _, _, line in lines for y in line]
    low, high = (min(0.0, *xs), min(0.0, *ys)), (max(xs), max(ys))

    def place(x: float, y: float) -> tuple[float, float]:
        right = LEFT + (x - low[0]) / (high[0] - low[0] or 1) * (WIDTH - LEFT - GAP)
        return right, HEIGHT - BOTTOM - (y - low[1]) / (high[1] - low[1] or 1) * (HEIGHT - TOP - BOTTOM)

    parts = [f'<text x="{LEFT}" y="{TOP - 10}">mean reward of a step</text>']
    parts.append(f'<text x="{WIDTH - GAP}" y="{HEIGHT - 6}" text-anchor="end">{name}</text>')
    for x in ticks(low[0], high[0], 5):
        parts.append(
            f'<text x="{place(x, 0)[0]:.1f}" y="{HEIGHT - BOTTOM + 14}" text-anchor="middle">{short(x)}</text>'
        )
    for y in ticks(low[1], high[1], 4):
        at = place(0, y)[1]
        parts.append(f'<text x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{short(y)}</text>')
        parts.append(f'<path d="M{LEFT} {at:.1f}H{WIDTH - GAP}" stroke="#e2e8f0"/>')
    for tone, across, up in lines:
        parts.append(_path([place(x, y) for x, y in zip(across, up, strict=True)], tone, 0.7, 0.3))
        smooth = zip(_smooth(across), _smooth(up), strict=True)
        parts.append(_path([place(x, y) for x, y in smooth], tone, 2, 1))
    return f'<g transform="translate({shift} 0)">{"".join(parts)}</g>'


def _path(points: Sequence[tuple[float, float]], tone: str, width: float, opacity: float) -> str:
    route = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return f'<path d="M{route}" fill="none" stroke="{tone}" stroke-width="{width}" opacity="{opacity}"/>'


def _smooth(values: Sequence[float]) -> list[float]:
    half = SMOOTH // 2
    windows = (values[max(0, index - half) : index + half + 1] for index in range(len(values)))
    return [sum(window) / len(window) for window in windows]


def _mean(rows: Sequence[dict[str, Any]], name: str) -> float:
    return sum(row[name] for row in rows) / len(rows)
