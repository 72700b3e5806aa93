"""The admin's pages, as an admin's browser meets them: every page in both languages, every form, hostile texts."""

from __future__ import annotations

import html
import json
import re
import shlex
from html.parser import HTMLParser
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from hostile import CORPUS
from rating_room import HOST, OPEN, SECRET, Enter, answer, questions, take
from tutelage.cli.main import main
from tutelage.labelers import _desk
from tutelage.labelers._consensus import report
from tutelage.store.people import People
from tutelage.store.projects import Aspect, Projects, ProjectSettings
from tutelage.store.store import Store
from tutelage.types import Comparison, Judgement, Prompt, Sample
from tutelage.web._pages import words
from tutelage.web._settings import Settings
from tutelage.web.app import create_app

IN = "/admin/projects/default"
TABS = (
    "", "/questions", "/guidelines", "/settings", "/raters", "/adjudication", "/agreement", "/leaderboard", "/exports",
    "/sampling",
)  # fmt: skip
PAGES = ("/admin", "/admin/new", "/admin/people", "/admin/audit", *(IN + tab for tab in TABS))


@pytest.fixture
def app(store: Store) -> Starlette:
    lent = {"report": report, "questions": _desk.questions_of, "rows": _desk.rows_of}
    return create_app(store, Settings(hosts=(HOST,), secret=SECRET, limits=OPEN, **lent))


@pytest.fixture
def admin(enter: Enter) -> TestClient:
    return enter("Dana", role="admin")


@pytest.fixture
def judged(store: Store) -> Store:
    """Forty pairs and ten scored answers, each judged by three people of whom one says the contrary."""
    asked = questions(40) + questions(10, "scores", name="s")
    store.ask(asked, overlap=3)
    given: list[Judgement] = []
    for question in asked:
        for number, rater in enumerate(("ann", "bob", "cat")):
            best = (1, 2) if (number < 2) != question.id.endswith(("1", "3", "5")) else (2, 1)
            scores = {"faithful": 4.0 - number, "fluent": 3.0} if question.kind == "scores" else {}
            ranks = () if question.kind == "scores" else best
            shown = (0,) if question.kind == "scores" else (0, 1)
            name = f"{question.id}-{rater}"
            given.append(Judgement(name, question.id, rater, ranks, scores, shown=shown, seconds=5.0 + number))
    store.answer_many(given)
    return store


def said(reply: str) -> str:
    found = re.search(r'<div class="notice [^>]*>.*?<p>(.*?)</p>', reply, re.DOTALL)
    return html.unescape(found.group(1)) if found else ""


def follow(client: TestClient, reply: object) -> str:
    assert reply.status_code == 303, reply.text  # type: ignore[attr-defined]
    return client.get(reply.headers["location"]).text  # type: ignore[attr-defined]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_page_is_there_empty_and_full_in_both_languages(
    language: str, admin: TestClient, store: Store, request: pytest.FixtureRequest
):
    Projects(store.database).change("default", ProjectSettings(), actor="test")
    assert admin.post("/language", data={"language": language, "back": "/admin"}).status_code == 303
    mark = {"en": "Sign out", "zh": "退出登录"}[language]
    for page in PAGES:
        reply = admin.get(page)
        assert reply.status_code == 200 and mark in reply.text, page
        assert "<script" not in reply.text and " style=" not in reply.text, page
    request.getfixturevalue("judged")
    for page in (*PAGES, f"{IN}?live=1", f"{IN}/questions/1", f"{IN}/questions?show=disputed", f"{IN}/questions/41"):
        reply = admin.get(page)
        assert reply.status_code == 200 and mark in reply.text, page


def test_a_visitor_and_a_rater_see_none_of_it(app: Starlette, judged: Store, enter: Enter):
    rater = enter("eve")
    for page in PAGES:
        assert TestClient(app, base_url=f"http://{HOST}").get(page).status_code == 401
        assert rater.get(page).status_code == 403


def test_a_new_project_is_made_once_and_leads_to_its_questions(admin: TestClient):
    reply = admin.post("/admin/new", data={"name": "新闻 a~b", "kind": "ranking"})
    page = follow(admin, reply)
    assert "新闻 a~b" in said(page) and reply.headers["location"].endswith("/questions")
    assert '<option value="ranking" selected' in page
    again = admin.post("/admin/new", data={"name": "新闻 a~b", "kind": "pair"})
    assert again.status_code == 400 and "already" in again.text
    for language, told in (("en", "without /"), ("zh", "且不含 /")):
        admin.post("/api/v1/language", json={"language": language})
        for name in ("a/b", "x" * 81, ""):
            wrong = admin.post("/admin/new", data={"name": name, "kind": "pair"})
            assert wrong.status_code == 400 and told in wrong.text
    admin.post("/api/v1/language", json={"language": "en"})
    assert said(admin.get("/admin").text) == "", "a note is said once"


