"""`tutelage rate project` and `rate select`: a project's settings, and which of its questions are asked next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from tutelage.cli._rate_export import check_project
from tutelage.cli._rate_project import tell_if_new
from tutelage.cli._ui import UI
from tutelage.config import Resolved
from tutelage.errors import DataError, UsageError

if TYPE_CHECKING:
    from tutelage.store.projects import ProjectSettings
    from tutelage.types import Comparison, Sample


@dataclass(frozen=True, kw_only=True)
class Project:
    """Show the settings of a project, or change some: gold_rate=0.05 quiz=10 selection=disagreement."""

    db: str
    """database of the ratings"""
    changes: tuple[str, ...] = ()
    """NAME=VALUE; lists with commas; without any, the settings are shown"""
    project: str = "default"
    """project, made when it is not there and something is set; not given: the only project there is"""
    positional: ClassVar[str] = "changes"


@dataclass(frozen=True, kw_only=True)
class Select:
    """Choose which pairs raters are asked next; a fifth at least stays random, every probability is stored."""

    db: str
    """database of the ratings"""
    project: str = "default"
    """project whose open pairs are the pool; not given: the only project there is"""
    reward: str = ""
    """folder of a reward model with several heads, or JSON lines of sample (or prompt, completion) and scores"""
    method: str = ""
    """random, disagreement, thompson; empty = the project's setting"""
    count: int = 100
    """pairs in the batch"""
    random_share: float = 0.0
    """share of the batch that is random, 0.2 at least; 0 = the project's setting"""
    seed: int = 0
    """same seed, same batch"""


def project(resolved: Resolved[Project], ui: UI) -> int:
    """Show or change what an admin can set on the settings page."""
    from tutelage.store.projects import Projects
    from tutelage.store.store import Store

    config = resolved.config
    with Store(config.db, create=bool(config.changes)) as store:
        projects = Projects(store.database)
        if not config.changes and config.project not in projects.names():
            check_project(store, config.project, config.db)
        told = projects.settings(config.project)
        if config.changes:
            tell_if_new(store, config.project, config.db, ui)
            told = changed(told, config.changes)
            _check_quiz(told.quiz, _golds(store, config.project))
            projects.change(config.project, told, actor="cli")
        golds = _golds(store, config.project)
    ui.table([{"setting": name, "value": value} for name, value in asdict(told).items()], f"project {config.project}")
    if told.quiz > golds or (told.gold_rate and not golds):
        ui.warn(f"there are {golds} gold questions for quiz and checks: `tutelage rate import --gold FILE` brings some")
    ui.result({"project": config.project, "gold_questions": golds, **asdict(told)})
    return 0


def _check_quiz(quiz: int, golds: int) -> None:
    """Refuse what the settings page refuses too: nobody could be asked so much."""
    if quiz > golds:
        fix = "`tutelage rate import --gold FILE` brings some; or a smaller quiz="
        raise UsageError(f"a quiz of {quiz} questions, and the project has {golds} gold questions", fix=fix)


def _golds(store: Any, project: str) -> int:
    from tutelage.store.decisions import Decisions

    return Decisions(store.database).golds(project)


def changed(settings: ProjectSettings, changes: Sequence[str]) -> ProjectSettings:
    """The settings with NAME=VALUE put in.

    Raises:
        UsageError: no such setting, or a value of another type.
        DataError: a value out of range.
    """
    known = {entry.name: vars(settings)[entry.name] for entry in fields(settings)}
    found: dict[str, Any] = {}
    for change in changes:
        name, equals, text = change.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or name not in known:
            raise UsageError(f"'{change}' sets nothing", fix=f"NAME=VALUE with one of: {', '.join(known)}")
        found[name] = _value(name, text.strip(), known[name])
    if "selection" in found:
        _check_method(found["selection"])
    return replace(settings, **found)


def _value(name: str, text: str, before: Any) -> Any:
    words = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
    try:
        if isinstance(before, bool):
            return words[text.lower()]
        if isinstance(before, tuple):
            return tuple(part.strip() for part in text.split(",") if part.strip())
        return type(before)(text)
    except (KeyError, ValueError) as error:
        number = "a whole number" if isinstance(before, int) else "a number"
        wanted = "yes or no" if isinstance(before, bool) else number
        raise UsageError(f"{name}={text} cannot be read: '{text}' is not {wanted}") from error


