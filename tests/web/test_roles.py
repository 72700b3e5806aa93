"""Who is an admin and who a rater: changed on the page, logged, at once in force, and never without an admin left."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest
from starlette.testclient import TestClient

from rating_room import SECRET, Enter
from tutelage.errors import DataError
from tutelage.store.audit import trail
from tutelage.store.people import LastAdminError, People
from tutelage.store.store import Store


def change(admin: TestClient, **fields: str) -> str:
    """What the page says after that form."""
    reply = admin.post("/admin/people/accounts", data=fields)
    assert (reply.status_code, reply.headers["location"]) == (303, "/admin/people")
    found = re.search(r'<div class="notice [^>]*>.*?<p>(.*?)</p>', admin.get("/admin/people").text, re.DOTALL)
    return html.unescape(found.group(1)) if found else ""


def ids(store: Store) -> dict[str, str]:
    return {account.name: account.rater for account in People(store.database, SECRET).accounts()}


def newest(store: Store) -> dict[str, Any]:
    return trail(store.database, limit=1)[0]


def test_a_rater_becomes_an_admin_by_the_page_and_a_rater_again(store: Store, enter: Enter):
    admin, rater = enter("Dana", role="admin"), enter("ann")
    people, ann = People(store.database, SECRET), ids(store)["ann"]
    assert rater.get("/admin").status_code == 403
    told = change(admin, rater=ann, role="admin")
    assert told == "ann is an admin from now on, and signed out everywhere: send a new link."
    row = newest(store)
    assert (row["action"], row["target"], row["actor"]) == ("change account", ann, ids(store)["Dana"])
    assert (row["before"], row["after"]) == (
        {"role": "rater", "active": True},
        {"role": "admin", "active": True},
    )
    assert rater.get("/api/v1/me").status_code == 401, "a session is never more than it was when it began"
    rater.post(f"/join/{people.invite('default', actor='t', rater=ann)}")
    assert rater.get("/admin").status_code == 200
    admin.post("/api/v1/language", json={"language": "zh"})
    assert change(admin, rater=ann, role="rater") == "ann 现在是评判员，并已在各处退出登录：请发送新链接。"
    rater.post(f"/join/{people.invite('default', actor='t', rater=ann)}")
    assert rater.get("/admin").status_code == 403 and rater.get("/api/v1/me").status_code == 200


def test_the_page_offers_the_other_role_of_everybody_but_oneself(store: Store, enter: Enter):
    admin, _, _ = enter("Dana", role="admin"), enter("ann"), enter("Eve", role="admin")
    page, known = admin.get("/admin/people").text, ids(store)
    offered = dict(re.findall(r'name="rater" value="([^"]+)"><button class="[^"]+" name="role" value="(\w+)"', page))
    assert offered == {known["ann"]: "admin", known["Eve"]: "rater"}
    assert change(admin, rater=known["Dana"], role="rater") == "" and change(admin, rater="nobody", role="admin") == ""
    assert admin.get("/admin").status_code == 200


def test_the_last_admin_stays_one_and_stays_in(store: Store, enter: Enter):
    people = People(store.database, SECRET)
    for name in ("Dana", "Eve"):
        enter(name, role="admin")
    dana, eve = ids(store)["Dana"], ids(store)["Eve"]
    people.change(eve, actor="t", active=False)
    with pytest.raises(LastAdminError, match="'Dana' is the last admin"):
        people.change(dana, actor="t", role="rater")
    with pytest.raises(LastAdminError, match="'Dana' is the last admin"):
        people.change(dana, actor="t", active=False)
    people.change(eve, actor="t", active=True)
    people.change(dana, actor="t", role="rater")
    with pytest.raises(LastAdminError):
        people.change(eve, actor="t", role="rater")
    people.change(eve, actor="t", role="admin")  # what changes nothing is no matter
    with pytest.raises(DataError, match="no rater"):
        people.change("nobody", actor="t", role="rater")