def test_settings_are_checked_field_by_field_and_nothing_typed_is_lost(admin: TestClient, judged: Store):
    good = {
        "title": "News", "kind": "pair", "overlap": "5", "goal": "40", "budget": "0", "lease_seconds": "600",
        "strength": "3", "tie": "on", "open": "on", "flag": "unsafe", "gold_rate": "5", "repeat_rate": "2.5",
        "random_share": "25", "selection": "random", "quiz": "0", "pass_mark": "80",
    }  # fmt: skip
    bad = admin.post(f"{IN}/settings", data=good | {"overlap": "0", "goal": "many", "random_share": "5"})
    assert bad.status_code == 400 and bad.text.count('class="error"') == 3 and 'value="many"' in bad.text
    no_gold = admin.post(f"{IN}/settings", data=good | {"quiz": "5"})
    assert no_gold.status_code == 400 and "Between 0 and 0" in no_gold.text, "a quiz needs questions with known answers"
    assert "Saved." in follow(admin, admin.post(f"{IN}/settings", data=good))
    settings = Projects(judged.database).settings("default")
    assert (settings.overlap, settings.repeat_rate, settings.flags) == (5, 0.025, ("unsafe",))
    assert settings.tie and not settings.both_bad and settings.random_share == 0.25
    assert "Nothing was changed" in follow(admin, admin.post(f"{IN}/settings", data=good))


def test_guidelines_get_versions_and_a_slower_admin_does_not_overwrite_a_faster_one(admin: TestClient, judged: Store):
    aspect = {
        "a0-name": "faithful",
        "a0-en": "Faithful",
        "a0-zh": "忠实",
        "a0-low": "0",
        "a0-high": "5",
        "a0-step": "1",
    }
    anchors = {"a0-anchors-en": "0: wrong\n5: right", "a0-anchors-zh": "0：错\n5：对", "aspects": "1"}
    first = {"base": "0", "en": "# Read *both*", "zh": "# 两个都读", **aspect, **anchors}
    page = follow(admin, admin.post(f"{IN}/guidelines", data=first))
    assert "Version 1 is in force" in said(page) and "<em>both</em>" in page and "两个都读" in page
    assert page.count("<h1") == 1 and "<h3>Read <em>both</em></h3>" in page, "one title, under it the preview"
    rubric = Projects(judged.database).rubric("default")
    assert rubric.aspects[0].anchors == {"0": {"en": "wrong", "zh": "错"}, "5": {"en": "right", "zh": "对"}}
    late = admin.post(f"{IN}/guidelines", data=first | {"en": "mine"})
    assert late.status_code == 400 and "mine" in late.text and 'name="base" value="1"' in late.text
    assert Projects(judged.database).rubric("default").version == 1
    assert "Version 2" in said(follow(admin, admin.post(f"{IN}/guidelines", data=first | {"base": "1", "en": "mine"})))
    old = admin.get(f"{IN}/guidelines?version=1").text
    assert "version 1, which is not in force" in said(old) and "# Read *both*" in old
    assert admin.get(f"{IN}/guidelines?version=9").status_code == 404


@pytest.mark.parametrize("anchors", ["9: too high", "no number", "3:"])
def test_an_anchor_that_cannot_be_read_is_named(anchors: str, admin: TestClient, judged: Store):
    sent = {"base": "0", "aspects": "1", "a0-name": "fluent", "a0-low": "0", "a0-high": "5", "a0-step": "1"}
    reply = admin.post(f"{IN}/guidelines", data=sent | {"a0-anchors-en": anchors})
    assert reply.status_code == 400 and anchors in html.unescape(reply.text)


def test_an_invitation_is_shown_once_and_lets_its_rater_in(admin: TestClient, app: Starlette, judged: Store):
    sent = {"name": "Li Wei", "project": "default", "role": "rater", "language": "zh", "days": "3"}
    page = follow(admin, admin.post("/admin/people", data=sent))
    found = re.search(r"http://[^<]*/join/[\w-]+", page)
    assert found and "/join/" not in admin.get("/admin/people").text
    browser = TestClient(app, base_url=f"http://{HOST}", follow_redirects=False, headers={"origin": f"http://{HOST}"})
    assert browser.get(found.group()).status_code == 200, "looking uses nothing up"
    assert browser.post(found.group()).status_code == 303
    assert "Li Wei" in admin.get("/admin/people").text
    rater = next(account for account in People(judged.database, SECRET).accounts() if account.name == "Li Wei")
    page = follow(admin, admin.post("/admin/people/accounts", data={"rater": rater.rater, "active": "0"}))
    assert "Li Wei is signed out" in said(page)
    assert browser.get("/api/v1/me").status_code == 401


