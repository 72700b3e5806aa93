"""Who may come in: single-use invitations that expire, accounts with a role, sessions that the server can end."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import re
import secrets
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from tutelage.errors import DataError, DeniedError
from tutelage.store.audit import note
from tutelage.store.engine import Database
from tutelage.store.schema import accounts, exclusions, invitations, members, raters, sessions
from tutelage.store.standing import GOLD, settle_rater

Role = Literal["admin", "rater"]
ROLES: tuple[Role, ...] = ("admin", "rater")
LANGUAGES = ("en", "zh")
DAY = 86400.0
_ODD_CLOCK = 2 * DAY
"""A session from further in the future than this is none: the clock was wrong then, or is now."""


class InvitationError(DeniedError):
    """The link is unknown, used, revoked or too old; which of these is not said."""


class LastAdminError(DataError):
    """Without this one nobody could run the server from its pages."""


@dataclass(frozen=True)
class Session:
    """Somebody who is signed in."""

    digest: str
    rater: str
    name: str
    role: Role
    language: str
    project: str


@dataclass(frozen=True)
class Account:
    """A person known to the database."""

    rater: str
    """Stands in judgements and exports; says nothing about the person unless the admin chose so."""
    name: str
    role: Role
    language: str
    active: bool
    created: float
    projects: tuple[str, ...]


@dataclass(frozen=True)
class Invitation:
    """A link that was made; its token is known to whoever got it and to nobody else."""

    digest: str
    project: str
    role: Role
    name: str
    rater: str
    language: str
    """empty: as the browser of whoever opens it prefers"""
    created: float
    expires: float
    used: float | None
    revoked: float | None


class People:
    """Accounts, invitations and sessions.

    Example:
        >>> people = People(store.database, secret)
        >>> token = people.invite("news", actor="cli")
        >>> cookie = people.accept(token, name="Ann")
        >>> people.session(cookie).rater

    Args:
        secret: of this installation; without it tokens cannot be checked, so a stolen database lets nobody in.
    """

    def __init__(self, database: Database, secret: bytes) -> None:
        self._database = database
        self._secret = secret

    def invite(
        self,
        project: str,
        *,
        actor: str,
        role: Role = "rater",
        name: str = "",
        rater: str = "",
        language: str = "",
        seconds: float = 7 * DAY,
    ) -> str:
        """Make a link's token: 256 bits, good once within `seconds`. With `rater`, it signs in that account again.

        Args:
            language: of the invitation and, until the rater chooses another, of all after it; empty: as their browser
                prefers. An account that is there keeps its own.

        Raises:
            DataError: no such role, language or rater, or a name that cannot be one.
        """
        if role not in ROLES or language not in ("", *LANGUAGES) or not seconds > 0:
            raise DataError(f"role {role!r}, language {language!r}, {seconds:g} s: not an invitation")
        token = secrets.token_urlsafe(32)
        with self._database.writing() as connection:
            now = self._database.now(connection)
            if rater == GOLD:
                raise DataError(f"the rater id {GOLD!r} stands for known answers, not for a person")
            if rater:
                spoken = sa.select(accounts.c.language).where(accounts.c.rater == rater)
                language = connection.execute(spoken).scalar() or ""
            if rater and not language:
                raise DataError(f"there is no rater {rater!r}")
            told = {"project": project, "role": role, "name": clean_name(name), "rater": rater, "language": language}
            made = {"digest": self._digest(token), "actor": actor, "created": now, "expires": now + seconds}
            connection.execute(sa.insert(invitations).values(**told, **made))
            note(connection, now, actor, "invite", project, after=told)
        return token

    def called(self, name: str) -> str:
        """The id of the rater of that name or id, the newest of several; empty where there is none."""
        same = (accounts.c.rater == name) | (sa.func.lower(accounts.c.name) == clean_name(name).lower())
        query = sa.select(accounts.c.rater).where(same).order_by((accounts.c.rater == name).desc())
        with self._database.reading() as connection:
            return connection.execute(query.order_by(accounts.c.created.desc()).limit(1)).scalar() or ""

    def waiting(self, name: str) -> Invitation | None:
        """The link to a new account of that name that is still good; None = there is none."""
        with self._database.reading() as connection:
            now = self._database.now(connection)
            unused = (invitations.c.used.is_(None), invitations.c.revoked.is_(None), invitations.c.expires > now)
            same = sa.func.lower(invitations.c.name) == clean_name(name).lower()
            query = sa.select(invitations).where(*unused, same, invitations.c.rater == "")
            row = connection.execute(query.order_by(invitations.c.created.desc())).mappings().first()
        return None if row is None else _invitation(row)

    def admit(self, rater: str, project: str, *, actor: str, language: str = "en") -> None:
        """Make a rater's account whose id is chosen, and so stands in exports, unless it is there.

        Raises:
            DataError: this cannot be an id, no such language, or it is the id of somebody who is no person.
        """
        if not rater or rater == GOLD or rater != clean_name(rater) or language not in LANGUAGES:
            raise DataError(f"{rater!r:.80} (language {language!r}) cannot be a rater", fix="a name of one line")
        with self._database.writing() as connection:
            if connection.execute(sa.select(accounts).where(accounts.c.rater == rater)).first() is not None:
                return
            now = self._database.now(connection)
            if connection.execute(sa.select(raters.c.id).where(raters.c.id == rater)).first() is not None:
                raise DataError(f"{rater!r} has judged here without an account", fix="choose another name")
            connection.execute(sa.insert(raters).values(id=rater, kind="person", created=now))
            told = {"rater": rater, "name": rater, "role": "rater", "language": language}
            connection.execute(sa.insert(accounts).values(**told, active=True, created=now))
            note(connection, now, actor, "admit rater", project, after=told)

    def invitation(self, token: str) -> Invitation:
        """What a link offers; looking does not use it up.

        Raises:
            InvitationError: nothing, any more.
        """
        with self._database.reading() as connection:
            return _invitation(self._open(connection, token))

    def accept(
        self, token: str, *, name: str = "", language: str = "", seconds: float = 30 * DAY, old: str = ""
    ) -> str:
        """Use an invitation up: an account (a new one unless it names one), and the cookie of a new session.

        Args:
            old: cookie of the session that this one replaces.

        Raises:
            InvitationError: it is used up already, or was never good.
        """
        with self._database.writing() as connection:
            now = self._database.now(connection)
            row = self._open(connection, token)
            rater = row["rater"] or f"r-{secrets.token_hex(5)}"  # never `gold`, which stands for no person
            used = sa.update(invitations).where(invitations.c.digest == row["digest"], invitations.c.used.is_(None))
            if connection.execute(used.values(used=now, rater=rater)).rowcount != 1:
                raise InvitationError("this link was used already")
            if not row["rater"]:
                told = {"rater": rater, "name": _free(connection, clean_name(name) or row["name"] or rater)}
                told |= {"role": row["role"], "created": now}
                spoken = next(one for one in (language, row["language"], "en") if one in LANGUAGES)
                connection.execute(sa.insert(raters).values(id=rater, kind="person", created=now))
                connection.execute(sa.insert(accounts).values(**told, language=spoken, active=True))
            joined = [{"project": row["project"], "rater": rater, "created": now}]
            self._database.insert_new(connection, members, joined)
            if old:
                connection.execute(_ending(self._digest(old), now))
            note(connection, now, rater, "sign in", row["project"])
            return self._begin(connection, rater, row["project"], now, seconds)

    def session(self, cookie: str) -> Session | None:
        """Who that cookie is; None if nobody, any more."""
        if not 20 <= len(cookie) <= 100:
            return None
        query = (
            sa.select(sessions, accounts.c.name, accounts.c.role, accounts.c.language)
            .join(accounts, accounts.c.rater == sessions.c.rater)
            .where(sessions.c.digest == self._digest(cookie), sessions.c.ended.is_(None), accounts.c.active)
        )
        with self._database.reading() as connection:
            now = self._database.now(connection)
            row = connection.execute(query).mappings().first()
        if row is None or not row["created"] - _ODD_CLOCK <= now < row["expires"]:
            return None
        return Session(row["digest"], row["rater"], row["name"], row["role"], row["language"], row["project"])

    def sign_out(self, session: Session) -> None:
        """End a session on the server; its cookie is worth nothing from now on."""
        with self._database.writing() as connection:
            connection.execute(_ending(session.digest, self._database.now(connection)))

    def change_project(self, session: Session, project: str) -> bool:
        """Work on another project; False where the rater was not invited to it (an admin may go to any)."""
        with self._database.writing() as connection:
            mine = (members.c.project == project, members.c.rater == session.rater)
            if session.role != "admin" and connection.execute(sa.select(members).where(*mine)).first() is None:
                return False
            here = sa.update(sessions).where(sessions.c.digest == session.digest)
            connection.execute(here.values(project=project))
            return True

    def change_language(self, rater: str, language: str) -> None:
        """Speak another language to `rater` from now on."""
        if language not in LANGUAGES:
            raise DataError(f"language {language!r:.40} is not one of {', '.join(LANGUAGES)}")
        with self._database.writing() as connection:
            connection.execute(sa.update(accounts).where(accounts.c.rater == rater).values(language=language))

    def change(self, rater: str, *, actor: str, role: Role | None = None, active: bool | None = None) -> None:
        """Give another role, or close or open an account; all its sessions end.

        Raises:
            DataError: there is no such rater or role.
            LastAdminError: no admin would be left who may come in.
        """
        with self._database.writing() as connection:
            now = self._database.now(connection)
            row = connection.execute(sa.select(accounts).where(accounts.c.rater == rater)).mappings().first()
            if row is None or (role is not None and role not in ROLES):
                raise DataError(f"there is no rater {rater!r:.80}, or no role {role!r:.20}")
            after = {"role": role or row["role"], "active": row["active"] if active is None else active}
            if row["role"] == "admin" and row["active"] and after != {"role": "admin", "active": True}:
                others = (accounts.c.role == "admin", accounts.c.active, accounts.c.rater != rater)
                if connection.execute(sa.select(accounts.c.rater).where(*others)).first() is None:
                    raise LastAdminError(f"{row['name']!r} is the last admin", fix="make somebody else an admin first")
            connection.execute(sa.update(accounts).where(accounts.c.rater == rater).values(**after))
            mine = (sessions.c.rater == rater, sessions.c.ended.is_(None))
            connection.execute(sa.update(sessions).where(*mine).values(ended=now))
            before = {"role": row["role"], "active": row["active"]}
            note(connection, now, actor, "change account", rater, before=before, after=after)

    def revoke(self, digest: str, *, actor: str) -> None:
        """Make a link worthless that was not used yet."""
        with self._database.writing() as connection:
            now = self._database.now(connection)
            unused = (invitations.c.digest == digest, invitations.c.used.is_(None), invitations.c.revoked.is_(None))
            if connection.execute(sa.update(invitations).where(*unused).values(revoked=now)).rowcount:
                note(connection, now, actor, "revoke invitation", digest[:12])

    def accounts(self, project: str = "") -> list[Account]:
        """All accounts, or those of a project, oldest first."""
        query = sa.select(accounts).order_by(accounts.c.created, accounts.c.rater)
        with self._database.reading() as connection:
            rows = connection.execute(query).mappings().all()
            joined: dict[str, list[str]] = {}
            for row in connection.execute(sa.select(members).order_by(members.c.project)):
                joined.setdefault(row.rater, []).append(row.project)
        found = [Account(**row, projects=tuple(joined.get(row["rater"], ()))) for row in rows]
        return [account for account in found if not project or project in account.projects]

    def invitations(self, project: str = "") -> list[Invitation]:
        """All invitations, or those to a project, newest first."""
        query = sa.select(invitations).order_by(invitations.c.created.desc())
        if project:
            query = query.where(invitations.c.project == project)
        with self._database.reading() as connection:
            return [_invitation(row) for row in connection.execute(query).mappings()]

    def exclude(self, project: str, rater: str, excluded: bool, *, reason: str, actor: str) -> None:
        """Leave a rater's judgements out of exports, statistics and overlaps from now on, or take them in again.

        Questions, those of open batches too, want another judgement in place of each that no longer counts.
        """
        told = {"project": project, "rater": rater, "excluded": excluded, "reason": reason}
        with self._database.writing() as connection:
            now = self._database.now(connection)
            connection.execute(sa.insert(exclusions).values(**told, actor=actor, created=now))
            settle_rater(connection, project, rater)
            note(connection, now, actor, "exclude rater" if excluded else "include rater", rater, after=told)

    def excluded(self, project: str, at: float | None = None) -> dict[str, str]:
        """Raters that are left out, with the reason; as it was at that time (seconds since 1970)."""
        query = sa.select(exclusions).where(exclusions.c.project == project).order_by(exclusions.c.number)
        if at is not None:
            query = query.where(exclusions.c.created <= at)
        with self._database.reading() as connection:
            newest = {row.rater: row for row in connection.execute(query)}
        return {rater: row.reason for rater, row in newest.items() if row.excluded}

    def exclusions(self, project: str, rater: str) -> list[dict[str, Any]]:
        """Every time a rater was left out or taken in again, newest first: excluded, reason, actor, created."""
        mine = (exclusions.c.project == project, exclusions.c.rater == rater)
        query = sa.select(exclusions).where(*mine).order_by(exclusions.c.number.desc())
        with self._database.reading() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def _begin(self, connection: sa.Connection, rater: str, project: str, now: float, seconds: float) -> str:
        cookie = secrets.token_urlsafe(32)
        told = {"digest": self._digest(cookie), "rater": rater, "project": project}
        connection.execute(sa.insert(sessions).values(**told, created=now, expires=now + seconds))
        return cookie

    def _open(self, connection: sa.Connection, token: str) -> Any:
        query = sa.select(invitations).where(invitations.c.digest == self._digest(token[:200]))
        row = connection.execute(query).mappings().first()
        if row is None or row["used"] is not None or row["revoked"] is not None:
            raise InvitationError("this link is not good (any more)", fix="ask for a new one: each works once")
        if not row["created"] - _ODD_CLOCK <= self._database.now(connection) < row["expires"]:
            raise InvitationError("this link is not good (any more)", fix="ask for a new one: each works once")
        return row

    def _digest(self, token: str) -> str:
        return hmac.new(self._secret, token.encode(), hashlib.sha256).hexdigest()


def _free(connection: sa.Connection, name: str) -> str:
    """`name`, or with the first number that makes it nobody else's: two who look alike could not be told apart."""
    taken = {other.casefold() for other in connection.execute(sa.select(accounts.c.name)).scalars()}
    numbered = (f"{name} {number}" for number in itertools.count(2))
    return next(free for free in itertools.chain([name], numbered) if free.casefold() not in taken)


def clean_name(name: str) -> str:
    """A name as it may be shown: printable, in one line, 60 characters at most."""
    return re.sub(r"\s+", " ", "".join(letter for letter in name if letter.isprintable())).strip()[:60]


def _ending(digest: str, now: float) -> sa.Update:
    return sa.update(sessions).where(sessions.c.digest == digest, sessions.c.ended.is_(None)).values(ended=now)


def _invitation(row: Any) -> Invitation:
    return Invitation(**{name: value for name, value in row.items() if name != "actor"})
