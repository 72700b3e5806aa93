"""From answers and their scores to the measures of `eval.json`: each side, the change, and the summary (no torch)."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tutelage.eval import text
from tutelage.eval._base import SUMMARY, Measure, bootstrap_gain, bootstrap_mean, percentiles, resamples, standard_error
from tutelage.types import Sample, plain

_GOLD = "hidden taste of each answer, 0–1; bootstrap by prompt"
_REWARD = "reward model's score; bootstrap by prompt"


@dataclass(frozen=True)
class Side:
    """One model's answers with everything that is known of each; lists are parallel.

    Example:
        >>> Side(samples, {"gold": gold, "reward": scores}, logprobs)
    """

    samples: Sequence[Sample]
    scores: Mapping[str, Sequence[float]]
    """gold, reward: one number per answer"""
    base: Sequence[Sequence[float]] | None = None
    """log p of each answer's tokens under the base model"""

    @property
    def prompts(self) -> list[Hashable]:
        """The prompt of each answer: answers to the same one are not independent."""
        return [sample.prompt.id for sample in self.samples]


def side_measures(side: Side) -> dict[str, Measure]:
    """All measures of one model's answers."""
    out = {
        name: bootstrap_mean(values, side.prompts, how=_GOLD if name.startswith("gold") else _REWARD)
        for name, values in side.scores.items()
    }
    out |= text.measures(
        [sample.text for sample in side.samples],
        languages=languages(side.samples),
        finishes=[sample.finish for sample in side.samples],
        references=references(side.samples),
        clusters=side.prompts,
    )
    if side.base is not None and any(side.base):
        out["perplexity"] = _perplexity(side.base, side.prompts)
    return out


def gains(before: Side, after: Side) -> dict[str, Measure]:
    """The change of what can be paired answer by answer, with its interval; perplexity by joint resampling."""
    first, second = _per_answer(before), _per_answer(after)
    out = {
        name: bootstrap_gain(first[name], second[name], after.prompts, how="paired by answer; bootstrap by prompt")
        for name in first.keys() & second.keys()
    }
    if before.base is not None and after.base is not None and any(before.base) and any(after.base):
        out["perplexity"] = _perplexity_gain(before.base, after.base, after.prompts)
    return out


def sequence_kl(own: Sequence[float], reference: Sequence[float], prompts: Sequence[Hashable] = ()) -> Measure:
    """KL(model ‖ reference) per answer in nats: mean of Σ log π - Σ log π_ref over answers that π sampled (k1).

    The estimate is unbiased but may come out below 0 by noise; below -3 standard errors something is wrong with the
    sampler or the mask. The interval is mean ± 1.96 standard errors, over the means of `prompts` where these are given:
    answers to one prompt are not independent.

    Raises:
        ValueError: no answers, or not as many of both.
    """
    if not own or len(own) != len(reference):
        raise ValueError(f"{len(own)} answers of the model, {len(reference)} of the reference")
    gaps = [mine - theirs for mine, theirs in zip(own, reference, strict=True)]
    groups: dict[Hashable, list[float]] = {}
    for prompt, gap in zip(prompts or range(len(gaps)), gaps, strict=True):
        groups.setdefault(prompt, []).append(gap)
    mean, error = sum(gaps) / len(gaps), standard_error([sum(one) / len(one) for one in groups.values()])
    how = f"mean of log π - log π_ref per sampled answer, nats; s.e. {error:.3g}"
    return Measure(mean, mean - 1.96 * error, mean + 1.96 * error, len(groups), how)


def languages(samples: Sequence[Sample]) -> list[str]:
    """The language of each answer: the prompt's `lang`, else that of the prompt's words."""
    return [str(s.prompt.meta.get("lang") or text.language(plain(s.prompt.content))) for s in samples]


def references(samples: Sequence[Sample]) -> list[str] | None:
    """The reference of each answer, or None unless every prompt has one."""
    found = [sample.prompt.meta.get("reference") for sample in samples]
    return [str(one) for one in found] if all(isinstance(one, str) and one for one in found) else None


def summary(measures: Mapping[str, Measure]) -> dict[str, float]:
    """The numbers that `summary.json` of the demo takes over, under its names."""
    out: dict[str, float] = {}
    for key, name in SUMMARY.items():
        if name in measures:
            out[key] = measures[name].value
    for key in ("gold_gain", "win_rate", "reward_accuracy"):
        found = measures.get(SUMMARY[key])
        if found is not None and found.low is not None and found.high is not None:
            out |= {f"{key}_low": found.low, f"{key}_high": found.high}
    return {key: value for key, value in out.items() if math.isfinite(value)}


def answer_rows(after: Side, before: Side | None) -> list[dict[str, Any]]:
    """One row per prompt with its first answers, for `answers.jsonl` and the report."""
    langs, seen, out = languages(after.samples), set[str](), list[dict[str, Any]]()
    for index, sample in enumerate(after.samples):
        if sample.prompt.id in seen:
            continue
        seen.add(sample.prompt.id)
        row = {"id": sample.prompt.id, "lang": langs[index], "prompt": plain(sample.prompt.content)}
        row |= {"reference": sample.prompt.meta.get("reference"), "model": sample.text, "finish": sample.finish}
        row |= {f"{name}_model": values[index] for name, values in after.scores.items()}
        if before is not None:
            row |= {"baseline": before.samples[index].text}
            row |= {f"{name}_baseline": values[index] for name, values in before.scores.items()}
        out.append(row)
    return out


def _per_answer(side: Side) -> dict[str, Sequence[float]]:
    texts = [sample.text for sample in side.samples]
    out: dict[str, Sequence[float]] = dict(side.scores)
    out["length"] = [float(len(text.tokens(one))) for one in texts]
    out["stop_rate"] = [float(sample.finish == "stop") for sample in side.samples]
    if (wanted := references(side.samples)) is not None:
        out |= text.rouge(texts, wanted)
    return out


def _perplexity(base: Sequence[Sequence[float]], prompts: Sequence[Hashable]) -> Measure:
    keep = [index for index, line in enumerate(base) if line]
    mean = bootstrap_mean(
        [-sum(base[i]) / len(base[i]) for i in keep], [prompts[i] for i in keep], [float(len(base[i])) for i in keep]
    )
    how = "of the answer's text alone under the base model; bootstrap by prompt"
    low, high = (None if end is None else math.exp(end) for end in (mean.low, mean.high))
    return Measure(math.exp(mean.value), low, high, mean.n, how)


def _perplexity_gain(
    before: Sequence[Sequence[float]], after: Sequence[Sequence[float]], prompts: Sequence[Hashable]
) -> Measure:
    order: dict[Hashable, int] = {}
    index = np.array([order.setdefault(prompt, len(order)) for prompt in prompts])
    draws = resamples(len(order), 0)
    ends: list[Any] = []
    values: list[float] = []
    for side in (before, after):
        surprise = np.bincount(index, weights=[-sum(line) for line in side], minlength=len(order))
        count = np.bincount(index, weights=[len(line) for line in side], minlength=len(order))
        values.append(math.exp(surprise.sum() / count.sum()))
        ends.append(np.exp((draws @ surprise) / np.maximum(draws @ count, 1.0)))
    low, high = percentiles(ends[1] - ends[0])
    return Measure(values[1] - values[0], low, high, len(order), "difference; bootstrap by prompt")