def test_who_comes_from_a_project_invites_to_that_project(admin: TestClient):
    for name in ("first", "news & 排名"):
        admin.post("/admin/new", data={"name": name, "kind": "pair"})
    link = re.search(r'href="(/admin/people\?[^"]+)"', admin.get("/admin/projects/news%20&%20排名/raters").text)
    assert link is not None
    assert "<option selected>news &amp; 排名</option>" in admin.get(html.unescape(link[1])).text


def test_answers_come_in_as_questions_and_the_same_file_twice_adds_nothing(admin: TestClient, store: Store):
    Projects(store.database).change("default", ProjectSettings(), actor="test")
    rows = [{"prompt": f"p{n}", "completion": f"answer {k}", "model": f"m{k}"} for n in range(5) for k in range(3)]
    file = {"file": ("answers.jsonl", "\n".join(json.dumps(row) for row in rows).encode())}
    sent = {"kind": "pair", "overlap": "2", "per_prompt": "2", "size": "4"}
    assert "New questions: 10." in said(follow(admin, admin.post(f"{IN}/questions", data=sent, files=file)))
    assert "Nothing new" in said(follow(admin, admin.post(f"{IN}/questions", data=sent, files=file)))
    for kind, count in (("ranking", 5), ("best", 5), ("scores", 10), ("edit", 10)):
        page = follow(admin, admin.post(f"{IN}/questions", data=sent | {"kind": kind}, files=file))
        assert f"New questions: {count}." in said(page), kind
    broken = {"file": ("../../x.jsonl", b'{"prompt": 3}\n')}
    reply = admin.post(f"{IN}/questions", data=sent, files=broken)
    assert reply.status_code == 400 and "x.jsonl:1" in reply.text and "/tmp" not in reply.text


def test_aspects_on_different_scales_are_asked_in_questions_of_their_own(admin: TestClient, store: Store):
    projects = Projects(store.database)
    projects.change("default", ProjectSettings(), actor="test")
    aspects = (Aspect("faithful"), Aspect("tone", scale=(1.0, 7.0)), Aspect("fluent"))
    projects.publish("default", {}, aspects, actor="test")
    rows = [{"prompt": "p", "completion": f"answer {k}"} for k in range(2)]
    file = {"file": ("answers.jsonl", "\n".join(json.dumps(row) for row in rows).encode())}
    sent = {"kind": "scores", "overlap": "2", "per_prompt": "0", "size": "4"}
    assert "New questions: 4." in said(follow(admin, admin.post(f"{IN}/questions", data=sent, files=file)))
    asked = {(found.comparison.aspects, found.comparison.scale) for found in store.open_questions()}
    assert asked == {(("faithful", "fluent"), (0.0, 5.0)), (("tone",), (1.0, 7.0))}

    form = {"base": "1", "aspects": "1", "a0-name": "tone", "a0-low": "1", "a0-high": "5", "a0-step": "1"}
    page = follow(admin, admin.post(f"{IN}/guidelines", data=form))
    assert "“tone”: 2 open questions were asked on another scale" in html.unescape(page)
    page = follow(admin, admin.post(f"{IN}/questions", data=sent, files=file))
    assert "New questions: 2." in said(page), "a new scale is a new question, not one that is there already"


def test_an_excluded_rater_leaves_exports_and_statistics_and_comes_back(admin: TestClient, judged: Store):
    def raters() -> set[str]:
        reply = admin.post(f"{IN}/exports", data={"kind": "rated", "weights": "none"})
        rows = [json.loads(line) for line in reply.text.splitlines()]
        return {rating["rater"] for row in rows for rating in row["ratings"]}

    assert raters() == {"ann", "bob", "cat"}
    page = follow(admin, admin.post(f"{IN}/raters", data={"rater": "cat", "exclude": "1"}))
    assert "cat is excluded" in said(page) and raters() == {"ann", "bob"}
    assert "Excluded: cat" in admin.get(f"{IN}/exports").text
    log = admin.get("/admin/audit").text
    assert "excluded a rater" in log and "[&#39;cat&#39;]" in log, "the log says who was left out of which export"
    follow(admin, admin.post(f"{IN}/raters", data={"rater": "cat", "exclude": "0"}))
    assert raters() == {"ann", "bob", "cat"}


@pytest.mark.parametrize("kind", ["preference", "unpaired", "ranking", "rated", "demonstration", "raw"])
def test_every_export_is_json_lines_now_and_of_the_past(kind: str, admin: TestClient, judged: Store):
    now = admin.post(f"{IN}/exports", data={"kind": kind})
    assert now.status_code == 200 and "attachment" in now.headers["content-disposition"]
    assert all(isinstance(json.loads(line), dict) for line in now.text.splitlines())
    if kind in ("preference", "rated"):
        assert (
            now.text and not admin.post(f"{IN}/exports", data={"kind": kind, "at": "2001-01-01T00:00:00"}).text.strip()
        )
    assert admin.post(f"{IN}/exports", data={"kind": kind, "at": "soon"}).status_code == 400
    elsewhere = admin.post(f"{IN}/exports", data={"kind": kind, "at": "2001-01-01T08:00:00+08:00"})
    assert "20010101T000000Z" in elsewhere.headers["content-disposition"], "a time that names its zone is of that zone"


