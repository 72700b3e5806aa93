"""Who is let in: routes × roles, other sites, other names, sizes, rates, links, cookies, sessions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount, Route

from rating_room import HOST, SECRET, Enter, answer, door, new_id, questions, take
from tutelage.errors import DeniedError
from tutelage.store.people import People
from tutelage.store.store import Store
from tutelage.types import Judgement
from tutelage.web import _secret
from tutelage.web._security import POLICY, Buckets, needs
from tutelage.web._settings import Limits, Settings
from tutelage.web.app import create_app, routes

EVERYBODY = {
    "/": "GET",
    "/signed-out": "GET",
    "/join/{token}": "GET POST",
    "/language": "POST",
    "/theme": "POST",
    "/healthz": "GET",
}
RATERS = {
    "/logout": "POST",
    "/project": "POST",
    "/rate": "GET",
    "/guidelines": "GET",
    "/api/v1/me": "GET",
    "/api/v1/language": "POST",
    "/api/v1/tasks/next": "POST",
    "/api/v1/tasks/{id}/skip": "POST",
    "/api/v1/skips/{id}/undo": "POST",
    "/api/v1/judgements": "POST",
    "/api/v1/judgements/{id}/undo": "POST",
    "/api/v1/guidelines": "GET",
    "/api/v1/openapi.json": "GET",
}
ADMINS = {
    "/admin": "GET",
    "/admin/new": "GET POST",
    "/admin/people": "GET POST",
    "/admin/people/revoke": "POST",
    "/admin/people/accounts": "POST",
    "/admin/audit": "GET",
    "/admin/projects/{project}": "GET",
    "/admin/projects/{project}/questions": "GET POST",
    "/admin/projects/{project}/questions/{number:int}": "GET POST",
    "/admin/projects/{project}/adjudication": "GET",
    "/admin/projects/{project}/guidelines": "GET POST",
    "/admin/projects/{project}/settings": "GET POST",
    "/admin/projects/{project}/raters": "GET POST",
    "/admin/projects/{project}/raters/admit": "POST",
    "/admin/projects/{project}/raters/{rater:path}": "GET",
    "/admin/projects/{project}/agreement": "GET",
    "/admin/projects/{project}/leaderboard": "GET",
    "/admin/projects/{project}/exports": "GET POST",
    "/admin/projects/{project}/sampling": "GET POST",
    "/admin/projects/{project}/sampling/cancel": "POST",
    "/admin/projects/{project}/sampling/continue": "POST",
    "/admin/projects/{project}/sampling/discard": "POST",
    "/api/v1/admin/projects/{project}/sampling": "GET POST",
    "/api/v1/admin/projects/{project}/sampling/job": "GET",
    "/api/v1/admin/projects/{project}/sampling/cancel": "POST",
    "/api/v1/admin/projects/{project}/sampling/continue": "POST",
    "/api/v1/admin/projects/{project}/sampling/discard": "POST",
}
"""Every route with its methods, under the least role that it asks for. Who adds a route says here who may use it."""

JSON = {"content-type": "application/json"}


def every_route() -> list[tuple[str, str]]:
    """(method, path) of all there are, with something in place of each parameter."""
    found: list[tuple[str, str]] = []
    for route in routes():
        assert isinstance(route, Route | Mount)
        if isinstance(route, Route):
            found += [(method, route.path) for method in sorted(route.methods or ())]
    return found


def filled(path: str) -> str:
    path = path.replace("{project}", "default").replace("{number:int}", "1").replace(":path", "")
    return path.replace("{", "").replace("}", "")


def test_every_route_is_listed_with_its_role_and_none_other_is_there():
    listed = {
        (method, path) for table in (EVERYBODY, RATERS, ADMINS) for path in table for method in table[path].split()
    }
    there = {(method, path) for method, path in every_route() if method != "HEAD"}
    assert there - listed == set(), "new: list it above under the least role that it asks for"
    assert listed - there == set(), "gone"
    (files,) = [route for route in routes() if isinstance(route, Mount)]
    assert files.path == "/static", "the only folder that is served"
    told = {path: needs(filled(path)) for path in (*EVERYBODY, *RATERS, *ADMINS)}
    assert told == dict.fromkeys(EVERYBODY) | dict.fromkeys(RATERS, "rater") | dict.fromkeys(ADMINS, "admin")


@pytest.mark.parametrize(("method", "path"), every_route(), ids=" ".join)
def test_a_stranger_gets_nothing_but_the_few_open_routes(method: str, path: str, app: Starlette):
    reply = door(app).request(method, filled(path), json={})
    if path in EVERYBODY:
        assert reply.status_code in (200, 303, 400, 405, 410)
    else:
        assert reply.status_code == 401, reply.text


@pytest.mark.parametrize(("method", "path"), every_route(), ids=" ".join)
def test_a_rater_gets_nothing_of_the_admins(method: str, path: str, enter: Enter):
    reply = enter().request(method, filled(path), json={})
    if path in ADMINS:
        assert reply.status_code == 403
    else:
        assert reply.status_code not in (401, 403)


@pytest.mark.parametrize(("method", "path"), every_route(), ids=" ".join)
def test_an_admin_reaches_everything(method: str, path: str, enter: Enter, store: Store):
    asked = questions(1)
    store.ask(asked)
    store.answer(Judgement("j", asked[0].id, "rater", (1, 2)))
    reply = enter(role="admin").request(method, filled(path), json={})
    assert reply.status_code not in (401, 403, 405, 500), reply.text
    unknown = 404 if "{rater:path}" in path else 410  # there is nobody and no link of that name
    assert method == "POST" or reply.status_code in (200, 303, unknown), reply.text


def test_paths_that_nobody_thought_of_ask_for_a_session_too(app: Starlette, enter: Enter):
    assert needs("/metrics") == needs("/api/v2/x") == "rater" and needs("/admin/anything") == "admin"
    assert needs("/administer") == "rater" and needs("/ADMIN") == "rater", "no such routes: 404 to raters"
    client = enter()
    for path in ("/ADMIN", "/admin%2f", "/x/../admin", "/static/../app.py", "/static/%2e%2e/app.py"):
        assert door(app).get(path).status_code in (401, 404)
        assert client.get(path).status_code in (403, 404), path


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_reading_changes_nothing(method: str, enter: Enter, store: Store):
    store.ask(questions(1))
    client = enter(role="admin")
    before = dump(store)
    for _, path in every_route():
        client.request(method, filled(path))
    assert dump(store) == before


def dump(store: Store) -> list[str]:
    with store.database.reading() as connection:
        tables = connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'table'").scalars().all()
        return [str(connection.exec_driver_sql(f"SELECT * FROM {name}").all()) for name in sorted(tables)]


@pytest.mark.parametrize("name", ["evil.example", "127.0.0.1:9999", "", "127.0.0.1:8000.evil.example", "[::1]"])
def test_other_host_names_are_not_answered_so_rebinding_gains_nothing(name: str, enter: Enter):
    assert enter().get("/api/v1/me", headers={"host": name}).status_code == 421


FOREIGN = [
    {"origin": "https://evil.example"},
    {"origin": "null"},
    {"origin": f"http://{HOST}.evil.example"},
    {"origin": "http://127.0.0.1:9000"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"origin": f"http://{HOST}", "sec-fetch-site": "cross-site"},
]


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_other_sites_change_nothing(headers: dict[str, str], enter: Enter, store: Store):
    store.ask(questions(1))
    client = enter()
    (task,) = take(client)
    client.headers.pop("origin")
    before = dump(store)
    for _, path in [route for route in every_route() if route[0] == "POST"]:
        assert client.post(filled(path), headers=headers, json=answer(task)).status_code == 403
    assert dump(store) == before


def test_every_reply_carries_a_policy_without_inline_scripts(app: Starlette, enter: Enter):
    client = enter()
    for browser, path in ((client, "/rate"), (client, "/nowhere"), (client, "/api/v1/me"), (door(app), "/api/v1/me")):
        headers = browser.get(path).headers
        assert headers["content-security-policy"] == POLICY and headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store" and "access-control-allow-origin" not in headers
    assert "unsafe" not in POLICY and "default-src 'none'" in POLICY


def test_pages_hold_no_inline_script_style_or_handler(enter: Enter):
    for role, path in (("rater", "/rate"), ("rater", "/guidelines"), ("admin", "/admin")):
        html = enter(name=path, role=role).get(path, follow_redirects=True).text
        for script in html.split("<script")[1:]:
            opening = script.partition(">")[0]
            assert "src=" in opening or 'type="application/json"' in opening, opening
        assert "<style" not in html and " style=" not in html and " onclick=" not in html


def test_too_large_bodies_are_dropped_whether_announced_or_not(enter: Enter, store: Store):
    client = enter()
    size = Limits().body_bytes + 1
    assert client.post("/api/v1/judgements", content=b"x" * size).status_code == 413
    pieces = (b"x" * 65536 for _ in range(size // 65536 + 2))
    assert client.post("/api/v1/judgements", content=pieces, headers=JSON).status_code == 413
    assert client.post("/api/v1/judgements", content=b"{}", headers={"content-length": "-1"}).status_code in (400, 413)


def test_trying_links_is_limited_and_others_are_not_hindered(store: Store):
    limits = Limits(joins_per_minute=20)
    app = create_app(store, Settings(hosts=(HOST,), secret=SECRET, limits=limits))
    token = People(store.database, SECRET).invite("default", actor="test")
    inside = door(app)
    assert inside.post(f"/join/{token}").status_code == 303
    codes = [door(app).post(f"/join/{number}").status_code for number in range(100)]
    assert codes.count(410) <= 20 and codes.count(429) >= 80
    assert inside.get("/api/v1/me").status_code == 200 and inside.get("/static/site.css").status_code == 200


def test_buckets_fill_up_again(monkeypatch: pytest.MonkeyPatch):
    now = 100.0
    monkeypatch.setattr("tutelage.web._security.time.monotonic", lambda: now)
    buckets = Buckets(60)
    assert [buckets.take("a") for _ in range(61)] == [True] * 60 + [False] and buckets.take("b")
    now += 2.0
    assert [buckets.take("a") for _ in range(3)] == [True, True, False]


def test_looking_at_a_link_does_not_use_it_up_and_it_works_once(app: Starlette, store: Store):
    token = People(store.database, SECRET).invite("default", actor="test", name="Ann")
    preview = door(app)
    assert [preview.get(f"/join/{token}").status_code, preview.head(f"/join/{token}").status_code] == [200, 200]
    assert "set-cookie" not in preview.get(f"/join/{token}").headers
    first, second = door(app), door(app)
    assert first.post(f"/join/{token}").headers["location"] == "/"
    assert second.post(f"/join/{token}").status_code == second.get(f"/join/{token}").status_code == 410
    assert first.get("/").headers["location"] == "/rate" and first.post(f"/join/{token}").status_code == 303


def test_a_link_ends_by_age_by_being_revoked_and_by_another_secret(app: Starlette, store: Store):
    people = People(store.database, SECRET)
    old, revoked = people.invite("default", actor="test", seconds=0.001), people.invite("default", actor="test")
    people.revoke(next(row.digest for row in people.invitations() if row.expires > row.created + 1), actor="test")
    other = People(store.database, b"another").invite("default", actor="test")
    assert {door(app).post(f"/join/{token}").status_code for token in (old, revoked, other, "x", "x" * 5000)} == {410}


def test_tokens_and_cookies_are_nowhere_in_the_database(enter: Enter, store: Store):
    token = People(store.database, SECRET).invite("default", actor="test")
    cookie = enter().cookies["tutelage"]
    told = "".join(dump(store))
    assert token not in told and cookie not in told


def test_the_cookie_is_hidden_from_scripts_and_secure_where_https_is(app: Starlette, store: Store):
    people = People(store.database, SECRET)
    told = door(app).post(f"/join/{people.invite('default', actor='t')}").headers["set-cookie"].lower()
    assert "httponly" in told and "samesite=lax" in told and "secure" not in told
    https = create_app(store, Settings(hosts=(HOST,), secret=SECRET, secure=True))
    assert "secure" in door(https).post(f"/join/{people.invite('default', actor='t')}").headers["set-cookie"].lower()


@pytest.mark.parametrize("proxy", [None, "x-forwarded-for", "forwarded"])
def test_the_sign_in_page_names_the_database_to_nobody_behind_a_proxy(proxy: str | None, store: Store):
    here = create_app(store, Settings(hosts=(HOST,), secret=SECRET, database="my.db"))
    headers = {"accept": "text/html"} | ({} if proxy is None else {proxy: "192.0.2.1"})
    for path in ("/rate", "/signed-out"):
        page = door(here).get(path, headers=headers).text
        assert "--role admin" in page and ("my.db" in page) == (proxy is None), path


def test_the_session_is_new_at_each_sign_in_and_dead_after_signing_out(app: Starlette, enter: Enter, store: Store):
    client = enter()
    fixed = client.cookies["tutelage"]
    token = People(store.database, SECRET).invite("default", actor="t", rater=rater_of(store))
    assert client.post(f"/join/{token}").status_code == 303
    assert client.cookies["tutelage"] != fixed and status_with(app, fixed) == 401
    stolen = client.cookies["tutelage"]
    assert status_with(app, stolen) == 200
    assert client.post("/logout").headers["location"] == "/signed-out"
    assert status_with(app, stolen) == 401
    planted = "A" * 43
    assert status_with(app, planted) == 401


def rater_of(store: Store) -> str:
    return People(store.database, SECRET).accounts()[0].rater


def status_with(app: Starlette, cookie: str) -> int:
    return door(app).get("/api/v1/me", headers={"cookie": f"tutelage={cookie}"}).status_code


def test_a_changed_role_and_a_closed_account_end_all_sessions(app: Starlette, enter: Enter, store: Store):
    people = People(store.database, SECRET)
    client = enter()
    people.change(rater_of(store), actor="t", active=False)
    assert client.get("/api/v1/me").status_code == 401
    people.change(rater_of(store), actor="t", active=True, role="admin")
    assert client.get("/api/v1/me").status_code == 401, "an ended session stays ended"


def test_sessions_survive_a_clock_that_jumps_a_day_and_end_where_it_was_wrong_by_years(
    enter: Enter, store: Store, monkeypatch: pytest.MonkeyPatch
):
    client, now = enter(), store.database.now
    for jump, status in ((86400, 200), (-86400, 200), (31 * 86400, 401), (-20 * 365 * 86400, 401)):
        monkeypatch.setattr(store.database, "now", lambda connection, jump=jump: now(connection) + jump)
        assert client.get("/api/v1/me").status_code == status, jump


def test_no_rater_reaches_anothers_judgement(enter: Enter, store: Store):
    store.ask(questions(2), overlap=3)
    ann, bo = enter("Wilhelmina"), enter("bo")
    kept = answer(take(ann)[0], comment="her own words")
    ann.post("/api/v1/judgements", json=kept)
    take(bo, 2)
    assert bo.post(f"/api/v1/judgements/{kept['id']}/undo", json={"id": new_id()}).status_code == 404
    told = bo.get("/api/v1/me").text + json.dumps(take(bo, 2))
    assert "Wilhelmina" not in told and "her own" not in told and rater_of(store) not in told


def test_a_page_left_open_stores_nothing_in_the_name_of_who_signed_in_later(enter: Enter, store: Store):
    store.ask(questions(1), overlap=3)
    ann, bo = enter("ann"), enter("bo")
    page_of_ann = {"tutelage-rater": ann.get("/api/v1/me").json()["rater"]}
    (task,) = take(ann)
    take(bo)  # the same question is handed to both
    told = answer(task)
    reply = bo.post("/api/v1/judgements", json=told, headers=page_of_ann)  # the browser has bo's cookie by now
    assert reply.status_code == 401 and "somebody else" in reply.json()["error"]["what"] and store.history() == []
    assert ann.post("/api/v1/judgements", json=told, headers=page_of_ann).status_code == 200


def test_signing_in_leads_nowhere_else(enter: Enter):
    client = enter()
    for target in ("https://evil.example", "//evil.example", "/\\evil.example", "javascript:alert(1)", "/x\r\ny: z"):
        assert client.post("/theme", data={"theme": "dark", "back": target}).headers["location"] == "/"
    assert (
        client.post("/language", data={"language": "zh", "back": "/guidelines?a=1"}).headers["location"]
        == "/guidelines?a=1"
    )


def test_a_secret_is_made_once_for_its_owner_alone(tmp_path: Path):
    path = _secret.place(str(tmp_path / "a.db"))
    first = _secret.secret_at(path)
    assert len(first) == 32 and path.stat().st_mode & 0o777 == 0o600 and _secret.secret_at(path) == first
    assert _secret.secret_at(tmp_path / "b.secret") != first
    path.chmod(0o644)
    with pytest.raises(DeniedError, match="others can read"):
        _secret.secret_at(path)


def test_errors_do_not_say_what_is_inside(enter: Enter, store: Store, monkeypatch: pytest.MonkeyPatch):
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("SECRET path /root/ratings.db")

    client = enter()
    client._transport.raise_server_exceptions = False  # pyright: ignore
    monkeypatch.setattr("tutelage.web.api.Desk.me", broken)
    reply = client.get("/api/v1/me")
    assert reply.status_code == 500 and "SECRET" not in reply.text and reply.json()["error"]["what"]
