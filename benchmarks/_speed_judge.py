"""Whether two sides did the same work: same weights, and losses, or the answers' lengths and likelihoods, equal."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from _speed_jobs import Job
from _speed_side import Started

LOSS_SHARE = 0.02
"""how far the loss of a round may differ, as a share: bfloat16 against float32, rows joined in another order"""
MARGIN_SHARE = 0.1
"""the same for a pair's margin, which is a small difference of large numbers"""
STANDARD_ERRORS = 4.0
"""how far mean lengths and log-probabilities of sampled answers may differ"""


def judged(
    rows: list[dict[str, Any]], job: Job, sides: list[Started], model: Path, device: str = "cpu"
) -> list[dict[str, Any]]:
    """The rows with `same_work` ("yes", or why not) and the numbers that it was judged by."""
    said = {side.side.name: _evidence(job, side, model, device) for side in sides}
    for row in rows:
        ours, theirs = said[f"tutelage, {row['ours']}"], said[f"{row['peer']}, {row['setting']}"]
        row["evidence"] = {"tutelage": ours, "theirs": theirs}
        row["same_work"] = "; ".join(_faults(job, ours, theirs)) or "yes"
        if row["same_work"] != "yes":
            row["same_work"] = f"not the same work: {row['same_work']}"
    return rows


def _evidence(job: Job, side: Started, model: Path, device: str) -> dict[str, Any]:
    rounds = side.rounds
    found: dict[str, Any] = {"weights": rounds[0].get("weights", "")}
    if job.name.startswith("sample"):
        return found | _likelihood([row for one in rounds for row in one["answers"]], model, device)
    for name in ("loss", "reward/margin", "reward/mean", "policy/stop_rate", "policy/entropy"):
        if all(one.get(name) for one in rounds):
            found[name] = [round(statistics.fmean(one[name]), 5) for one in rounds]
    if job.online:
        lengths = [value for one in rounds for value in one["answer/length"]]
        count = len(lengths) * job.batch * job.answers
        mean = statistics.fmean(lengths)
        # lengths are nearly geometric, so their deviation is about their mean
        found |= {"length": round(mean, 3), "length_se": round(mean / count**0.5, 3)}
    if all("tokens" in one for one in rounds):
        found["tokens"] = [one["tokens"] for one in rounds]
    return found | {"ordered": side.side.order}


def _faults(job: Job, ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """What differs by more than may be."""
    found: list[str] = []
    if ours["weights"] != theirs["weights"]:
        found.append("the weights at the start differ")
    for name in ("length", "logprob"):
        if name in ours:
            error = (ours[f"{name}_se"] ** 2 + theirs[f"{name}_se"] ** 2) ** 0.5
            if abs(ours[name] - theirs[name]) > STANDARD_ERRORS * error:
                found.append(f"mean {name} {ours[name]:.4g} and {theirs[name]:.4g} (standard error {error:.2g})")
    if job.online:
        return found
    for name, share in (("loss", LOSS_SHARE), ("reward/margin", MARGIN_SHARE)):
        left, right = ours.get(name), theirs.get(name)
        if name == "loss" and not (left and right):
            found.append("no loss was told")
        if not left or not right:
            continue
        if not (ours["ordered"] and theirs["ordered"]):  # other batches, so only the whole can be compared
            left, right = [statistics.fmean(left)], [statistics.fmean(right)]
        worst = max(zip(left, right, strict=True), key=lambda pair: abs(pair[0] - pair[1]))
        if abs(worst[0] - worst[1]) > share * max(abs(worst[1]), 0.05):
            found.append(f"{name} {worst[0]:.4g} and {worst[1]:.4g}")
    return found


def _likelihood(answers: list[list[int]], model: Path, device: str) -> dict[str, float]:
    """Mean length, and mean log-probability per token under the plain float32 model: the same instrument for all."""
    import torch

    from tutelage.batches import TokenBatch
    from tutelage.models.load import load_policy

    policy = load_policy(str(model), dtype="float32", device=device)
    totals: list[float] = []
    for start in range(0, len(answers), 32):
        rows = [(row[1:], [False] * row[0] + [True] * (len(row) - 1 - row[0])) for row in answers[start : start + 32]]
        with torch.no_grad():
            totals += policy.logprobs(TokenBatch.of(rows)).logprobs.sum(1).tolist()
    lengths = [len(row) - 1 - row[0] for row in answers]
    count, tokens = len(lengths), sum(lengths)
    per_token = sum(totals) / tokens
    # the error of a ratio of sums, by its linear part
    rest = [total - per_token * length for total, length in zip(totals, lengths, strict=True)]
    return {
        "length": round(tokens / count, 3),
        "length_se": round(statistics.stdev(lengths) / count**0.5, 3),
        "logprob": round(per_token, 5),
        "logprob_se": round(statistics.stdev(rest) * count**0.5 / tokens, 5),
        "stopped": round(sum(len(row) - 1 - row[0] < max(lengths) for row in answers) / count, 4),
    }
