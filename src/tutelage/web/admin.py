"""The admin's pages, rendered on the server: GET shows and changes nothing, a form changes and leads on (303).

projects ─► progress · questions · adjudication · guidelines · settings · raters · agreement · leaderboard · exports
people · audit
"""

from __future__ import annotations

from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from tutelage.errors import DataError
from tutelage.store.audit import trail
from tutelage.store.people import DAY, LastAdminError, Role
from tutelage.store.projects import ProjectSettings
from tutelage.web import _admin_exports as exports
from tutelage.web import _admin_project as inside
from tutelage.web import _admin_quality as quality
from tutelage.web import _admin_questions as asked
from tutelage.web import _admin_reports as reports
from tutelage.web._admin_forms import kind_of, number, one
from tutelage.web._admin_numbers import ago, changes, iso, when
from tutelage.web._admin_page import Desk, Form, sent, shown, slug_of

PER_PAGE = 50


def projects(desk: Desk) -> Response:
    """All projects, each with how far it is."""
    cards = []
    for name in desk.projects.names():
        counts = desk.overview.counts(name)
        waiting = desk.settings.waiting(desk.store, name) if desk.settings.waiting else None
        kinds = desk.projects.kinds(name) or desk.projects.settings(name).kinds
        cards.append(
            {
                "name": name,
                "slug": slug_of(name),
                "questions": counts.questions,
                "wanted": counts.wanted,
                "given": counts.given,
                "share": counts.share,
                "raters": counts.raters,
                "kinds": kinds,
                "waiting": waiting is not None,
            }
        )
    return desk.page("projects", "projects", projects=cards)


def new(desk: Desk) -> Response:
    """The form for a new project."""
    return desk.page("new", "projects", problems=[], name="", chosen="pair")


def make(desk: Desk, form: Form) -> Response:
    """Make a project."""
    name, kind = one(form.fields, "name"), kind_of(one(form.fields, "kind"), "pair")
    problem = desk.words["new"]["taken"] if name in desk.projects.names() else ""
    if not problem:
        try:
            desk.projects.change(name, ProjectSettings(kinds=(kind,)), actor=desk.session.rater)
        except DataError:  # a form asks for nothing else that could be wrong
            problem = desk.words["new"]["bad_name"]
    if problem:
        return desk.page("new", "projects", "", 400, problems=[problem], name=name, chosen=kind)
    return desk.done(f"/admin/projects/{slug_of(name)}/questions", desk.words["new"]["made"].format(name=name))


def people(desk: Desk) -> Response:
    """Accounts, invitations, and the form for a new one."""
    now, words = desk.overview.now(), desk.words
    told, seen, chosen = (
        desk.overview.by_rater(),
        desk.overview.last_seen(),
        desk.request.query_params.get("project", ""),
    )
    accounts = [
        {
            "rater": account.rater,
            "name": account.name,
            "role": account.role,
            "active": account.active,
            "projects": [name for name in account.projects if name],
            "judgements": told.get(account.rater, 0),
            "seen": ago(seen.get(account.rater), now, words["time"]),
        }
        for account in desk.people.accounts()
    ]
    invitations = [
        {
            "digest": found.digest,
            "name": found.name,
            "role": found.role,
            "project": found.project,
            "state": "revoked"
            if found.revoked
            else "used"
            if found.used
            else "open"
            if now < found.expires
            else "expired",
            "until": when(found.expires)[:10],
        }
        for found in desk.people.invitations()[:PER_PAGE]
    ]
    shown = {"accounts": accounts, "invitations": invitations, "projects": desk.projects.names(), "chosen": chosen}
    return desk.page("people", "people", **shown)


def invite(desk: Desk, form: Form) -> Response:
    """Make an invitation; its link is shown on the next page and never again."""
    words, fields = desk.words, form.fields
    project, role = one(fields, "project"), one(fields, "role", "rater")
    days, wrong = number(one(fields, "days", "7"), 1, 90, True, words["form"])
    if project not in desk.projects.names():
        wrong = words["people"]["no_project"]
    if wrong:
        return desk.done("/admin/people", wrong, "bad")
    name, again = one(fields, "name")[:60], one(fields, "rater")
    if not again and name and (desk.people.called(name) or desk.people.waiting(name)):
        return desk.done("/admin/people", words["people"]["taken"].format(name=name), "bad")
    token = desk.people.invite(
        project,
        actor=desk.session.rater,
        role="admin" if role == "admin" else "rater",
        name=name,
        rater=again,
        language=one(fields, "language"),
        seconds=days * DAY,
    )
    base = str(desk.request.base_url).rstrip("/")
    expires = when(desk.overview.now() + days * DAY)
    desk.notes.put(desk.session, {"link": {"name": name, "url": f"{base}/join/{token}", "expires": f"{expires} UTC"}})
    return RedirectResponse("/admin/people", 303)


