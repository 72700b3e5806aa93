"""Let a model answer prompts, several times each: to a JSONL file, and as questions into the rating database."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from tutelage.cli._rate_project import only_project, tell_if_new
from tutelage.cli._ui import UI
from tutelage.config import Resolved
from tutelage.errors import DataError, UsageError
from tutelage.types import Prompt, Sample

if TYPE_CHECKING:
    from tutelage.cli._answers import Draft

_AT_ONCE = 256
"""answers in flight; part of the results' definition only through float rounding, so it is the same for all who do not
ask for another"""


@dataclass(frozen=True, kw_only=True)
class Config:
    model: str
    """folder or hub id of the model that answers"""
    data: str
    """prompts: JSONL or Parquet, several joined by commas"""
    out: Path
    """file for the answers, one JSON object per line"""
    n: int = 1
    """answers per prompt"""
    best_of: int = 0
    """draw so many answers per prompt and keep the best by --reward, which stands in the row; 0 = keep all"""
    reward: str = ""
    """what --best-of goes by: any name that the training commands' --reward takes"""
    seed: int = 0
    """an answer depends on the seed, its prompt's id and its number only"""
    limit: int = 0
    """take only the first prompts; 0 = all"""
    max_new_tokens: int = 64
    """longest answer, in tokens"""
    temperature: float = 1.0
    """1 = as trained; lower is safer, higher is wilder"""
    top_p: float = 1.0
    """draw from the smallest set of tokens with this much probability"""
    top_k: int = 0
    """draw from the k likeliest tokens; 0 = all"""
    greedy: bool = False
    """always take the likeliest token"""
    max_length: int = 0
    """longest prompt and answer together, in tokens; 0 = what the model can take"""
    on_bad: Literal["error", "skip"] = "error"
    """what to do with rows that cannot be used: stop, or leave them out and say how many"""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """of matrix products"""
    in_flight: int = 0
    """answers drawn at a time, after which they are on the disk; fewer take less memory and more time; 0 = 256"""
    engine: Literal["auto", "fast", "plain"] = "auto"
    """how answers are sampled: by our own decoder in C++ where it knows the model (auto; fast: or not at all), or by
    PyTorch (plain), to the same distribution but for rounding"""
    device: str = "auto"
    """cpu, cuda … ; auto = the accelerator where there is one"""
    db: str = ""
    """rating database to put the answers into as questions (as `rate` does)"""
    project: str = "default"
    """project in that database; not given: the only one there is"""
    kinds: tuple[Literal["pair", "ranking", "scores"], ...] = ("pair",)
    """kinds of questions to ask there"""
    overlap: int = 1
    """raters per question there"""
    handles_dry_run: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.n < 1 or min(self.limit, self.seed, self.best_of, self.in_flight) < 0:
            raise UsageError("n must be at least 1, limit, seed, best_of and in_flight at least 0")
        if bool(self.best_of) != bool(self.reward) or (self.best_of and self.n > 1):
            raise UsageError("--best-of keeps one answer, by --reward", fix="--best-of 8 --reward NAME, without --n")
        if self.out.suffix != ".jsonl":
            raise UsageError(f"--out {self.out} must end in .jsonl")
        if self.db and self.n < 2 and set(self.kinds) != {"scores"}:
            raise UsageError("one answer per prompt leaves nothing to compare", fix="--n 2 or more, or --kinds scores")


@only_project
def run(resolved: Resolved[Config], ui: UI) -> int:
    """Sample what is not there yet, then ask about it."""
    from tutelage.cli._answers import Draft, fingerprint, finished, weights_of

    config = resolved.config
    prompts = _prompts(config, ui)
    settings = {name: value for name, value in asdict(config).items() if name in _DECISIVE}
    settings |= {"best_of": config.best_of, "reward": config.reward} if config.best_of else {}
    settings |= {"in_flight": config.in_flight} if config.in_flight else {}
    mark = fingerprint(config.model, weights_of(config.model), prompts, settings)
    if ui.dry_run:
        kept = f"the best of {config.best_of} answers" if config.best_of else f"{config.n} answers"
        ui.say(f"{len(prompts)} prompts × {kept} by {config.model} would go to {config.out}")
        return 0
    count = len(prompts) * config.n
    if finished(config.out, mark, count):
        ui.say(f"already complete: {config.out}")
    else:
        with Draft(config.out, mark).opened() as draft:
            _draw(config, prompts, draft, ui)
            draft.finish()
    outcome = _summary(config.out)
    if config.db:
        outcome["questions"] = _ask(config, prompts, ui)
    shown = ", ".join(
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}" for name, value in outcome.items()
    )
    ui.say(f"{config.out}: {shown}")
    ui.result({"out": str(config.out), **outcome})
    return 0


_DECISIVE = (
    "n",
    "best_of",
    "reward",
    "seed",
    "max_new_tokens",
    "temperature",
    "top_p",
    "top_k",
    "greedy",
    "max_length",
    "dtype",
)


_SHARED = ("model", "data", "reward", "seed", "dtype", "device", "engine", "max_new_tokens", "temperature", "on_bad")
"""settings that mean the same to the training commands, whose way to a reward is taken"""
_ANY_LENGTH = 2**31


def _prompts(config: Config, ui: UI) -> Sequence[Prompt]:
    from tutelage.data import formats

    loaded = formats.load(config.data, "prompt", on_bad=config.on_bad)
    for note in loaded.report.notes:
        ui.say(note)
    return loaded[: config.limit] if config.limit else loaded


