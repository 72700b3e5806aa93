"""A scorer behind an address as the reward: answers go out as JSON, one number for each comes back.

POST {"samples": [{"id", "prompt", "completion", "finish", "meta"?}, …]}        prompt: text, or [{role, content}]
200  {"scores": [0.7, …], "parts"?: {"fluent": [0.9, …]}}                        in the same order
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from tutelage._http import Service
from tutelage.batches import Scores
from tutelage.rewards._base import RewardSource
from tutelage.types import Sample


class Remote(RewardSource):
    """Asks `service` in batches; a failure is never a number.

    Args:
        meta: also send what else the prompts' rows hold (their reference answers, say).
    """

    def __init__(self, service: Service, batch: int = 64, meta: bool = False) -> None:
        self.service = service
        self.batch = batch
        self.meta = meta

    def score(self, samples: Sequence[Sample]) -> Scores:
        """
        Raises:
            ServiceError: the service is away, or does not answer with one finite number for each answer.
        """
        values: list[float] = []
        parts: dict[str, list[float]] = {}
        for start in range(0, len(samples), self.batch):
            some = samples[start : start + self.batch]
            found = self.service.post({"samples": [self._row(sample) for sample in some]})
            if not isinstance(found, Mapping) or "scores" not in found:
                raise self.service.broken(f'answered {found!r:.200} and not {{"scores": […]}}')
            values += self._numbers(found["scores"], some, "scores")
            told = found.get("parts") or {}
            if not isinstance(told, Mapping) or (start and told.keys() != parts.keys()):
                raise self.service.broken("names other 'parts' from one batch to the next, or none by name")
            for name, numbers in told.items():
                parts.setdefault(str(name), []).extend(self._numbers(numbers, some, f"parts/{name}"))
        value = torch.tensor(values)
        return Scores(value, {name: torch.tensor(numbers) for name, numbers in parts.items()} or {"remote": value})

    def _row(self, sample: Sample) -> dict[str, Any]:
        content = sample.prompt.content
        prompt = content if isinstance(content, str) else [{"role": m.role, "content": m.content} for m in content]
        row = {"id": sample.id, "prompt": prompt, "completion": sample.text, "finish": sample.finish}
        return row | ({"meta": dict(sample.prompt.meta)} if self.meta else {})

    def _numbers(self, found: Any, samples: Sequence[Sample], name: str) -> list[float]:
        if not isinstance(found, list) or len(found) != len(samples):
            count = f"{len(found)} values" if isinstance(found, list) else f"{found!r:.80}"
            raise self.service.broken(f"answered '{name}' with {count} for {len(samples)} answers")
        for sample, number in zip(samples, found, strict=True):
            usual = isinstance(number, int | float) and not isinstance(number, bool)
            if not usual or not math.isfinite(number) or abs(number) > torch.finfo(torch.float32).max:
                raise self.service.broken(f"answered '{name}' with {number!r:.80} for sample {sample.id}")
        return [float(number) for number in found]
