"""Every page and `rate stats` say the same numbers, whatever was taken back, asked to check, repeated or left out."""

from __future__ import annotations

import re

from rating_room import Enter, new_id, questions
from tutelage.cli._rate_stats import told_of
from tutelage.labelers._consensus import report
from tutelage.store.decisions import Decisions
from tutelage.store.overview import Overview
from tutelage.store.people import People
from tutelage.store.projects import Projects, ProjectSettings
from tutelage.store.store import Store
from tutelage.store.work import Work
from tutelage.types import Judgement
from tutelage.web._admin_numbers import rater_rows
from tutelage.web._pages import words


def messy(store: Store, raters: list[str], project: str) -> dict[str, int]:
    """rater → judgements that stand, in a project where everything has happened."""
    store.ask(questions(30, name="c"), project, overlap=3)
    for number in range(1, 6):
        Decisions(store.database).decide(project, number, Judgement("", "", "", (1, 2)), gold=True, actor="t")
    Projects(store.database).change(project, ProjectSettings(gold_rate=0.2, repeat_rate=0.4), actor="t")
    work, stands, purposes = Work(store.database, b"s"), dict.fromkeys(raters, 0), set[str]()
    for rater in raters:
        for turn in range(24):  # names are drawn anew each time, and so is who is asked again
            (task,) = work.take(rater, project, count=1, lease_seconds=900, rubric=0)
            purposes.add(task.purpose)
            kept = work.submit(Judgement(new_id(), task.id, rater, (1, 2), shown=(0, 1)), project)
            if turn % 6 == 1:  # edited: one judgement still
                kept = work.submit(Judgement(new_id(), task.id, rater, (2, 1), shown=(0, 1)), project)
            stands[rater] += not task.purpose
            if turn % 6 == 2:
                work.undo(kept.id, new_id(), rater, project, lease_seconds=900, rubric=0)
                work.skip(task.id, new_id(), rater, project, "unclear")
                stands[rater] -= not task.purpose
    assert purposes == {"", "gold", "repeat"}
    People(store.database, b"").exclude(project, raters[-1], True, reason="guesses", actor="t")
    Decisions(store.database).decide(project, 9, Judgement("", "", "", (2, 1)), actor="t")
    return stands


def figure(page: str, before: str) -> int:
    found = re.search(re.escape(before) + r"\D*?<b>([\d,]+)</b>", page)
    assert found, before
    return int(found.group(1).replace(",", ""))


def test_all_pages_and_the_command_line_count_alike(store: Store, enter: Enter) -> None:
    project = "default"
    enter_as = [enter(name=name) for name in ("Ann", "Bo", "Cy")]
    raters = [client.get("/api/v1/me").json()["rater"] for client in enter_as]
    stands = messy(store, raters, project)
    counted = {rater: count for rater, count in stands.items() if rater != raters[-1]}
    total, overview = sum(counted.values()), Overview(store.database)
    assert overview.by_rater(project) == stands and overview.counting(project) == counted
    assert overview.counts(project).raters == 2 and overview.pulse(project)["today"] == total
    assert overview.by_rubric(project) == {"0": total}
    told = told_of(store, project)
    assert (told["judgements"], told["questions"]) == (total, 25)
    assert {line["rater"]: line["judgements"] for line in told["raters"]} == stands
    assert [line["name"] for line in sorted(told["raters"], key=lambda line: raters.index(line["rater"]))] == [
        "Ann", "Bo", "Cy"
    ]  # fmt: skip
    assert told["names"] == {raters[-1]: "Cy"}
    assert sum(rater in counted for rater in [one.rater for one in store.judgements(project)]) == total
    admin = enter(role="admin", name="Dana")
    exports = admin.get(f"/admin/projects/{project}/exports").text
    assert (figure(exports, "Judgements"), figure(exports, "Raters")) == (total, 2)
    cells = re.findall(
        r'<th>(Ann|Bo|Cy|Dana)</th>.*?data-label="Judgements">([\d,]+)<', admin.get("/admin/people").text
    )
    assert {name: int(count) for name, count in cells} == dict(
        zip(("Ann", "Bo", "Cy"), stands.values(), strict=True)
    ) | {"Dana": 0}
    assert "<b>2</b>" in admin.get("/admin").text


def test_last_seen_knows_of_those_who_only_signed_in_or_skipped(store: Store, enter: Enter) -> None:
    rater = enter(name="Ann").get("/api/v1/me").json()["rater"]
    assert rater in Overview(store.database).last_seen()
    page = enter(role="admin", name="Dana").get("/admin/people").text
    assert "never" not in page


def test_the_share_that_agrees_is_as_sure_as_the_choices_that_others_made_too(store: Store) -> None:
    store.ask(questions(30, name="c"), "P", overlap=2)
    alone = [Judgement(f"a{number}", f"SECRET-c-pair-{number}", "ann", (1, 2), shown=(0, 1)) for number in range(30)]
    both = [Judgement(f"b{number}", f"SECRET-c-pair-{number}", "bob", (1, 2), shown=(0, 1)) for number in range(5)]
    store.answer_many([*alone, *both])
    rows = {row["rater"]: row for row in rater_rows(report(store, "P"), {}, {}, words("en")["admin"])}
    agrees = rows["ann"]["agrees"]
    assert agrees is not None and agrees["value"] == 1.0
    assert abs(agrees["low"] - 0.5655) < 1e-3, "five of five, though thirty were judged"
    assert agrees == rows["bob"]["agrees"]
