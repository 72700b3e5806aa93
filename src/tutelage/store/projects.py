"""How a project is rated: its settings, and its rubric (guidelines and aspects) in numbered versions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import sqlalchemy as sa

from tutelage.errors import DataError
from tutelage.store.audit import note
from tutelage.store.engine import Database
from tutelage.store.schema import questions, rubrics, settings
from tutelage.types import QuestionKind

FLAGS = ("unsafe", "off_topic", "cannot_judge")
KINDS: tuple[QuestionKind, ...] = ("pair", "ranking", "scores", "best", "edit")
Wording = Mapping[str, str]
"""language → text"""


@dataclass(frozen=True)
class ProjectSettings:
    """What an admin chooses; the newest row in the database is in force."""

    title: str = ""
    kinds: tuple[QuestionKind, ...] = ("pair",)
    """kinds of task that imported answers are made into"""
    overlap: int = 3
    lease_seconds: float = 900.0
    goal: int = 50
    """tasks a day"""
    tie: bool = True
    both_bad: bool = True
    strength: int = 3
    """levels of how much better; 0 = not asked"""
    comment: bool = True
    flags: tuple[str, ...] = FLAGS
    gold_rate: float = 0.0
    repeat_rate: float = 0.0
    selection: str = "random"
    random_share: float = 0.2
    """of each batch, whatever the selection"""
    budget: int = 0
    """judgements in all, checks not counted; 0 = no limit"""
    quiz: int = 0
    """questions with a known answer that a newcomer is given before all others; 0 = none"""
    pass_mark: float = 0.8
    """share of them that must be right"""
    open: bool = True
    """tasks are handed out"""

    def __post_init__(self) -> None:
        ranges = {
            "overlap": (1 <= self.overlap <= 100, "1 to 100"),
            "lease_seconds": (30 <= self.lease_seconds <= 86400, "30 to 86400"),
            "goal": (0 <= self.goal <= 100_000, "0 to 100000"),
            "strength": (0 <= self.strength <= 9, "0 to 9"),
            "gold_rate": (0 <= self.gold_rate <= 0.5, "0 to 0.5"),
            "repeat_rate": (0 <= self.repeat_rate <= 0.5, "0 to 0.5"),
            "random_share": (0.2 <= self.random_share <= 1, "0.2 to 1"),
            "budget": (self.budget >= 0, "0 or more"),
            "quiz": (0 <= self.quiz <= 100, "0 to 100"),
            "pass_mark": (0 <= self.pass_mark <= 1, "0 to 1"),
            "kinds": (bool(self.kinds) and set(self.kinds) <= set(KINDS), f"some of {', '.join(KINDS)}"),
            "flags": (set(self.flags) <= set(FLAGS), f"some of {', '.join(FLAGS)}, or none"),
            "title": (len(self.title) <= 200, "200 letters at most"),
        }
        wrong = [f"{name} ({wanted})" for name, (right, wanted) in ranges.items() if not right]
        if wrong:
            raise DataError(f"settings out of range: {'; '.join(wrong)}")


@dataclass(frozen=True)
class Aspect:
    """Something that is scored.

    Example:
        >>> Aspect("faithful", {"en": "Faithful", "zh": "忠实"}, anchors={"0": {"en": "Wrong throughout"}})
    """

    name: str
    label: Wording = field(default_factory=dict[str, str])
    scale: tuple[float, float] = (0.0, 5.0)
    step: float = 1.0
    anchors: Mapping[str, Wording] = field(default_factory=dict[str, Wording])
    """point of the scale → what it means"""

    def __post_init__(self) -> None:
        low, high = self.scale
        if not self.name or not high > low or not 0 < self.step <= high - low:
            raise DataError(f"aspect {self.name!r}: scale {low:g} to {high:g} in steps of {self.step:g}")


@dataclass(frozen=True)
class Rubric:
    """What raters are told; every judgement carries its version."""

    version: int = 0
    """0: nothing was written yet"""
    guidelines: Wording = field(default_factory=dict[str, str])
    """language → Markdown"""
    aspects: tuple[Aspect, ...] = ()
    actor: str = ""
    created: float = 0.0

    def aspect(self, name: str, scale: tuple[float, float]) -> Aspect:
        """The wording of an aspect; one that the rubric does not know is called by its name."""
        known = next((aspect for aspect in self.aspects if aspect.name == name), Aspect(name, scale=scale))
        return known if known.scale == scale else Aspect(name, known.label, scale)


class OvertakenError(DataError):
    """Somebody else has published since the version that this one was made from."""


class Projects:
    """Settings and rubrics of all projects.

    Example:
        >>> Projects(store.database).settings("news").overlap
        3
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def names(self) -> list[str]:
        """Every project that has questions or settings, sorted."""
        with self._database.reading() as connection:
            asked = _asked(connection)
            told = connection.execute(sa.select(settings.c.project).distinct()).scalars().all()
        return sorted({*asked, *told})

    def kinds(self, project: str) -> list[str]:
        """The kinds of task that its questions are, sorted."""
        there = sa.select(sa.literal(1)).where(questions.c.project == project, questions.c.kind == sa.bindparam("kind"))
        with self._database.reading() as connection:  # one step in an index for each, not one for each question
            return sorted(kind for kind in KINDS if connection.execute(there.limit(1), {"kind": kind}).first())

    def settings(self, project: str) -> ProjectSettings:
        """What is in force now; defaults for a project that nobody has set up."""
        with self._database.reading() as connection:
            return settings_in(connection, project)

    def levels(self, project: str) -> int:
        """The most levels of strength that were ever in force: pages of before the last change may still send them."""
        query = sa.select(settings.c.content).where(settings.c.project == project)
        with self._database.reading() as connection:
            found = [settings_of(content).strength for content in connection.execute(query).scalars()]
        return max(found, default=ProjectSettings().strength)

    def change(self, project: str, chosen: ProjectSettings, *, actor: str) -> None:
        """Put settings in force."""
        if not project or len(project) > 80 or not project.isprintable() or "/" in project:
            raise DataError(f"{project[:80]!r} cannot name a project", fix="1 to 80 printable characters without /")
        with self._database.writing() as connection:
            before, after = asdict(settings_in(connection, project)), asdict(chosen)
            now = self._database.now(connection)
            row = {"project": project, "content": after, "actor": actor, "created": now}
            connection.execute(sa.insert(settings).values(row))
            changed = [name for name in after if before[name] != after[name]]
            old, new = ({name: values[name] for name in changed} for values in (before, after))
            note(connection, now, actor, "change settings", project, before=old, after=new)

    def rubric(self, project: str, version: int | None = None) -> Rubric:
        """The newest version, or the one of that number; version 0 where nothing was written.

        Raises:
            DataError: there is no such version.
        """
        query = sa.select(rubrics).where(rubrics.c.project == project).order_by(rubrics.c.version.desc())
        if version is not None:
            query = query.where(rubrics.c.version == version)
        with self._database.reading() as connection:
            row = connection.execute(query.limit(1)).mappings().first()
        if row is None and version:
            raise DataError(f"project {project!r} has no rubric of version {version}")
        return rubric_of(row) if row is not None else Rubric()

    def rubrics(self, project: str) -> list[Rubric]:
        """All versions, newest first."""
        query = sa.select(rubrics).where(rubrics.c.project == project).order_by(rubrics.c.version.desc())
        with self._database.reading() as connection:
            return [rubric_of(row) for row in connection.execute(query).mappings()]

    def publish(
        self,
        project: str,
        guidelines: Wording,
        aspects: tuple[Aspect, ...],
        *,
        actor: str,
        base: int | None = None,
    ) -> Rubric:
        """Put a new version in force; tasks handed out from now on are judged by it. Unchanged, nothing is added.

        Args:
            base: version that this one was made from; None: whatever is in force.

        Raises:
            OvertakenError: another one is in force than `base`.
        """
        content = {"guidelines": dict(guidelines), "aspects": [asdict(aspect) for aspect in aspects]}
        query = sa.select(rubrics).where(rubrics.c.project == project).order_by(rubrics.c.version.desc())
        with self._database.writing() as connection:  # looked at here: two who publish at once come one after the other
            row = connection.execute(query.limit(1)).mappings().first()
            newest = rubric_of(row) if row is not None else Rubric()
            if newest.version and newest.guidelines == dict(guidelines) and newest.aspects == aspects:
                return newest
            if base is not None and base != newest.version:
                raise OvertakenError(f"version {newest.version} is in force, not {base}", fix="look at it first")
            now, version = self._database.now(connection), newest.version + 1
            row = {"project": project, "version": version, "content": content, "actor": actor, "created": now}
            connection.execute(sa.insert(rubrics).values(row))
            note(connection, now, actor, "publish rubric", project, after={"version": version})
        return Rubric(version, dict(guidelines), aspects, actor, now)


def _asked(connection: sa.Connection) -> list[str]:
    """The projects that have questions, each found by one step in an index."""
    found: list[str] = []
    first = sa.select(sa.func.min(questions.c.project))
    name = connection.execute(first).scalar()
    while name is not None:
        found.append(name)
        name = connection.execute(first.where(questions.c.project > name)).scalar()
    return found


def settings_in(connection: sa.Connection, project: str) -> ProjectSettings:
    """What is in force in this transaction."""
    query = sa.select(settings.c.content).where(settings.c.project == project).order_by(settings.c.number.desc())
    return settings_of(connection.execute(query.limit(1)).scalar() or {})


def settings_of(content: Mapping[str, Any]) -> ProjectSettings:
    """Settings from JSON; names that this version does not know are left out."""
    known = {entry.name for entry in fields(ProjectSettings)}
    given: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in content.items()
    }
    return ProjectSettings(**{name: value for name, value in given.items() if name in known})


def rubric_of(row: Any) -> Rubric:
    """A row of `rubrics`."""
    aspects = tuple(Aspect(**(told | {"scale": tuple(told["scale"])})) for told in row["content"]["aspects"])
    return Rubric(row["version"], row["content"]["guidelines"], aspects, row["actor"], row["created"])
