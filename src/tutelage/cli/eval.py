"""Measure a model, and compare it blindly with another: quality, win rate, fluency, variety, distance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from tutelage.cli._ui import UI
from tutelage.config import Resolved
from tutelage.errors import UsageError
from tutelage.types import Judgement, Prompt

if TYPE_CHECKING:
    from tutelage.eval._base import Measure
    from tutelage.eval._measures import Side
    from tutelage.eval._parts import Parts
    from tutelage.eval.answers import Answer, Where


@dataclass(frozen=True, kw_only=True)
class Config:
    model: str
    """folder or hub id of the model to measure"""
    data: str
    """held-out prompts: JSONL or Parquet; columns `reference` (to compare with) and `lang` (else guessed) are used"""
    out: Path
    """folder for eval.json, summary.json, answers.jsonl, judgements.jsonl; the same command goes on where it stopped"""
    baseline: str = ""
    """model to compare with: before training, and the reference of the KL"""
    taste: str = ""
    """hidden taste to measure both by: a name in data/sources, or package.module:function"""
    reward: str = ""
    """reward model that scores the answers"""
    pairs: str = ""
    """held-out preference pairs: the accuracy of --reward on them, beside that of length alone"""
    train_pairs: str = ""
    """pairs that --reward was trained on: the length-only rule takes its direction from them"""
    db: str = ""
    """rating database that --reward was trained from: the agreement of its raters is the ceiling of its accuracy"""
    project: str = "default"
    """project in that database"""
    base: str = ""
    """pretrained model under which the fluency (perplexity) of the answers is measured"""
    raters: str = ""
    """simulated raters for the blind comparison, such as fresh:5; they judge by --taste"""
    n: int = 1
    """answers per prompt"""
    seed: int = 0
    """of sampling, of the raters and of the intervals"""
    limit: int = 0
    """take only the first prompts; 0 = all"""
    max_new_tokens: int = 64
    """longest answer, in tokens"""
    temperature: float = 1.0
    """at which answers are sampled, and the KL is measured"""
    greedy: bool = False
    """always take the likeliest token (no KL then)"""
    on_bad: Literal["error", "skip"] = "error"
    """what to do with rows that cannot be used: stop, or leave them out and say how many"""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """of matrix products"""
    engine: Literal["auto", "fast", "plain"] = "auto"
    """how answers are sampled: by our own decoder in C++ where it knows the model (auto; fast: or not at all), or by
    PyTorch (plain), to the same distribution but for rounding"""
    device: str = "auto"
    """cpu, cuda … ; auto = the accelerator where there is one"""
    handles_dry_run: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.n < 1 or self.limit < 0 or self.seed < 0:
            raise UsageError("n must be at least 1, limit and seed at least 0")
        if self.raters and not (self.baseline and self.taste):
            raise UsageError("a blind comparison needs two models and a taste", fix="give --baseline and --taste too")
        if self.baseline and self.baseline == self.model:
            raise UsageError("--model and --baseline are the same", fix="name the model from before training")
        if self.reward.split(":")[0].split("?")[0].split("#")[0] in ("human", "people"):
            raise UsageError(
                f"--reward {self.reward}: people are asked about the answers of training steps only",
                fix="a reward model trained on what they said; or let them compare the models' answers on the rating "
                "pages (`tutelage rate serve`)",
            )
        if self.pairs and not self.reward:
            raise UsageError("--pairs measures a reward model", fix="give --reward too")
        if self.train_pairs and not self.pairs:
            raise UsageError("--train-pairs belongs to --pairs", fix="give --pairs too")


def run(resolved: Resolved[Config], ui: UI) -> int:
    """Answer, score, compare, write down."""
    from tutelage.eval._parts import Parts

    config = resolved.config
    prompts = _load(config, config.data, "prompt", ui)
    prompts = prompts[: config.limit] if config.limit else prompts
    if ui.dry_run:
        ui.say(f"{len(prompts)} prompts × {config.n} answers by {config.model} would be measured into {config.out}")
        return 0
    _make_folder(config.out)
    parts, notes = Parts(config.out / "parts"), list[str]()
    measures, content = _measure(config, prompts, parts, notes, ui)
    _write(config, prompts, measures, content, notes)
    for note in notes:
        ui.warn(note)
    _show(measures, ui)
    ui.say(f"{config.out / 'eval.json'}")
    ui.result({"out": str(config.out), **content["summary"]})
    return 0


def _measure(
    config: Config, prompts: Sequence[Prompt], parts: Parts, notes: list[str], ui: UI
) -> tuple[dict[str, Measure], dict[str, Any]]:
    from tutelage.eval._measures import answer_rows, gains, side_measures, summary
    from tutelage.eval.answers import Where

    where = Where(config.device, config.dtype, config.engine, ui.say)
    after = _answers(config, config.model, prompts, where, parts, ui)
    before = _answers(config, config.baseline, prompts, where, parts, ui) if config.baseline else []
    sides = [_side(config, answers, where, parts) for answers in (after, before) if answers]
    measures = {f"model/{name}": one for name, one in side_measures(sides[0]).items()}
    if before:
        measures |= {f"baseline/{name}": one for name, one in side_measures(sides[1]).items()}
        measures |= {f"gain/{name}": one for name, one in gains(sides[1], sides[0]).items()}
        measures |= _distance(config, after, where, parts, notes)
    told: list[dict[str, Any]] = []
    if config.raters:
        found, told = _compare(config, after, before, ui)
        measures |= found
    if config.pairs:
        measures |= _reward_model(config, where, parts, ui)
    if config.db:
        measures |= _ceiling(config)
    rows = answer_rows(sides[0], sides[1] if before else None)
    return measures, {"summary": summary(measures) | {"seed": config.seed}, "answers": rows, "judgements": told}


def _answers(config: Config, path: str, prompts: Sequence[Prompt], where: Where, parts: Parts, ui: UI) -> list[Answer]:
    from tutelage.eval.answers import sample_answers
    from tutelage.sampling import Sampling

    sampling = Sampling(max_new_tokens=config.max_new_tokens, temperature=config.temperature, greedy=config.greedy)
    with ui.progress(f"sampling {path}", len(prompts) * config.n) as bar:
        return sample_answers(path, prompts, config.n, sampling, config.seed, where, parts, bar.advance)


def _side(config: Config, answers: Sequence[Answer], where: Where, parts: Parts) -> Side:
    from tutelage.data.taste import named_taste
    from tutelage.eval._measures import Side
    from tutelage.eval.answers import base_logprobs, reward_scores

    samples = [answer.sample for answer in answers]
    scores: dict[str, Sequence[float]] = {}
    if config.taste:
        taste = named_taste(config.taste)
        scores["gold"] = [float(taste(sample.prompt.meta, sample.text)["overall"]) for sample in samples]
    if config.reward:
        texts = [(sample.prompt.content, sample.text) for sample in samples]
        scores["reward"] = reward_scores(config.reward, texts, where, parts)
    base = base_logprobs(config.base, [sample.text for sample in samples], where, parts) if config.base else None
    return Side(samples, scores, base)


def _distance(
    config: Config, after: Sequence[Answer], where: Where, parts: Parts, notes: list[str]
) -> dict[str, Measure]:
    from tutelage.eval._measures import sequence_kl
    from tutelage.eval.answers import reference_logprobs

    if config.greedy:
        notes.append("no KL: it is measured on sampled answers, not on greedy ones")
        return {}
    reference = reference_logprobs(config.baseline, after, config.temperature, where, parts)
    if reference is None:
        notes.append("no KL: the two models have different vocabularies")
        return {}
    prompts = [answer.sample.prompt.id for answer in after]
    return {"kl": sequence_kl([answer.logprob for answer in after], reference, prompts)}


def _compare(
    config: Config, after: Sequence[Answer], before: Sequence[Answer], ui: UI
) -> tuple[dict[str, Measure], list[dict[str, Any]]]:
    """Raters judge pairs through a database in the folder; what they said before an interruption is kept."""
    from tutelage.data.taste import named_taste
    from tutelage.eval import winrate
    from tutelage.labelers.simulated import Simulated, raters
    from tutelage.store.store import Store

    people = raters(config.raters, config.seed)
    labeler = Simulated(people, named_taste(config.taste), config.seed)
    pairs = [(new.sample, old.sample) for new, old in zip(after, before, strict=True)]
    asked = winrate.questions(pairs, seed=config.seed)
    project = f"eval-{asked[0].id}-{len(asked)}-{config.raters}-{config.taste}"
    with Store(config.out / "ratings.db") as store, ui.progress("judging", len(asked) * len(people)) as bar:
        store.ask(asked, project, overlap=len(people))
        done = 0

        def advance(given: int, _: int) -> None:
            nonlocal done
            bar.advance(given - done)
            done = given

        labeler.label(store, project, advance)
        judged = store.judgements(project)
    found = winrate.win_rate(asked, judged, config.model, seed=config.seed)
    measures = {"win_rate": found.rate, "win_rate/other_raters": found.by_rater_and_prompt, "left": found.left}
    measures |= {f"rater/{name}": one for name, one in found.raters.items()} | _agreement(judged)
    return measures, winrate.told(asked, judged)


def _ceiling(config: Config) -> dict[str, Measure]:
    """How often two raters of the database order the same two answers alike."""
    from tutelage.store.store import Store

    with Store(config.db, create=False) as store:
        found = _agreement(store.judgements(config.project)).get("agreement")
    return {} if found is None else {"rater_agreement": found}


def _agreement(judged: Sequence[Judgement]) -> dict[str, Measure]:
    """Of pairs and rankings, where both raters preferred one of two answers: a tie says nothing about who is right."""
    from itertools import combinations

    from tutelage.eval._base import Measure
    from tutelage.statistics.agreement import percent_agreement, shared_items

    rows = [
        ((one.comparison, first, second), one.rater, float(one.ranks[first] < one.ranks[second]))
        for one in judged
        for first, second in combinations(range(len(one.ranks)), 2)
        if one.ranks[first] != one.ranks[second]
    ]
    found = percent_agreement(rows)
    if found is None:
        return {}
    how = "pairs of raters who order two answers alike, ties left out; bootstrap over pairs of answers"
    return {"agreement": Measure(found.value, found.low, found.high, shared_items(rows), how)}


def _reward_model(config: Config, where: Where, parts: Parts, ui: UI) -> dict[str, Measure]:
    from tutelage.eval._base import Measure
    from tutelage.eval.answers import pair_margins
    from tutelage.eval.preference import accuracy, calibration, length_only

    pairs = _load(config, config.pairs, "preference", ui)
    train = _load(config, config.train_pairs, "preference", ui) if config.train_pairs else None
    margins = pair_margins(config.reward, pairs, where, parts)
    groups = [pair.group or index for index, pair in enumerate(pairs)]
    how = "mean |confidence - accuracy| of sigmoid(margin) over 10 bins"
    return {
        "reward_accuracy": accuracy(margins, groups),
        "length_only_accuracy": length_only(pairs, train),
        "reward_ece": Measure(calibration(margins).ece, n=len(margins), how=how),
    }


def _load(config: Config, paths: str, kind: Literal["prompt", "preference"], ui: UI) -> list[Any]:
    from tutelage.data import formats

    loaded = formats.load(paths, kind, on_bad=config.on_bad)
    for note in loaded.report.notes:
        ui.say(note)
    return loaded.rows


def _make_folder(out: Path) -> None:
    from tutelage.errors import CannotCreateError
    from tutelage.train.durable import guarded

    if out.exists() and not out.is_dir():
        raise CannotCreateError("this is a file, not a folder", where=str(out), fix="choose another --out")
    with guarded(out):
        out.mkdir(parents=True, exist_ok=True)


def _write(
    config: Config, prompts: Sequence[Prompt], measures: dict[str, Measure], content: dict[str, Any], notes: list[str]
) -> None:
    from tutelage.eval._parts import lines, write_whole
    from tutelage.train.durable import guarded, write_json

    settings = {key: str(value) if isinstance(value, Path) else value for key, value in asdict(config).items()}
    with guarded(config.out):
        write_whole(config.out / "answers.jsonl", lines(content["answers"]))
        write_whole(config.out / "judgements.jsonl", lines(content["judgements"]))
    written = {name: one.as_json() for name, one in measures.items()}
    result = {"version": 1, **settings, "prompts": len(prompts), "summary": content["summary"], "measures": written}
    write_json(config.out / "summary.json", content["summary"])
    write_json(config.out / "eval.json", result | {"notes": notes})


def _show(measures: dict[str, Measure], ui: UI) -> None:
    names = dict.fromkeys(name.partition("/")[2] for name in measures if name.startswith("model/"))
    rows = [
        {"measure": name}
        | {column: _cell(measures.get(f"{side}/{name}")) for side, column in _COLUMNS.items() if _has(measures, side)}
        for name in names
    ]
    single = [name for name in measures if not name.startswith((*(f"{side}/" for side in _COLUMNS), "rater/"))]
    ui.table(rows + [{"measure": name, "after": _cell(measures[name])} for name in single], "95% intervals in brackets")


_COLUMNS = {"baseline": "before", "model": "after", "gain": "change"}


def _has(measures: dict[str, Measure], side: str) -> bool:
    return any(name.startswith(f"{side}/") for name in measures)


def _cell(one: Measure | None) -> str:
    if one is None:
        return ""
    return f"{one.value:.4g}" + ("" if one.low is None else f" [{one.low:.4g}, {one.high:.4g}]")
