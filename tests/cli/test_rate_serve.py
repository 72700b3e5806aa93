"""`rate serve` and `rate invite`: where it listens, one server per file, links that let people in."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tutelage.cli._rate_models import sampler_of
from tutelage.cli.main import main
from tutelage.errors import TryAgainError
from tutelage.store.audit import trail
from tutelage.store.people import People
from tutelage.store.store import Store
from tutelage.web._secret import place, secret_at


def run(*words: str) -> int:
    return main(["rate", *words])


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "rate.example.org"])
def test_other_addresses_are_refused_without_https_or_consent(
    host: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert run("serve", "--db", str(tmp_path / "a.db"), "--host", host) == 2
    assert "--tls-cert" in capsys.readouterr().err and list(tmp_path.iterdir()) == []


def test_all_addresses_need_the_names_by_which_it_is_reached(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    flags = ["--host", "0.0.0.0", "--insecure-http-i-understand"]
    assert run("serve", "--db", str(tmp_path / "a.db"), *flags) == 2
    assert "--names" in capsys.readouterr().err


def test_a_key_without_a_certificate_and_files_that_are_not_there_are_said(tmp_path: Path):
    assert run("serve", "--db", str(tmp_path / "a.db"), "--tls-key", "k.pem") == 2
    assert run("serve", "--db", str(tmp_path / "a.db"), "--tls-key", "k.pem", "--tls-cert", "c.pem") == 66


def test_a_folder_of_models_that_is_not_there_is_said_before_anything_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    assert run("serve", "--db", "a.db", "--models", "nowhere") == 66
    assert "no such folder of models" in capsys.readouterr().err and list(tmp_path.iterdir()) == []
    assert sampler_of("a.db", "") is None
    (tmp_path / "runs").mkdir()
    found = sampler_of("postgresql://ann:hunter2@db.example/ratings", "")
    assert found and found.models == Path("runs") and found.folder.is_absolute() and "hunter2" not in str(found)


def test_a_server_starts_in_time_lets_the_admin_in_refuses_a_second_one_and_stops(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    db, began = tmp_path / "a.db", time.monotonic()
    command = [sys.executable, "-m", "tutelage", "rate", "serve", "--db", str(db), "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        told = json.loads(server.stdout.readline())
        host = told["url"].removeprefix("http://")
        assert status(host, "GET", "/healthz") == 200
        assert time.monotonic() - began < 15, "5 s on an idle machine"
        assert (tmp_path / "a.db.secret").stat().st_mode & 0o777 == 0o600
        assert status(host, "POST", told["admin_link"].removeprefix(told["url"])) == 303
        assert run("serve", "--db", str(db), "--port", "0") == 75
        assert f"pid {server.pid}" in capsys.readouterr().err
        assert run("invite", "--db", str(db), "--json") == 0
        assert json.loads(capsys.readouterr().out)["links"][0]["link"].startswith(f"{told['url']}/join/")
        server.send_signal(signal.SIGTERM)
        assert server.wait(20) in (0, 143, -signal.SIGTERM)


def status(host: str, method: str, path: str) -> int:
    connection = http.client.HTTPConnection(host, timeout=20)
    connection.request(method, path)
    found = connection.getresponse().status
    connection.close()
    return found


def test_links_are_made_for_a_database_that_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    db = str(tmp_path / "a.db")
    assert run("invite", "--db", db) == 66
    open_store(db)
    capsys.readouterr()
    assert (
        run("invite", "--db", db, "--count", "3", "--name", "Ann", "--url", "https://rate.example.org/", "--json") == 0
    )
    links = json.loads(capsys.readouterr().out)["links"]
    assert [line["name"] for line in links] == ["Ann 1", "Ann 2", "Ann 3"]
    assert len({line["link"] for line in links}) == 3 and links[0]["link"].startswith("https://rate.example.org/join/")
    assert run("invite", "--db", db, "--rater", "nobody") == 65
    assert Path(f"{db}.secret").stat().st_mode & 0o777 == 0o600


def test_an_invitation_into_a_project_that_is_not_there_yet_is_made_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    db = str(tmp_path / "a.db")
    open_store(db)
    assert run("invite", "--db", db, "--project", "nosuch", "--json") == 0
    told = capsys.readouterr()
    assert len(json.loads(told.out)["links"]) == 1 and "no project nosuch" in told.err and "there is none" in told.err
    assert run("project", "--db", db, "--project", "news", "overlap=2") == 0
    capsys.readouterr()
    assert run("invite", "--db", db, "--project", "nosuch", "--quiet") == 0
    assert "there is: news" in capsys.readouterr().err
    assert run("invite", "--db", db, "--project", "news") == 0
    assert "no project" not in capsys.readouterr().err


def test_two_raters_never_have_one_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    db = str(tmp_path / "a.db")
    with Store(db):
        pass
    people = partial(_people, db)

    assert run("invite", "--db", db, "--name", "Li Wei") == 0
    assert run("invite", "--db", db, "--name", "li wei") == 65
    assert "not used yet" in capsys.readouterr().err
    assert run("invite", "--db", db, "--rater", "Li Wei", "--json") == 0, "a new link instead of the unused one"
    people(lambda there: there.accept(_token(capsys)))
    assert run("invite", "--db", db, "--name", "Li Wei") == 65
    assert "--rater 'Li Wei' makes another link" in capsys.readouterr().err
    assert run("invite", "--db", db, "--rater", "Li Wei", "--json") == 0
    people(lambda there: there.accept(_token(capsys)))
    assert run("invite", "--db", db, "--rater", "nobody") == 65

    people(lambda there: there.accept(there.invite("default", actor="test", name="guest 2")))
    assert run("invite", "--db", db, "--name", "guest", "--count", "2", "--json") == 0
    links = json.loads(capsys.readouterr().out)["links"]
    assert [link["name"] for link in links] == ["guest 1", "guest 3"]
    people(lambda there: there.accept(there.invite("default", actor="test"), name="LI WEI"))
    names = people(lambda there: sorted(account.name for account in there.accounts()))
    assert names == ["LI WEI 2", "Li Wei", "guest 2"]


def _people(db: str, ask: Callable[[People], Any]) -> Any:
    with Store(db) as store:
        return ask(People(store.database, secret_at(place(db, ""))))


def _token(capsys: pytest.CaptureFixture[str]) -> str:
    return json.loads(capsys.readouterr().out)["links"][0]["link"].rpartition("/")[2]


def test_a_link_for_who_is_there_keeps_the_role_and_with_one_named_changes_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    db = str(tmp_path / "a.db")
    open_store(db)
    people = partial(_people, db)

    def role() -> str:
        return people(lambda there: there.accounts()[0].role)

    assert run("invite", "--db", db, "--name", "Eve", "--role", "admin", "--language", "zh") == 0
    capsys.readouterr()
    assert run("invite", "--db", db, "--rater", "Eve", "--json") == 0, "in the place of the link not used yet"
    link = people(lambda there: there.invitation(_token(capsys)))
    assert (link.role, link.language, link.name) == ("admin", "zh", "Eve")
    assert run("invite", "--db", db, "--rater", "Eve", "--json") == 0
    people(lambda there: there.accept(_token(capsys)))
    assert role() == "admin"
    capsys.readouterr()
    assert run("invite", "--db", db, "--rater", "Eve", "--role", "rater") == 65
    assert "'Eve' is the last admin" in capsys.readouterr().err and role() == "admin"
    people(lambda there: there.accept(there.invite("default", actor="t", name="Dana", role="admin")))
    assert run("invite", "--db", db, "--rater", "Eve", "--role", "rater") == 0
    told = capsys.readouterr().out
    assert "Eve: rater from now on, and signed out everywhere until this link is opened" in told and role() == "rater"
    assert run("invite", "--db", db, "--rater", "Eve", "--role", "admin", "--json") == 0 and role() == "admin"
    people(lambda there: there.accept(_token(capsys)))
    assert run("invite", "--db", db, "--rater", "Eve", "--json") == 0 and role() == "admin", "none named, none changed"
    with Store(db) as store:
        changed = [row for row in trail(store.database) if row["action"] == "change account"]
    assert [(row["actor"], row["after"]["role"]) for row in changed] == [("cli", "admin"), ("cli", "rater")]


@pytest.mark.parametrize(
    ("there", "named", "project"),
    [
        ((), (), "default"),
        (("news",), (), "news"),
        (("a b", "news"), (), ""),
        (("default", "news"), (), ""),
        (("default", "news"), ("default",), "default"),
        (("news",), ("other",), "other"),
    ],
)
def test_a_server_is_about_the_only_project_and_says_how_to_invite_to_it(
    there: tuple[str, ...],
    named: tuple[str, ...],
    project: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    from tutelage.cli import _rate_serve
    from tutelage.store.people import People
    from tutelage.store.store import Store

    db = str(tmp_path / "a.db")
    open_store(db)
    for name in there:
        assert run("project", "--db", db, "--project", name, "overlap=2") == 0
    monkeypatch.setattr(_rate_serve, "_run", lambda *_: None)
    monkeypatch.setattr(_rate_serve, "_server", lambda *_: None)  # uvicorn would close the handlers of pytest's own log
    for name in ("disable", "freeze", "enable"):  # of this process, which is not a server's
        monkeypatch.setattr(_rate_serve.gc, name, lambda: None)
    flags = [word for name in named for word in ("--project", name)]
    assert run("serve", "--db", db, "--port", "0", *flags) == 0
    link = capsys.readouterr().out.rpartition("/join/")[2].strip()
    with Store(db) as store:
        people = People(store.database, Path(f"{db}.secret").read_bytes())
        assert people.invitation(link).project == (project or "default"), "where the first admin is let in"
        people.accept(link)
    assert run("serve", "--db", db, "--port", "0", *flags) == 0
    wanted = project if project in there or not there else "PROJECT"
    assert f"rate invite --db {db} --project {wanted}\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({}, "a.db"),
        ({"host": "::1"}, "a.db"),
        ({"host": "0.0.0.0", "insecure_http_i_understand": True}, ""),
        ({"names": ("rate.example.org",)}, ""),
        ({"behind_https": True}, ""),
        ({"tls_cert": "c.pem", "tls_key": "k.pem"}, ""),
        ({"db": "postgresql://me:secret@there/ratings"}, ""),
        ({"db": "sqlite:////data/my ratings.db"}, "'my ratings.db'"),
    ],
)
def test_only_where_no_stranger_comes_the_pages_know_the_name_of_the_database(flags: dict[str, Any], told: str):
    from tutelage.cli._rate_serve import Serve, _settings

    assert _settings(Serve(**{"db": "/data/a.db"} | flags), b"k" * 32, 8600).database == told


def test_a_link_to_a_file_is_that_file(tmp_path: Path):
    from tutelage.cli._rate_serve import lock_of
    from tutelage.labelers._voice import served_at

    db, link = tmp_path / "a.db", tmp_path / "link.db"
    open_store(str(db))
    link.symlink_to(db)
    lock = lock_of(str(link))
    assert lock is not None
    try:
        lock.tell(url="http://127.0.0.1:1")
        with pytest.raises(TryAgainError, match="being served by pid"):
            lock_of(str(db))
        assert served_at(str(db)) == served_at(str(link)) == "http://127.0.0.1:1"
    finally:
        lock.release()


@pytest.mark.parametrize(
    ("flags", "port", "told"),
    [
        ({}, 80, True),
        ({}, 443, False),
        ({"tls_cert": "c.pem", "tls_key": "k.pem"}, 443, True),
        ({"tls_cert": "c.pem", "tls_key": "k.pem"}, 80, False),
        ({}, 8600, False),
    ],
)
def test_at_the_port_that_browsers_leave_out_the_bare_name_is_answered(flags: dict[str, Any], port: int, told: bool):
    from tutelage.cli._rate_serve import Serve, _settings

    assert ("127.0.0.1" in _settings(Serve(db="/data/a.db", **flags), b"k" * 32, port).hosts) is told


def open_store(db: str) -> None:
    from tutelage.store.store import Store

    Store(db).close()
