"""Until when `rate serve` waits for its one rater, and that this rater is the same one again after a restart."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import pytest

from tutelage.cli import _rate_until
from tutelage.cli._rate_until import Until
from tutelage.cli.main import main
from tutelage.errors import DataError, DiskError, ServiceError, TryAgainError, TutelageError
from tutelage.store.people import People
from tutelage.store.store import Store


def ended(left: Any, seconds: float = 0.0) -> str:
    """Why it ended; empty if it did not within a while."""
    over = threading.Event()
    until = Until(left, seconds, over.set)
    until.start()
    over.wait(30)
    until.stop()
    return until.reason


def test_it_ends_at_once_where_nothing_was_left_from_the_start():
    assert ended(lambda: 0) == "done"


def test_it_ends_when_nothing_is_left_for_a_while_and_an_answer_taken_back_begins_the_while_anew(monkeypatch):
    monkeypatch.setattr(_rate_until, "GRACE", 2.5)
    told = chain([2, 1, 0, 0, 1], repeat(0))
    asked = list[int]()

    def left() -> int:
        asked.append(next(told))
        return asked[-1]

    assert ended(left) == "done"
    assert asked[:5] == [2, 1, 0, 0, 1] and len(asked) > 7


@pytest.mark.parametrize("trouble", [TryAgainError, ServiceError, DiskError])
def test_a_database_that_cannot_say_ends_nothing_and_the_time_runs_on(trouble: type[TutelageError]):
    def left() -> int:
        raise trouble("busy, away or full")

    assert ended(left, 1.2) == "the time is over"


def test_without_a_terminal_nobody_presses_enter():
    command = "from tutelage.cli._rate_until import terminal_is_ours; print(terminal_is_ours())"
    found = subprocess.run([sys.executable, "-c", command], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert found.stdout.strip() == "False"


def test_the_one_rater_comes_in_again_as_the_same_and_the_admin_gets_no_link(tmp_path: Path):
    db, found = tmp_path / "a.db", list[dict[str, Any]]()
    for _ in range(2):
        command = [sys.executable, "-m", "tutelage", "rate", "serve", "--db", str(db), "--port", "0", "--json"]
        command += ["--rater", "you", "--language", "zh"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
            assert server.stdout is not None
            found.append(json.loads(server.stdout.readline()))
            server.send_signal(signal.SIGTERM)
    assert [one["admin_link"] for one in found] == ["", ""] and found[0]["rater_link"] != found[1]["rater_link"]
    with Store(db) as store:
        people = People(store.database, Path(f"{db}.secret").read_bytes())
        for one in found:
            session = people.session(people.accept(one["rater_link"].rpartition("/")[2]))
            assert session is not None
            assert (session.rater, session.role, session.language) == ("you", "rater", "zh")
        assert [account.rater for account in people.accounts("default")] == ["you"]
        for name in ("gold", "", "a\nb", " x"):
            with pytest.raises(DataError):
                people.admit(name, "default", actor="test")
        store.add_raters(["ada"], "simulated")
        with pytest.raises(DataError, match="without an account"):
            people.admit("ada", "default", actor="test")


def test_to_wait_for_nobody_is_refused(tmp_path: Path):
    assert main(["rate", "serve", "--db", str(tmp_path / "a.db"), "--until-done"]) == 2
    assert main(["rate", "serve", "--db", str(tmp_path / "a.db"), "--minutes", "-1"]) == 2
    assert list(tmp_path.iterdir()) == []


def test_a_rater_without_questions_is_not_thanked_but_told_how_to_bring_some_in(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    db = str(tmp_path / "u.db")
    serve = ["rate", "serve", "--db", db, "--port", "0", "--rater", "ann", "--until-done"]
    for _ in range(2):  # a new database, and an empty one
        assert main(serve) == 66
        said = capsys.readouterr()
        assert "no questions in project default" in said.err and f"rate ask --db {db} --project default" in said.err
        assert "thank" not in said.out
    for name in ("news", "sport"):
        assert main(["rate", "project", "--db", db, "--project", name, "goal=7"]) == 0
    assert main(serve) == 65
    assert "--project news or sport" in capsys.readouterr().err
    with Store(db) as store:
        assert People(store.database, b"").accounts() == [], "nobody was let in"