def _check_method(name: str) -> None:
    from tutelage import registry

    if name not in registry.names("statistics/selection"):
        choices = ", ".join(registry.names("statistics/selection"))
        raise UsageError(f"'{name}' is no way to select", fix=f"choices: {choices}")


def select(resolved: Resolved[Select], ui: UI) -> int:
    """Choose a batch from the open pairs; the scores of a reward model are worked out here, not on the server."""
    from tutelage.labelers._choosing import choose, saving
    from tutelage.store.choosing import Choosing
    from tutelage.store.projects import Projects
    from tutelage.store.store import Store

    config = resolved.config
    if config.count < 1:
        raise UsageError(f"count {config.count}: one pair at least")
    with Store(config.db, create=False) as store:
        check_project(store, config.project, config.db)
        told = Projects(store.database).settings(config.project)
        method = config.method or told.selection
        _check_method(method)
        scores: Mapping[str, Sequence[float]] = {}
        if method != "random":
            if not config.reward:
                raise UsageError(f"'{method}' goes by the heads of a reward model", fix="give --reward MODEL or a file")
            scores = head_scores(config.reward, Choosing(store.database).pool(config.project))
        share = config.random_share or told.random_share
        done = choose(store, config.project, method, config.count, scores=scores, random_share=share, seed=config.seed)
        gain = saving(store, config.project)
    ui.say(
        f"batch {done['batch']}: {done['active']} pairs by {method} and {done['random']} at random, "
        f"of {done['pool']} in the pool"
    )
    if told.selection == "random" and method != "random":
        ui.warn("the project's selection is still `random`: pairs outside this batch follow after it without a choice")
    if done["batch"]:
        ui.say(f"labels saved against random so far: {gain.saving}")
    if method != "random" and gain.why:
        ui.warn(f"choosing at random may do as well: {gain.why}")
    ui.result({"project": config.project, **done, "saving": str(gain.saving), "still_random": gain.why})
    return 0


def head_scores(reward: str, pool: Sequence[Comparison]) -> dict[str, list[float]]:
    """sample id → the score by each head, of a model folder or a file."""
    said = {sample.id: sample for comparison in pool for sample in comparison.candidates}
    if Path(reward).is_dir():
        return _by_model(reward, list(said.values()))
    from tutelage.data.jsonl import read
    from tutelage.types import plain

    by_text = {(plain(sample.prompt.content), sample.text): name for name, sample in said.items()}
    found: dict[str, list[float]] = {}
    for row in read(reward):
        told = row.data.get("scores")
        key = (str(row.data.get("prompt", "")), str(row.data.get("completion", "")))
        name = str(row.data.get("sample", "")) or by_text.get(key, "")
        if not isinstance(told, list) or not told or any(isinstance(value, bool) for value in told):
            raise DataError("'scores' is no list of numbers, one for each head", where=row.where)
        try:
            found[name] = [float(value) for value in told]
        except (TypeError, ValueError) as error:
            raise DataError("'scores' holds something else than numbers", where=row.where) from error
    return found


def _by_model(reward: str, samples: Sequence[Sample]) -> dict[str, list[float]]:
    import torch

    from tutelage.data.pack import pack
    from tutelage.data.template import Renderer
    from tutelage.models.load import load_scorer

    scorer = load_scorer(reward, head="trained")
    if scorer.heads.ensemble < 2:
        raise UsageError(
            "this reward model has one head and cannot disagree with itself",
            where=reward,
            fix="train it with `tutelage reward --ensemble 4`",
        )
    renderer = Renderer(scorer.tokenizer)
    found: dict[str, list[float]] = {}
    with torch.no_grad():
        for start in range(0, len(samples), 32):
            some = samples[start : start + 32]
            encoded = [renderer.answer(one.prompt.content, one.text, may_be_empty=True) for one in some]
            members = scorer.heads.members(scorer.labels(pack(encoded)).float().cpu())
            found.update((one.id, [float(value) for value in row]) for one, row in zip(some, members, strict=True))
    return found