def _draw(config: Config, prompts: Sequence[Prompt], draft: Draft, ui: UI) -> None:
    from tutelage.cli._answers import called, row_of
    from tutelage.data.template import Renderer
    from tutelage.models.load import load_policy
    from tutelage.sampling import Sampling
    from tutelage.sampling.fast import Fast

    policy = load_policy(config.model, dtype=config.dtype, device=config.device, engine=config.engine)
    for note in policy.notes:
        ui.say(f"{config.model}: {note}")
    renderer = Renderer(policy.tokenizer)
    _check_room(
        config, {prompt.id: len(renderer.prompt(prompt.content)) for prompt in prompts}, policy.max_positions or 0
    )
    sampling = Sampling(
        max_new_tokens=config.max_new_tokens,
        temperature=config.temperature,
        top_p=config.top_p,
        top_k=config.top_k,
        greedy=config.greedy,
    )
    slots, drawn = config.in_flight or _AT_ONCE, config.best_of or config.n
    sampler, at_once = Fast(renderer, sampling, slots=slots, say=ui.say), max(1, slots // drawn)
    best = _best(config, ui) if config.best_of else None
    first = draft.done // (at_once * config.n) * at_once  # whole rounds only: a round is drawn as it was the first time
    if draft.foreign:
        ui.warn(f"{draft.path} was begun with another model, data or settings; starting anew")
    if draft.done:
        ui.say(f"going on after {draft.done} answers")
    wrote = policy.digest()
    who = {"model": called(config.model, wrote), "checkpoint": wrote}
    with ui.progress("sampling", len(prompts) * config.n) as bar:
        bar.advance(first * config.n)
        for start in range(first, len(prompts), at_once):
            asked = prompts[start : start + at_once]
            answered = sampler.sample(policy, asked, drawn, config.seed).samples
            named = [
                replace(sample, id=f"{sample.prompt.id}/{draft.run}/{index % drawn}", **who)  # as no other model's
                for index, sample in enumerate(answered)
            ]
            kept = best(named) if best else [(sample, {}) for sample in named]
            rows = [row_of(sample, draft.run) | more for sample, more in kept]
            draft.append(rows[draft.done - start * config.n :])
            bar.advance(len(rows))


def _best(config: Config, ui: UI) -> Callable[[Sequence[Sample]], list[tuple[Sample, dict[str, float]]]]:
    """Of each prompt's answers the best by the reward, with its score; among equals the lot decides."""
    import torch

    from tutelage.algorithms._online import OnlineConfig
    from tutelage.build import Toolbox
    from tutelage.ops.best_of import pick
    from tutelage.ops.seeds import derive

    shared = {name: getattr(config, name) for name in _SHARED}
    asked = OnlineConfig(**shared, max_length=config.max_length or _ANY_LENGTH)
    source = Toolbox(asked, config.out.parent, ui.say, warn=ui.warn).reward

    def best(samples: Sequence[Sample]) -> list[tuple[Sample, dict[str, float]]]:
        scores = source.score(samples).value.view(-1, config.best_of)
        draw = torch.Generator().manual_seed(derive(config.seed, samples[0].prompt.id, "ties"))
        chosen = pick(scores, torch.rand(scores.shape, generator=draw).to(scores)).tolist()
        return [
            (samples[row * config.best_of + place], {"reward": float(scores[row, place])})
            for row, place in enumerate(chosen)
        ]

    return best


def _check_room(config: Config, tokens: Mapping[str, int], positions: int) -> None:
    limit = config.max_length or positions
    long = [name for name, count in tokens.items() if limit and count + config.max_new_tokens > limit]
    if long:
        raise DataError(
            f"{len(long)} of {len(tokens)} prompts are too long, such as '{long[0]}' with {tokens[long[0]]} tokens: "
            f"with {config.max_new_tokens} of answer that is more than {limit}",
            where=config.data,
            fix="lower --max-new-tokens, shorten the prompts, or raise --max-length if the model can take it",
        )


def _summary(out: Path) -> dict[str, int | float]:
    from tutelage.data import jsonl

    rows = [row.data for row in jsonl.read(out)]
    stopped = sum(row["finish"] == "stop" for row in rows)
    return {
        "answers": len(rows),
        "stop_rate": stopped / len(rows),
        "characters": sum(len(r["completion"]) for r in rows) / len(rows),
    } | ({"reward": sum(row["reward"] for row in rows) / len(rows)} if "reward" in rows[0] else {})


def _ask(config: Config, prompts: Sequence[Prompt], ui: UI) -> int:
    """Put the answers into the database as questions; the ones that are there already are left alone."""
    from tutelage.data import jsonl
    from tutelage.labelers._pairing import Pairing, questions
    from tutelage.store.rows import sample_of
    from tutelage.store.store import Store

    by_id = {prompt.id: prompt for prompt in prompts}
    rows = (line.data for line in jsonl.read(config.out))
    samples = [sample_of(row | {"text": row["completion"]}, by_id[row["prompt_id"]]) for row in rows]
    made = questions(samples, config.project, Pairing(kinds=config.kinds, seed=config.seed))
    for reason, count in made.notes.items():
        ui.say(f"not asked about: {count} {reason}")
    with Store(config.db) as store:
        tell_if_new(store, config.project, config.db, ui)
        return store.ask(made.comparisons, project=config.project, overlap=config.overlap)