def revoke(desk: Desk, form: Form) -> Response:
    """Make an unused link worthless."""
    desk.people.revoke(one(form.fields, "invitation"), actor=desk.session.rater)
    return desk.done("/admin/people", desk.words["people"]["revoked"])


def account(desk: Desk, form: Form) -> Response:
    """Block an account or let it in again, or give it another role; nobody does that to themselves."""
    rater, role, words = one(form.fields, "rater"), one(form.fields, "role"), desk.words["people"]
    names = desk.names()
    if rater == desk.session.rater or rater not in names:
        return RedirectResponse("/admin/people", 303)
    active = None if role else one(form.fields, "active") == "1"
    chosen: Role | None = None if not role else "admin" if role == "admin" else "rater"
    try:
        desk.people.change(rater, actor=desk.session.rater, role=chosen, active=active)
    except LastAdminError:
        return desk.done("/admin/people", words["last_admin"].format(name=names[rater]), "bad")
    text = words[f"now_{chosen}" if chosen else "unblocked" if active else "blocked"]
    return desk.done("/admin/people", text.format(name=names[rater]))


def log(desk: Desk) -> Response:
    """Who changed what, newest first."""
    asked_for = desk.request.query_params.get("before", "")
    before = int(asked_for) if asked_for.isdecimal() and len(asked_for) < 15 else None
    found = trail(desk.store.database, limit=PER_PAGE + 1, before=before)
    names = desk.names()
    rows = [
        {
            "number": row["number"],
            "actor": names.get(row["actor"], row["actor"]),
            "action": row["action"],
            "target": names.get(row["target"], row["target"]),
            "changes": changes(row["before"], row["after"]),
            "iso": iso(row["created"]),
            "when": when(row["created"]),
        }
        for row in found[:PER_PAGE]
    ]
    older = rows[-1]["number"] if len(found) > PER_PAGE else None
    return desk.page("audit", "audit", rows=rows, older=older, newer=before is not None)


_IN = "/admin/projects/{project}"

routes = [
    Route("/admin", shown(projects), methods=["GET"]),
    Route("/admin/new", shown(new), methods=["GET"]),
    Route("/admin/new", sent(make), methods=["POST"]),
    Route("/admin/people", shown(people), methods=["GET"]),
    Route("/admin/people", sent(invite), methods=["POST"]),
    Route("/admin/people/revoke", sent(revoke), methods=["POST"]),
    Route("/admin/people/accounts", sent(account), methods=["POST"]),
    Route("/admin/audit", shown(log), methods=["GET"]),
    Route(_IN, shown(inside.progress), methods=["GET"]),
    Route(f"{_IN}/questions", shown(asked.questions), methods=["GET"]),
    Route(f"{_IN}/questions", sent(asked.bring_in), methods=["POST"]),
    Route(f"{_IN}/questions/{{number:int}}", shown(asked.question), methods=["GET"]),
    Route(f"{_IN}/questions/{{number:int}}", sent(quality.decide), methods=["POST"]),
    Route(f"{_IN}/adjudication", shown(quality.adjudication), methods=["GET"]),
    Route(f"{_IN}/guidelines", shown(inside.guidelines), methods=["GET"]),
    Route(f"{_IN}/guidelines", sent(inside.publish), methods=["POST"]),
    Route(f"{_IN}/settings", shown(inside.settings), methods=["GET"]),
    Route(f"{_IN}/settings", sent(inside.change), methods=["POST"]),
    Route(f"{_IN}/raters", shown(reports.raters), methods=["GET"]),
    Route(f"{_IN}/raters", sent(reports.exclude), methods=["POST"]),
    Route(f"{_IN}/raters/admit", sent(quality.admit), methods=["POST"]),
    Route(f"{_IN}/raters/{{rater:path}}", shown(quality.rater), methods=["GET"]),  # judge:ORGANISATION/MODEL
    Route(f"{_IN}/agreement", shown(reports.agreement), methods=["GET"]),
    Route(f"{_IN}/leaderboard", shown(reports.leaderboard), methods=["GET"]),
    Route(f"{_IN}/exports", shown(exports.choices), methods=["GET"]),
    Route(f"{_IN}/exports", sent(exports.download), methods=["POST"]),
]
"""Of the admin; the guard lets only admins below /admin."""
