"""What models say and what other models say of it: answers, scores, perplexities; each kept as a finished part."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tutelage.data.pack import pack
from tutelage.data.template import Renderer
from tutelage.errors import UsageError
from tutelage.eval._parts import Parts, mark, model_mark, text_json
from tutelage.eval.likelihood import answer_logprobs
from tutelage.models.load import load_policy, load_scorer
from tutelage.models.policy import Engine
from tutelage.rewards import classical
from tutelage.sampling import Sampling
from tutelage.sampling.fast import Fast
from tutelage.types import Preference, Prompt, Sample, Text, plain

_AT_ONCE = 256
"""Answers in flight: fixed, so that rounding does not depend on the machine."""
_SCORED_AT_ONCE = 64
Advance = Callable[[int], None]


@dataclass(frozen=True)
class Answer:
    """One sampled answer with the very tokens that were drawn.

    Example:
        >>> answer.sample.text, answer.logprob
        ('The mayor opened a bridge.', -11.8)
    """

    sample: Sample
    tokens: tuple[int, ...]
    """prompt and answer"""
    prompt_tokens: int
    """how many of them are the prompt"""
    logprob: float
    """Σ log p of the answer's tokens under the model that drew them, at the sampling temperature"""
    vocabulary: str
    """hash of the model's vocabulary: token ids mean the same where it is the same"""

    @property
    def row(self) -> tuple[list[int], list[bool]]:
        """(token ids, mask) with the answer learned."""
        return list(self.tokens), [place >= self.prompt_tokens for place in range(len(self.tokens))]


@dataclass(frozen=True)
class Where:
    """Where and how models are computed.

    Example:
        >>> Where("cpu", "float32")
    """

    device: str = "auto"
    dtype: str = "auto"
    engine: Engine = "auto"
    say: Callable[[str], None] = field(default=lambda _: None, compare=False)
    """told what is not computed in the fastest way"""


