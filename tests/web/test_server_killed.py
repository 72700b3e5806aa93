"""A real server, killed at random, behind a network cut at random: what was acknowledged is there, once."""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cutting_proxy import CuttingProxy
from rating_room import answer, questions
from rating_server import Server, ask
from tutelage.store.people import People
from tutelage.store.store import Store

RATERS = 8
READY = 2.0
"""Seconds from the start of the process to the first answer, on a machine that has nothing else to do."""


class Rater(threading.Thread):
    """Answers until nothing is left; sends each answer, now and then twice, until it is acknowledged."""

    def __init__(self, port: int, host: str, cookie: str, seed: int) -> None:
        super().__init__(daemon=True)
        self.host = host
        self.port, self.cookie, self.random = port, cookie, random.Random(seed)
        self.acknowledged: dict[str, dict[str, Any]] = {}
        self.seconds: list[float] = []
        """from the first send to the acknowledgement, with all that was cut and killed in between"""
        self.submits = 0
        self.sent: set[str] = set()
        self.wrong: list[str] = []

    def run(self) -> None:
        try:
            while tasks := self._until_answered("/api/v1/tasks/next", {"n": 2})["tasks"]:
                for task in tasks:
                    self._rate(task)
        except AssertionError as error:
            self.wrong.append(str(error))

    def _rate(self, task: dict[str, Any]) -> None:
        judgement = answer(task, id=str(uuid.UUID(int=self.random.getrandbits(128))))
        self.sent.add(judgement["id"])
        began = time.monotonic()
        reply = self._until_answered("/api/v1/judgements", judgement)
        self.seconds.append(time.monotonic() - began)
        self.acknowledged[reply["id"]] = judgement
        if self.random.random() < 0.2:
            assert self._until_answered("/api/v1/judgements", judgement) == reply, "another reply to the same answer"

    def _until_answered(self, path: str, body: Any) -> Any:
        while True:
            self.submits += path.endswith("judgements")
            status, told, _ = ask(self.port, "POST", path, body, self.cookie, self.host)
            if status == 200:
                return told
            assert status in (0, 429, 503), (status, told)
            time.sleep(0.02)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "ratings.db"


def test_every_acknowledged_judgement_is_there_exactly_once_whenever_server_and_network_die(db: Path):
    told = rate_under_kills(db, items=134, overlap=3, kills=5, seed=1)
    assert min(told["ready again"]) <= 4 * READY, "even where other work takes most of the machine"
    assert told["cuts"] >= 20, told


@pytest.mark.slow
def test_ten_thousand_judgements_survive_a_hundred_kills(db: Path):
    rate_under_kills(db, items=3334, overlap=3, kills=100, seed=2)


def rate_under_kills(db: Path, items: int, overlap: int, kills: int, seed: int) -> dict[str, Any]:
    """All items are rated by 8 raters while the server is killed `kills` times; the figures seen, printed too."""
    with Store(db) as store:
        store.ask(questions(items), overlap=overlap)
    server = Server(db)
    with Store(db) as store:
        people = People(store.database, Path(f"{db}.secret").read_bytes())
        tokens = [people.invite("default", actor="test") for _ in range(RATERS)]
    cookies = [ask(server.port, "POST", f"/join/{token}")[2] for token in tokens]
    try:
        with CuttingProxy(lambda: server.port, share=0.1, seed=seed) as proxy:
            host = f"127.0.0.1:{server.port}"
            raters = [Rater(proxy.port, host, cookie, seed + number) for number, cookie in enumerate(cookies)]
            for rater in raters:
                rater.start()
            _kill_now_and_then(server, raters, kills, items * overlap, random.Random(seed))
            for rater in raters:
                rater.join(1200)
                assert not rater.is_alive() and not rater.wrong, rater.wrong
    finally:
        server.kill()
    told = _compare(db, raters, items * overlap)
    ready = server.ready_after[1:]
    print(f"\n{'kills':>8}{'cuts':>8}{'submits':>9}{'acknowledged':>14}{'lost':>6}{'doubled':>9}", end="")
    print(f"{'ready p50':>11}{'ready worst':>13}{'ack p50':>9}{'ack p99':>9}   (s)")
    cuts = proxy.cuts.total() - proxy.cuts["passed"]
    print(f"{kills:>8}{cuts:>8}{told['submits']:>9}{told['acknowledged']:>14}{told['lost']:>6}", end="")
    print(f"{told['doubled']:>9}{sorted(ready)[len(ready) // 2]:>11.2f}{max(ready):>13.2f}", end="")
    print(f"{told['p50']:>9.3f}{told['p99']:>9.3f}   {dict(proxy.cuts)}")
    assert told["lost"] == told["doubled"] == 0, told
    return told | {"cuts": cuts, "ready again": ready}


def _kill_now_and_then(server: Server, raters: list[Rater], kills: int, wanted: int, chance: random.Random) -> None:
    """Kill the server at random moments, spread over the whole of the work."""
    for kill in range(kills):
        while any(rater.is_alive() for rater in raters):
            done = sum(len(rater.acknowledged) for rater in raters)
            if done >= wanted * (kill + chance.random()) / (kills + 1):
                break
            time.sleep(0.01)
        server.kill()
        server.start()


def _compare(db: Path, raters: list[Rater], wanted: int) -> dict[str, Any]:
    """What the raters were told against what is there."""
    with Store(db) as store:
        history, standing = store.history(), store.judgements()
    there = [row["id"] for row in history]
    acknowledged = {name: judgement for rater in raters for name, judgement in rater.acknowledged.items()}
    assert set(there) <= {name for rater in raters for name in rater.sent}
    told = {row["id"]: [row["ranks"][candidate] for candidate in row["shown"]] for row in history}
    assert all(ranks == acknowledged[name]["ranks"] for name, ranks in told.items() if name in acknowledged)
    assert set(acknowledged) >= set(there), "stored, and its rater was never told although it asked until it was"
    assert len(standing) == wanted and len({(row.comparison, row.rater) for row in standing}) == wanted
    seconds = sorted(second for rater in raters for second in rater.seconds)
    return {
        "submits": sum(rater.submits for rater in raters),
        "acknowledged": len(acknowledged),
        "lost": len(set(acknowledged) - set(there)),
        "doubled": len(there) - len(set(there)) + len(history) - len(standing),
        "p50": seconds[len(seconds) // 2],
        "p99": seconds[int(len(seconds) * 0.99)],
    }