@pytest.mark.parametrize("language", ["en", "zh"])
def test_each_file_that_the_shown_export_writes_is_explained(
    language: str, admin: TestClient, judged: Store, tmp_path: Path
):
    admin.post("/language", data={"language": language, "back": "/admin"})
    page = html.unescape(admin.get(f"{IN}/exports").text)
    command = shlex.split(re.search(r"tutelage (rate export .*?)\n", page).group(1))  # type: ignore[union-attr]
    command[command.index("--out") + 1] = str(tmp_path / "pairs.jsonl")
    command[command.index("--db") + 1] = str(judged.database.path)
    assert main(command) == 0
    made = {path.name for path in tmp_path.iterdir() if path.suffix == ".jsonl"}
    explained = set(re.findall(r"<dt>(pairs\.[a-z.]+)</dt><dd>[^<]+</dd>", page))
    assert len(made) >= 3 and made <= explained == set(words(language)["admin"]["exports"]["files"])


def test_looking_changes_nothing(admin: TestClient, judged: Store):
    def state() -> list[int]:
        with judged.database.reading() as connection:
            return [
                connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one()
                for table in ("settings", "rubrics", "invitations", "exclusions", "audit", "judgements", "questions")
            ]

    before = state()
    for page in (*PAGES, f"{IN}/questions/1"):
        admin.get(page)
    assert state() == before


def test_progress_counts_what_raters_do(admin: TestClient, store: Store, enter: Enter):
    store.ask(questions(4), overlap=1)
    rater = enter("eve")
    first, second = take(rater, 2)
    assert rater.post("/api/v1/judgements", json=answer(first)).status_code == 200
    skip = {"id": "018f0000-0000-7000-8000-000000000001", "reason": "too_long"}
    assert rater.post(f"/api/v1/tasks/{second['id']}/skip", json=skip).status_code == 200
    page = admin.get(IN).text
    assert "25 % done; judgements still wanted: 3." in page and "eve" in page
    skipped = admin.get(f"{IN}/questions?show=skipped").text
    assert "1 in this list" in skipped and "skipped 1×" in skipped
    assert "too long" in admin.get(f"{IN}/questions/2").text
    told = admin.get(f"{IN}/questions/1").text
    assert "SECRET-model0" in told and "weights SECRET-weigh" in told, "the admin may know the models and their weights"


class Scripts(HTMLParser):
    """What a browser would run or load."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in (
            "script",
            "iframe",
            "img",
            "object",
            "embed",
            "base",
            "style",
            "video",
            "audio",
            "math",
            "plaintext",
        ):
            self.found.append(tag)
        self.found += [name for name, _ in attrs if name.startswith("on") or name in ("style", "srcdoc", "formaction")]
        self.found += [value for name, value in attrs if name in ("href", "src") and value and "evil.example" in value]


def test_hostile_texts_are_only_text_on_every_page(admin: TestClient, store: Store):
    asked: list[Comparison] = []
    for number, text in enumerate(CORPUS):
        prompt = Prompt(f"p{number}", text or "-")
        one, two = (
            Sample(f"s{number}-{k}", prompt, f"{k} {text}", model=f"m{k}\u202e<b>" if number else "m") for k in range(2)
        )
        asked.append(Comparison(f"q{number}", "pair", prompt, (one, two)))
    store.ask(asked)
    given = [Judgement(f"j{n}", q.id, "ann", (1, 2), comment=CORPUS[n], shown=(0, 1)) for n, q in enumerate(asked)]
    store.answer_many(given)
    pages = [IN + tab for tab in TABS if tab not in ("/settings", "/guidelines")]
    pages += [f"{IN}/questions?page={page}" for page in range(2, 1 + -(-len(CORPUS) // 50))]
    for page in [*pages, *(f"{IN}/questions/{number + 1}" for number in range(0, len(CORPUS), 3))]:
        reply, parser = admin.get(page), Scripts()
        assert reply.status_code == 200, page
        parser.feed(reply.text)
        assert not parser.found, (page, parser.found)
        assert not re.search("[\u202a-\u202e\u2066-\u2069\u200b]", reply.text), f"{page}: an unseen character"


def test_unknown_projects_and_questions_are_nothing(admin: TestClient, judged: Store):
    for tab in TABS:
        assert admin.get(f"/admin/projects/other{tab}").status_code == 404
    for number in ("999", "99999999999999999999999", "-1", "x"):
        assert admin.get(f"{IN}/questions/{number}").status_code == 404
