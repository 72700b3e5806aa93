"""Coming in by an invitation: in whose language the pages speak, and what a link that leads nowhere says."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from rating_room import SECRET, door
from tutelage.store.people import People
from tutelage.store.store import Store

ENGLISH, CHINESE = {"accept-language": "en-GB,en;q=0.9"}, {"accept-language": "zh-CN,zh;q=0.9"}


def spoken(page: str) -> str:
    return "zh" if '<html lang="zh-Hans"' in page else "en"


def enter(client: TestClient, token: str, headers: dict[str, str]) -> list[str]:
    """The languages of the invitation and of the rating page after it, as its browser has both."""
    invitation = client.get(f"/join/{token}", headers=headers).text
    assert client.post(f"/join/{token}", headers=headers).status_code == 303
    rating, me = client.get("/rate", headers=headers).text, client.get("/api/v1/me").json()
    assert spoken(rating) == me["language"]
    return [spoken(invitation), me["language"]]


@pytest.mark.parametrize(
    ("language", "browser", "heard"),
    [("zh", ENGLISH, "zh"), ("en", CHINESE, "en"), ("", CHINESE, "zh"), ("", ENGLISH, "en"), ("", {}, "en")],
)
def test_an_invitations_language_leads_and_the_browsers_where_it_has_none(
    language: str, browser: dict[str, str], heard: str, app: Starlette, store: Store
):
    token = People(store.database, SECRET).invite("default", actor="test", language=language)
    assert enter(door(app), token, browser) == [heard, heard]


def test_a_language_chosen_by_hand_goes_before_that_of_the_invitation(app: Starlette, store: Store):
    token, client = People(store.database, SECRET).invite("default", actor="test", language="zh"), door(app)
    assert spoken(client.get(f"/join/{token}").text) == "zh"
    chosen = client.post("/language", data={"language": "en", "back": f"/join/{token}"})
    assert chosen.headers["location"] == f"/join/{token}"
    assert enter(client, token, CHINESE) == ["en", "en"]


def test_an_invitation_opened_by_somebody_signed_in_is_in_its_own_language(app: Starlette, store: Store):
    people, client = People(store.database, SECRET), door(app)
    enter(client, people.invite("default", actor="test", language="en"), {})
    assert enter(client, people.invite("default", actor="test", language="zh"), ENGLISH) == ["zh", "zh"]


def test_a_link_for_an_account_that_is_there_speaks_its_language(app: Starlette, store: Store):
    people = People(store.database, SECRET)
    people.admit("zhang", "default", actor="test", language="zh")
    assert enter(door(app), people.invite("default", actor="test", rater="zhang"), ENGLISH) == ["zh", "zh"]
    people.change_language("zhang", "en")
    again = people.invite("default", actor="test", rater="zhang", language="zh")
    assert enter(door(app), again, ENGLISH) == ["en", "en"], "the rater has chosen meanwhile"


def test_a_link_that_leads_nowhere_says_that_it_may_be_incomplete_whatever_the_cause(app: Starlette, store: Store):
    people = People(store.database, SECRET)
    used, revoked = (people.invite("default", actor="test") for _ in range(2))
    people.accept(used)
    people.revoke(next(row.digest for row in people.invitations() if row.used is None), actor="test")
    for browser, word in ((ENGLISH, "copy the whole link"), (CHINESE, "复制完整链接")):
        pages = {token: door(app).get(f"/join/{token}", headers=browser) for token in (used, revoked, used[:-1], "xyz")}
        assert {page.status_code for page in pages.values()} == {410}
        told = {page.text.replace(token, "") for token, page in pages.items()}
        assert len(told) == 1 and word in told.pop(), "which it is would tell strangers what links there are"
