"""Batches of answers that a training run has judged before it goes on; all of their state is in the database.

                 all answers have their judgements ──► quorum ───┐
open ──► (leased, judged one by one)                             ├──► consumed
  │              the deadline is over, something is there ──► deadline
  └────────────► cancelled

Closing writes down which judgements count, by id: what comes later is kept like any other judgement, and never changes
the batch. So a batch can be read again at any time, by any process, and says the same.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import sqlalchemy as sa

from tutelage.errors import DataError
from tutelage.store._heard import by_id, left_out, let_in, ratings_of, scales_of, standing_now, standing_of
from tutelage.store._live import asked_now, no_longer_gold
from tutelage.store.audit import note
from tutelage.store.engine import Database
from tutelage.store.rows import chunks
from tutelage.store.schema import batch_items, batches, judgements, leases, questions, samples
from tutelage.store.standing import GOLD
from tutelage.types import Judgement, Rating

State = Literal["open", "quorum", "deadline", "consumed", "cancelled"]
Late = Literal["wait", "train", "model", "stop"]
LATE: tuple[Late, ...] = ("wait", "train", "model", "stop")


@dataclass(frozen=True)
class Batch:
    """One batch as it stands."""

    number: int
    id: str
    project: str
    run: str
    step: int
    kind: str
    checkpoint: str
    """digest of the weights that wrote the answers; empty where it is not known"""
    wanted: int
    """judgements of each item"""
    late: Late
    state: State
    items: int
    settled: int
    """items that have all their judgements"""
    silent: int
    """items that nobody has judged"""
    unasked: tuple[int, ...]
    """places of items that lack judgements and that no question asks: what was known of them counts no longer"""
    missing: int
    """judgements that are still needed"""
    held: int
    """items that a rater has on the screen now"""
    seconds_left: float
    """to the deadline, by the clock of the database; below 0 once it is over"""
    created: float
    closed: float | None


@dataclass(frozen=True)
class Item:
    """What is posted: a question, or nothing to ask where enough is known."""

    question: str | None
    known: tuple[str, ...] = ()
    """ids of judgements that count already, of the same answer in other questions; edited or taken back before the
    batch is closed, they count as they stand then"""


@dataclass(frozen=True)
class Settled:
    """What a closed batch says of one item."""

    question: str | None
    judgements: tuple[Judgement, ...]
    ratings: tuple[Rating, ...]
    """the scores in them, each on the scale of the question it answers"""
    fallback: float | None
    """what a model said, where people said nothing"""


@dataclass(frozen=True)
class Known:
    """What people have said of one answer, in one question."""

    question: str
    prompt: str
    text: str
    aspects: frozenset[str]
    judgements: tuple[Judgement, ...]
    ratings: Sequence[Rating]


class Batches:
    """The batches of a database.

    Example:
        >>> batches = Batches(store.database)
        >>> batches.post("b1", project="news", run="r", step=0, items=[Item(q) for q in asked], wanted=3)
        >>> batches.close("b1").state  # nobody has judged yet
        'open'
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def post(
        self,
        batch: str,
        *,
        project: str,
        run: str,
        step: int,
        items: Sequence[Item],
        wanted: int,
        seconds: float = 600.0,
        late: Late = "wait",
        kind: str = "scores",
        beside: Collection[str] = (),
        checkpoint: str = "",
    ) -> Batch:
        """Open a batch, or find it as it is: a run that was killed posts the same again, and nothing changes.

        One that was cancelled is opened again; it, and one that ends in `stop`, gets its time anew. Like a new one, it
        cancels what its run left open up to this step, but for those of `beside`: nobody reads that. Gold among its
        questions is gold no longer, though its known answer stays.
        """
        told = {"id": batch, "project": project, "run": run, "step": step, "kind": kind, "wanted": wanted, "late": late}
        with self._database.writing() as connection:
            now = self._database.now(connection)
            seen = connection.execute(sa.select(sa.func.max(judgements.c.number))).scalar() or 0
            more = {"state": "open", "seen": seen, "created": now, "deadline": now + seconds, "closed": None}
            more["checkpoint"] = checkpoint
            there = connection.execute(sa.select(batches.c.state).where(batches.c.id == batch)).scalar()
            if there in (None, "cancelled"):
                mine = (batches.c.run == run, batches.c.state == "open", batches.c.step <= step)
                left = sa.update(batches).where(*mine, batches.c.id.not_in([batch, *beside]))
                connection.execute(left.values(state="cancelled", closed=now))
            if there is None:
                connection.execute(sa.insert(batches).values(told | more))
                rows = [{"batch": batch, "place": place, "question": item.question, "used": list(item.known)}
                        for place, item in enumerate(items)]  # fmt: skip
                if rows:
                    connection.execute(sa.insert(batch_items), rows)
            stopped = (batches.c.state == "open") & (batches.c.late == "stop") & (batches.c.deadline <= now)
            again = sa.update(batches).where(batches.c.id == batch, stopped | (batches.c.state == "cancelled"))
            connection.execute(again.values(state="open", closed=None, deadline=now + seconds))
            no_longer_gold(connection, batch, run, now)
            return self._batch(connection, batch)

    def ask_too(self, batch: str, wanted: Mapping[int, str]) -> Batch:
        """Let questions be asked for items of an open batch that had none (`Batch.unasked`); place → question."""
        with self._database.writing() as connection:
            found = self._batch(connection, batch)
            if found.state == "open":
                for place, question in wanted.items():
                    mine = (batch_items.c.batch == batch, batch_items.c.place == place)
                    bare = sa.update(batch_items).where(*mine, batch_items.c.question.is_(None))
                    connection.execute(bare.values(question=question))
                no_longer_gold(connection, batch, found.run, self._database.now(connection))
            return self._batch(connection, batch)

    def there(self, batch: str) -> bool:
        """Whether it was posted."""
        with self._database.reading() as connection:
            return connection.execute(sa.select(batches.c.id).where(batches.c.id == batch)).first() is not None

    def get(self, batch: str) -> Batch:
        """As it stands now.

        Raises:
            DataError: there is no such batch.
        """
        with self._database.reading() as connection:
            return self._batch(connection, batch)

    def close(
        self,
        batch: str,
        *,
        groups: Sequence[Sequence[int]] = (),
        guesses: Sequence[float] = (),
    ) -> Batch:
        """Close it if its time has come: every item has its judgements, or the deadline is over and `late` says so.

        Args:
            groups: places of items that are of use only together (the answers to one prompt); under `train` it stays
                open until one of them is judged whole.
            guesses: what a model says of each item, for those that nobody has judged (`model`).
        """
        with self._database.writing() as connection:
            found = self._batch(connection, batch)
            if found.state != "open":
                return found
            rows, heard = self._rows(connection, batch), self._heard(connection, batch, found.project)
            over = found.seconds_left <= 0 and found.late in ("train", "model")
            useless = found.late == "train" and not _any_whole(heard, groups or [[place] for place in heard])
            if found.settled < found.items and (not over or useless):
                return found
            now = self._database.now(connection)
            for row in rows:
                used = [judgement.id for judgement in heard[row["place"]]]
                guess = guesses[row["place"]] if found.late == "model" and not used else None
                mine = (batch_items.c.batch == batch, batch_items.c.place == row["place"])
                connection.execute(sa.update(batch_items).where(*mine).values(used=used, fallback=guess))
            state = "quorum" if found.settled == found.items else "deadline"
            connection.execute(sa.update(batches).where(batches.c.id == batch).values(state=state, closed=now))
            return self._batch(connection, batch)

    def consume(self, batch: str) -> None:
        """The run has taken it in; it can be read as before."""
        with self._database.writing() as connection:
            closed = (batches.c.id == batch, batches.c.state.in_(["quorum", "deadline"]))
            connection.execute(sa.update(batches).where(*closed).values(state="consumed"))

    def cancel(self, batch: str, *, actor: str) -> Batch:
        """Wait for it no longer: its questions are handed out no more. A run that still waits for it ends."""
        with self._database.writing() as connection:
            self._batch(connection, batch)
            now = self._database.now(connection)
            mine = (batches.c.id == batch, batches.c.state == "open")
            if connection.execute(sa.update(batches).where(*mine).values(state="cancelled", closed=now)).rowcount:
                note(connection, now, actor, "cancel batch", batch)
            return self._batch(connection, batch)

    def end_now(self, batch: str, late: Late, *, actor: str) -> Batch:
        """Put the deadline of an open batch to now, and what becomes of it to `late`."""
        with self._database.writing() as connection:
            self._batch(connection, batch)
            now = self._database.now(connection)
            mine = (batches.c.id == batch, batches.c.state == "open")
            changed = {"deadline": now, "late": late}
            if connection.execute(sa.update(batches).where(*mine).values(**changed)).rowcount:
                note(connection, now, actor, "end batch", batch, after={"late": late})
            return self._batch(connection, batch)

    def all(self, project: str = "", state: str = "") -> list[Batch]:
        """The batches, oldest first."""
        query = sa.select(batches.c.id).order_by(batches.c.number)
        if project:
            query = query.where(batches.c.project == project)
        if state:
            query = query.where(batches.c.state == state)
        with self._database.reading() as connection:
            return [self._batch(connection, name) for name in connection.execute(query).scalars().all()]

    def settled(self, batch: str) -> list[Settled]:
        """What was said of each item of a closed batch, by the judgements that counted when it was closed."""
        with self._database.reading() as connection:
            rows = self._rows(connection, batch)
            found = by_id(connection, [name for row in rows for name in row["used"]])
            scales = scales_of(connection, found.values())
        given = [[found[name] for name in row["used"]] for row in rows]
        return [
            Settled(row["question"], tuple(said), tuple(ratings_of(said, scales)), row["fallback"])
            for row, said in zip(rows, given, strict=True)
        ]

    def heard_before(self, batch: str) -> list[list[Rating]]:
        """The scores that a run had heard when it posted `batch`: what stood in the project when its first batch was
        posted, and what its earlier batches were settled by, without who was excluded by then; each judgement once."""
        with self._database.reading() as connection:
            me = connection.execute(sa.select(batches).where(batches.c.id == batch)).mappings().one()
            first = sa.select(sa.func.min(batches.c.seen)).where(batches.c.run == me["run"])
            seen = connection.execute(first.where(batches.c.project == me["project"])).scalar_one()
            newest = sa.select(sa.func.max(judgements.c.number))
            newest = newest.join(questions, questions.c.id == judgements.c.question).where(
                questions.c.project == me["project"], judgements.c.number <= seen
            )
            newest = newest.where(judgements.c.purpose == "", judgements.c.rater != GOLD)
            newest = newest.group_by(judgements.c.question, judgements.c.rater)
            query = sa.select(judgements.c.id).where(judgements.c.number.in_(newest), judgements.c.withdrawn.is_(False))
            ids = list(connection.execute(query.order_by(judgements.c.number)).scalars())
            earlier = sa.select(batch_items.c.used).join(batches, batches.c.id == batch_items.c.batch)
            mine = (batches.c.run == me["run"], batches.c.project == me["project"], batches.c.number < me["number"])
            closed = batches.c.closed.is_not(None) & (batches.c.state != "cancelled")
            for used in connection.execute(earlier.where(*mine, closed).order_by(batches.c.number)).scalars():
                ids += used
            out = left_out(connection, me["project"], me["created"])
            found = by_id(connection, list(dict.fromkeys(ids)))
            scales = scales_of(connection, found.values())
        told = (found[name] for name in dict.fromkeys(ids))
        return [ratings_of([judgement], scales) for judgement in told if judgement.rater not in out]

    def known(self, project: str, prompts: Sequence[str]) -> list[Known]:
        """What people have scored already of the answers to these prompts."""
        found: list[Known] = []
        same = (samples.c.project == questions.c.project) & (samples.c.prompt == questions.c.prompt)
        with self._database.reading() as connection:
            left = left_out(connection, project)
            for part in chunks(prompts):
                mine = (questions.c.project == project, questions.c.kind == "scores", questions.c.prompt.in_(part))
                asked = connection.execute(sa.select(questions).where(*mine)).mappings().all()
                query = sa.select(samples.c.id, samples.c.text).join(questions, same).where(*mine).distinct()
                texts = {row.id: row.text for row in connection.execute(query)}
                stand = standing_of(connection, [row["id"] for row in asked], left)
                for row in asked:
                    said = stand.get(row["id"], [])
                    told = ratings_of(said, {row["id"]: (row["scale"][0], row["scale"][1])})
                    text = texts[row["candidates"][0]]
                    found.append(Known(row["id"], row["prompt"], text, frozenset(row["aspects"]), tuple(said), told))
        return found

    def asked_now(self, project: str) -> set[str]:
        """The questions that open batches of a project ask: they wait for people, and nothing else may answer them."""
        with self._database.reading() as connection:
            return set(asked_now(connection, project))

    def raters(self, project: str) -> int:
        """How many people are let into a project now."""
        with self._database.reading() as connection:
            return let_in(connection, project)

    def waiting(self, project: str) -> tuple[int, float] | None:
        """(judgements still needed, seconds left) of the open batch that is due first; None = none waits."""
        found = [batch for batch in self.all(project, "open") if batch.missing]
        if not found:
            return None
        due = min(found, key=lambda batch: batch.seconds_left)
        return due.missing, max(0.0, due.seconds_left)

    def _batch(self, connection: sa.Connection, batch: str) -> Batch:
        row = connection.execute(sa.select(batches).where(batches.c.id == batch)).mappings().first()
        if row is None:
            raise DataError(f"there is no batch {batch!r}", fix="`tutelage rate batches` lists them")
        names = ("number", "id", "project", "run", "step", "kind", "checkpoint", "wanted", "created")
        told = {name: row[name] for name in names}
        counts = self._counts(connection, batch, row)
        now = self._database.now(connection)
        held = sa.select(sa.func.count(leases.c.question.distinct())).join(
            batch_items, batch_items.c.question == leases.c.question
        )
        held = held.where(batch_items.c.batch == batch, leases.c.expires > now)
        return Batch(
            **told,
            late=cast(Late, row["late"]),
            state=cast(State, row["state"]),
            items=len(counts),
            settled=sum(count >= row["wanted"] for count in counts),
            silent=sum(count == 0 for count in counts),
            unasked=self._unasked(connection, batch, counts, row) if row["state"] == "open" else (),
            missing=sum(max(0, row["wanted"] - count) for count in counts),
            held=connection.execute(held).scalar_one() if row["state"] == "open" else 0,
            seconds_left=row["deadline"] - now,
            closed=row["closed"],
        )

    def _counts(self, connection: sa.Connection, batch: str, row: Any) -> list[int]:
        """How many raters have judged each item, or had when it was closed."""
        if row["state"] == "open":
            heard = self._heard(connection, batch, row["project"])
            return [len({judgement.rater for judgement in given}) for given in heard.values()]
        rows = self._rows(connection, batch)
        found = by_id(connection, [name for item in rows for name in item["used"]])
        return [len({found[name].rater for name in item["used"]}) for item in rows]

    def _unasked(self, connection: sa.Connection, batch: str, counts: Sequence[int], row: Any) -> tuple[int, ...]:
        items = zip(self._rows(connection, batch), counts, strict=True)
        return tuple(item["place"] for item, count in items if item["question"] is None and count < row["wanted"])

    def _rows(self, connection: sa.Connection, batch: str) -> list[dict[str, Any]]:
        query = sa.select(batch_items).where(batch_items.c.batch == batch).order_by(batch_items.c.place)
        return [dict(row) for row in connection.execute(query).mappings()]

    def _heard(self, connection: sa.Connection, batch: str, project: str) -> dict[int, list[Judgement]]:
        """Place → the judgements of an open batch that count now: those known before, as their raters have edited them
        since, then those on its question, oldest first."""
        rows, left = self._rows(connection, batch), left_out(connection, project)
        known = standing_now(connection, [name for row in rows for name in row["used"]], left)
        stand = standing_of(connection, [row["question"] for row in rows if row["question"]], left)
        heard: dict[int, list[Judgement]] = {}
        for row in rows:
            given = [known[name] for name in row["used"] if name in known] + stand.get(row["question"], [])
            heard[row["place"]] = list({judgement.id: judgement for judgement in given}.values())
        return heard


def waiting_of(store: Any, project: str) -> tuple[int, float] | None:
    """What the rating pages say of runs that wait (`web._settings.Settings.waiting`)."""
    return Batches(store.database).waiting(project)


def _any_whole(heard: Mapping[int, Sequence[Judgement]], groups: Sequence[Sequence[int]]) -> bool:
    return any(all(heard[place] for place in group) for group in groups)
