"""`tutelage rate invite`: links that let people in, each good once."""

from __future__ import annotations

import itertools
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from tutelage.cli._rate_project import listed, names_of
from tutelage.cli._rate_serve import PORT
from tutelage.cli._ui import UI
from tutelage.config import Resolved
from tutelage.errors import DataError, UsageError

if TYPE_CHECKING:
    from tutelage.store.people import People, Role


@dataclass(frozen=True, kw_only=True)
class Invite:
    """Make links that let people in, each good once."""

    db: str = "ratings.db"
    """database of the ratings"""
    project: str = "default"
    """project to rate in; not given: the only project there is"""
    role: Literal["rater", "admin"] | None = None
    """an admin sees and changes everything; not given: a rater, or with --rater the role they have"""
    count: int = 1
    """how many links"""
    name: str = ""
    """name that the rater is shown with; several get numbers"""
    rater: str = ""
    """let this rater (name or id) in again instead of making a new one; with --role, in that role from now on"""
    language: Literal["en", "zh"] | None = None
    """language of the invitation and of the pages after it, until the rater chooses; else as their browser prefers"""
    days: float = 7.0
    """how long the links are good"""
    url: str = ""
    """address of the server as the raters reach it; by default where a server runs on --db, or http://127.0.0.1:8600"""
    secret_file: str = ""
    """where the secret lies; by default beside the database"""


def invite(resolved: Resolved[Invite], ui: UI) -> int:
    """Make single-use links that let raters (or an admin) in."""
    from tutelage.labelers._voice import served_at
    from tutelage.store.people import DAY, People
    from tutelage.store.store import Store
    from tutelage.web._secret import place, secret_at

    config = resolved.config
    if config.count < 1 or (config.rater and config.count > 1):
        raise UsageError(f"count {config.count}: one link or more, and one only for a rater who is there already")
    links: list[dict[str, Any]] = []
    base = (config.url or served_at(config.db) or f"http://127.0.0.1:{PORT}").rstrip("/")
    with Store(config.db, create=False) as store:
        there = names_of(store)
        people = People(store.database, secret_at(place(config.db, config.secret_file)))
        whom = _whom(people, config)
        for name in _names(people, config, whom.rater):
            token = people.invite(
                config.project,
                actor="cli",
                role=whom.role,
                name=name,
                rater=whom.rater,
                language=whom.language,
                seconds=config.days * DAY,
            )
            links.append({"name": name, "role": whom.role, "link": f"{base}/join/{token}"})
    if config.project not in there:
        others = f"there is: {listed(there, ', ')}" if there else "there is none"
        ui.warn(f"there is no project {config.project} in {config.db} yet; {others}")
    if whom.changed:
        ui.say(f"{config.rater}: {whom.role} from now on, and signed out everywhere until this link is opened")
    for line in links:
        ui.say(f"{line['name'] + ': ' if line['name'] else ''}{line['link']}")
    ui.say(f"each works once, within {config.days:g} days, for project {config.project}")
    ui.result({"links": links})
    return 0


def _names(people: People, config: Invite, rater: str) -> list[str]:
    """A name for each link: numbered where there are several, leaving out the numbers that are somebody's already."""
    wanted = config.name or (config.rater if not rater else "")
    if config.count == 1 or not wanted:
        return [wanted] * config.count
    numbered = (f"{wanted} {number}" for number in itertools.count(1))
    free = (name for name in numbered if not people.called(name) and people.waiting(name) is None)
    return list(itertools.islice(free, config.count))


@dataclass(frozen=True)
class _Whom:
    """Whom the links are for."""

    role: Role
    rater: str = ""
    """id of one who is there already"""
    language: str = ""
    changed: bool = False
    """their role was another one"""


def _whom(people: People, config: Invite) -> _Whom:
    """Whom --rater or --name means; a link of that name that nobody has used yet is replaced, for the same role.

    Raises:
        DataError: --name is somebody's already, or --rater is nobody's: two equal accounts could not be told apart; or
            the last admin would be none any more.
    """
    name = config.rater or config.name
    known, unused = people.called(name) if name else "", people.waiting(name) if name else None
    if config.rater and not known and unused is None:
        raise DataError(f"there is no rater {name!r}", fix="--name NAME makes a new one")
    if config.rater and known:
        account = next(one for one in people.accounts() if one.rater == known)
        changed = config.role is not None and config.role != account.role
        if changed:
            people.change(known, actor="cli", role=config.role)
        return _Whom(config.role or account.role, known, changed=changed)
    if config.rater and unused is not None:
        people.revoke(unused.digest, actor="cli")
        return _Whom(config.role or unused.role, language=config.language or unused.language)
    if config.count == 1 and (known or unused):
        told = f"a rater {name!r} ({known})" if known else f"a link for a rater {name!r}, not used yet"
        raise DataError(
            f"there is {told} already",
            fix=f"--rater {shlex.quote(name)} makes {'another' if known else 'a new'} link for the same one; "
            "another --name for somebody else",
        )
    return _Whom(config.role or "rater", language=config.language or "")