def sample_answers(
    path: str,
    prompts: Sequence[Prompt],
    n: int,
    sampling: Sampling,
    seed: int,
    where: Where,
    parts: Parts,
    advance: Advance,
) -> list[Answer]:
    """`n` answers of the model `path` to each prompt; row i·n + j is answer j to prompt i.

    `advance(k)` is called when k more answers are there.

    Raises:
        UsageError: a prompt leaves no room for an answer.
    """
    asked = [[prompt.id, text_json(prompt.content)] for prompt in prompts]
    depends = [model_mark(path), asked, n, asdict(sampling), seed, where.dtype, where.engine]
    rows = parts.get("answers", depends, lambda: _draw(path, prompts, n, sampling, seed, where, advance))
    name = mark(depends)
    return [_answer(row, prompts[index // n], f"{prompts[index // n].id}/{name}/{index % n}", path, seed)
            for index, row in enumerate(rows)]  # fmt: skip


def _draw(
    path: str, prompts: Sequence[Prompt], n: int, sampling: Sampling, seed: int, where: Where, advance: Advance
) -> list[dict[str, Any]]:
    policy = load_policy(path, dtype=where.dtype, device=where.device, engine=where.engine)
    renderer = Renderer(policy.tokenizer)
    for prompt in prompts:
        _require_room(prompt, len(renderer.prompt(prompt.content)), policy.max_positions, sampling.max_new_tokens)
    sampler = Fast(renderer, sampling, slots=_AT_ONCE, say=where.say)
    about = {"vocabulary": _vocabulary(policy.tokenizer), "checkpoint": policy.digest()}
    per_round = max(1, _AT_ONCE // n)
    out: list[dict[str, Any]] = []
    for start in range(0, len(prompts), per_round):
        drawn = sampler.sample(policy, prompts[start : start + per_round], n, seed)
        sums = (drawn.logprobs.cpu() * drawn.batch.answer_mask.cpu()).sum(1).tolist()
        ends = drawn.batch.lengths.cumsum(0).tolist()
        learned, tokens = drawn.batch.answer_lengths.tolist(), drawn.batch.tokens.tolist()
        for sample, total, end, size, count in zip(
            drawn.samples, sums, ends, drawn.batch.lengths.tolist(), learned, strict=True
        ):
            row = {"text": sample.text, "finish": sample.finish, "logprob": total}
            out.append(row | about | {"tokens": tokens[end - size : end], "prompt_tokens": size - count})
        advance(len(drawn))
    return out


def _answer(row: dict[str, Any], prompt: Prompt, name: str, model: str, seed: int) -> Answer:
    sample = Sample(name, prompt, row["text"], row["finish"], model, seed, row.get("checkpoint", ""))
    return Answer(sample, tuple(row["tokens"]), row["prompt_tokens"], row["logprob"], row["vocabulary"])


def _require_room(prompt: Prompt, tokens: int, positions: int | None, wanted: int) -> None:
    if positions is not None and tokens + wanted > positions:
        raise UsageError(
            f"a prompt of {tokens} tokens and an answer of {wanted} do not fit the model's {positions} positions",
            where=f"prompt {prompt.id}",
            fix="lower --max-new-tokens, or shorten the prompt",
        )


def reference_logprobs(
    path: str, answers: Sequence[Answer], temperature: float, where: Where, parts: Parts
) -> list[float] | None:
    """Σ log p of each answer's own tokens under the model `path`; None where its vocabulary is another one."""

    def make() -> list[float] | None:
        policy = load_policy(path, dtype=where.dtype, device=where.device, engine=where.engine)
        if _vocabulary(policy.tokenizer) != answers[0].vocabulary:
            return None
        return [sum(line) for line in answer_logprobs(policy, [a.row for a in answers], temperature=temperature)]

    tokens = [[list(answer.tokens), answer.prompt_tokens] for answer in answers]
    return parts.get("reference", [model_mark(path), tokens, temperature, where.dtype, where.engine], make)


def base_logprobs(path: str, texts: Sequence[str], where: Where, parts: Parts) -> list[list[float]]:
    """log p of each token of each text but its first under the base model `path`, as documents without a prompt.

    The end token is left out: how an answer ends is not how the base's documents end.
    """

    def make() -> list[list[float]]:
        policy = load_policy(path, dtype=where.dtype, device=where.device, engine=where.engine)
        renderer = Renderer(policy.tokenizer)
        documents = [renderer.document(text)[:-1] for text in texts]
        long = [place for place, tokens in enumerate(documents) if len(tokens) > 1]
        rows = [(documents[place], [index > 0 for index in range(len(documents[place]))]) for place in long]
        found = dict(zip(long, answer_logprobs(policy, rows), strict=True)) if rows else {}
        return [found.get(place, []) for place in range(len(texts))]

    return parts.get("base", [model_mark(path), list(texts), where.dtype, where.engine], make)


def reward_scores(path: str, pairs: Sequence[tuple[Text, Text]], where: Where, parts: Parts) -> list[float]:
    """The reward model's score of each (prompt, answer)."""

    def make() -> list[float]:
        import torch

        if (folder := classical.folder_of(path)) is not None:
            said = [(plain(prompt), plain(answer)) for prompt, answer in pairs]
            return [float(value) for value in classical.Classical.load(folder).of(said)]
        scorer = load_scorer(path, dtype=where.dtype, device=where.device, engine=where.engine, head="trained")
        renderer = Renderer(scorer.tokenizer)
        out: list[float] = []
        with torch.no_grad():
            for start in range(0, len(pairs), _SCORED_AT_ONCE):
                some = pairs[start : start + _SCORED_AT_ONCE]
                encoded = [renderer.answer(prompt, answer, may_be_empty=True) for prompt, answer in some]
                out += scorer.scores(pack(encoded)).float().tolist()
        return out

    texts = [[text_json(prompt), text_json(answer)] for prompt, answer in pairs]
    return parts.get("reward", [model_mark(path), texts, where.dtype, where.engine], make)


def pair_margins(path: str, pairs: Sequence[Preference], where: Where, parts: Parts) -> list[float]:
    """score(chosen) - score(rejected) of each pair under the reward model `path`."""
    texts = [(pair.prompt, side) for pair in pairs for side in (pair.chosen, pair.rejected)]
    scores = reward_scores(path, texts, where, parts)
    return [chosen - rejected for chosen, rejected in zip(scores[::2], scores[1::2], strict=True)]


def _vocabulary(tokenizer: Any) -> str:
    words = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    return hashlib.sha256(repr(words).encode()).hexdigest()[:12]
