"""Admin pages of one project: how far it is, its guidelines with aspects (one version of both), its settings."""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib.util import find_spec

from markupsafe import Markup
from starlette.exceptions import HTTPException
from starlette.responses import Response

from tutelage.store.decisions import Decisions
from tutelage.store.projects import FLAGS, OvertakenError
from tutelage.web._admin_forms import aspect_values, one, read_aspects, read_settings, settings_values
from tutelage.web._admin_numbers import ago, iso, judgement_line, when
from tutelage.web._admin_page import Desk, Form, slug_of
from tutelage.web._admin_quality import selection
from tutelage.web.text import to_html

GUIDELINES = 60_000
"""letters of guidelines in one language, at most"""


def progress(desk: Desk) -> Response:
    """How far the project is and what goes on."""
    project, words = desk.project(), desk.words
    counts, now = desk.overview.counts(project), desk.overview.now()
    pulse, names = desk.overview.pulse(project), desk.names()
    headline = words["progress"]["headline_empty"]
    if counts.questions:
        left = counts.wanted - counts.given
        told = words["progress"]["headline_open" if left else "headline_done"]
        headline = told.format(share=counts.share, left=f"{left:,}")
    latest = []
    for row in desk.overview.latest(project):
        line = judgement_line(row, row["kind"], now, words)
        latest.append(
            line | {"rater": names.get(row["rater"], line["rater"]), "kind": row["kind"], "asked": row["asked"]}
        )
    found = desk.settings.waiting(desk.store, project) if desk.settings.waiting else None
    waiting = None
    if found is not None:
        text = words["progress"]["waiting_text"].format(needed=found[0])
        waiting = {"text": text, "more": words["progress"]["waiting_more"].format(minutes=max(1, round(found[1] / 60)))}
    days = [(when(start)[5:10], given) for start, given in pulse.pop("days")]
    return desk.page(
        "progress",
        "progress",
        project,
        counts=counts,
        pulse=pulse,
        headline=headline,
        days=days,
        kinds=desk.overview.kinds(project),
        latest=latest,
        waiting=waiting,
        selection=selection(desk, project),
        budget=_budget(desk, project),
        live="live" in desk.request.query_params,
    )


def _budget(desk: Desk, project: str) -> dict[str, str] | None:
    """How much of the budget is spent; None where there is none."""
    budget = desk.projects.settings(project).budget
    if not budget:
        return None
    given, held = desk.overview.spent(project)
    note = desk.words["selection"]["budget_note"].format(budget=f"{budget:,}", held=held)
    return {"given": f"{given:,}", "note": note}


def guidelines(desk: Desk) -> Response:
    """The newest guidelines and aspects, or an older version to look at."""
    project = desk.project()
    wanted = desk.request.query_params.get("version", "")
    newest = desk.projects.rubric(project)
    rubric = newest
    if wanted:
        found = [old for old in desk.projects.rubrics(project) if str(old.version) == wanted]
        if not found:
            raise HTTPException(404, "there is no such version")
        rubric = found[0]
    old = rubric.version if rubric.version != newest.version else None
    return _guidelines(desk, project, dict(rubric.guidelines), aspect_values(rubric), old)


def _guidelines(
    desk: Desk,
    project: str,
    texts: dict[str, str],
    aspects: list[dict[str, str]],
    old: int | None = None,
    problem: str = "",
) -> Response:
    now, names, told = desk.overview.now(), desk.names(), desk.overview.by_rubric(project)
    versions = [
        {
            "version": rubric.version,
            "by": names.get(rubric.actor, rubric.actor),
            "judgements": told.get(str(rubric.version), 0),
            "iso": iso(rubric.created),
            "ago": ago(rubric.created, now, desk.words["time"]),
        }
        for rubric in desk.projects.rubrics(project)
    ]
    html = {code: Markup(to_html(texts[code], under=2)) if texts.get(code) else "" for code in ("en", "zh")}
    return desk.page(
        "guidelines",
        "guidelines",
        project,
        400 if problem else 200,
        texts=texts,
        html=html,  # safe: made by text.to_html
        aspects=aspects,
        shown=old,
        version=versions[0]["version"] if versions else 0,
        versions=versions,
        problem=problem,
    )


def publish(desk: Desk, form: Form) -> Response:
    """Put a new version in force, unless somebody else has done so since the form was shown."""
    project, words, fields = desk.project(), desk.words, form.fields
    texts = {code: (fields.get(code) or [""])[0].strip()[:GUIDELINES] for code in ("en", "zh")}
    texts = {code: text for code, text in texts.items() if text}
    typed, aspects, wrong = read_aspects(fields, words["settings"])
    shown = one(fields, "base", "0")
    base = int(shown) if shown.isdecimal() and len(shown) < 10 else -1
    if wrong:
        return _guidelines(desk, project, texts, typed, problem=wrong)
    try:
        rubric = desk.projects.publish(project, texts, aspects, actor=desk.session.rater, base=base)
    except OvertakenError:
        newest = desk.projects.rubric(project).version
        return _guidelines(desk, project, texts, typed, problem=words["guidelines"]["overtaken"].format(version=newest))
    told = words["form"]["unchanged"]
    if rubric.version != base:
        told = words["guidelines"]["saved"].format(version=rubric.version)
    other = desk.overview.on_other_scales(project, {aspect.name: aspect.scale for aspect in aspects})
    line = words["guidelines"]["other_scale"]
    more = " ".join(line.format(name=name, count=f"{count:,}") for name, count in other.items())
    return desk.done(f"/admin/projects/{slug_of(project)}/guidelines", told, more=more)


def settings(desk: Desk) -> Response:
    """What is asked and how much of it."""
    project = desk.project()
    values = settings_values(desk.projects.settings(project))
    golds = Decisions(desk.store.database).golds(project)
    told = {"values": values, "problems": {}, "all_flags": FLAGS, "methods": methods(), "golds": golds}
    return desk.page("settings", "settings", project, **told)


def change(desk: Desk, form: Form) -> Response:
    """Put settings in force, or show the form again with what is wrong."""
    project, before = desk.project(), desk.projects.settings(desk.project())
    checked, after = read_settings(form.fields, before, methods(), desk.words["form"])
    golds = Decisions(desk.store.database).golds(project)
    if after.quiz > golds:
        checked.problems["quiz"] = desk.words["form"]["between"].format(least=0, most=golds)
    if checked.problems:
        told = {"values": checked.values, "problems": checked.problems, "all_flags": FLAGS, "methods": methods()}
        told |= {"golds": golds}
        return desk.page("settings", "settings", project, 400, **told)
    text = desk.words["form"]["unchanged"]
    if after != before:
        desk.projects.change(project, after, actor=desk.session.rater)
        text = desk.words["form"]["saved"]
    return desk.done(f"/admin/projects/{slug_of(project)}/settings", text)


@cache
def methods() -> tuple[str, ...]:
    """The ways to choose questions: the files of `statistics/selection/`, random first."""
    found = find_spec("tutelage.statistics.selection")
    folders = found.submodule_search_locations if found is not None else None
    names = sorted(entry.name for entry in pkgutil.iter_modules(folders) if entry.name[0] != "_") if folders else []
    return ("random", *(name for name in names if name != "random"))
