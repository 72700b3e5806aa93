"""The JSON interface in OpenAPI 3.1: what a program may send, and what it gets."""

from __future__ import annotations

from typing import Any

JSON = dict[str, Any]


def _object(required: str = "", **properties: JSON) -> JSON:
    return {"type": "object", "properties": properties, "required": required.split(), "additionalProperties": False}


def _list(items: JSON) -> JSON:
    return {"type": "array", "items": items}


def _ref(name: str) -> JSON:
    return {"$ref": f"#/components/schemas/{name}"}


TEXT, WHOLE, NUMBER, TRUTH = ({"type": name} for name in ("string", "integer", "number", "boolean"))
UUID: JSON = {"type": "string", "format": "uuid", "description": "made by the client (version 7) before the first send"}
BOTH = _object("en zh", en=TEXT, zh=TEXT)
KIND: JSON = {"enum": ["pair", "ranking", "scores", "best", "edit"]}
_ERRORS = {
    400: "not what is wanted; nothing was stored",
    401: "nobody is signed in",
    403: "another site asked, or the role is not enough",
    404: "no such task or judgement of this rater",
    409: "the id stands for something else already",
    413: "too large",
    421: "the Host is not one of this server's",
    429: "too many requests: wait for Retry-After seconds",
    503: "the database is busy: send the same again",
    507: "the disk is full: nothing was stored, send the same again later",
}

SCHEMAS: JSON = {
    "Error": _object("error", error=_object("what wanted fix", what=TEXT, wanted=TEXT, fix=TEXT)),
    "Turn": _object("role text html", role=TEXT, text=TEXT, html=TEXT),
    "Candidate": _object("key text html", key=TEXT, text=TEXT, html=TEXT),
    "Aspect": _object(
        "name label scale step anchors",
        name=TEXT,
        label=BOTH,
        scale=_list(NUMBER) | {"minItems": 2, "maxItems": 2},
        step=NUMBER,
        anchors={"type": "object", "additionalProperties": BOTH},
    ),
    "Task": _object(
        "id kind prompt candidates shown aspects options rubric lease_seconds repeated",
        id=TEXT,
        kind=KIND,
        prompt=_list(_ref("Turn")),
        candidates=_list(_ref("Candidate")) | {"description": "in the order shown"},
        shown=_list(WHOLE) | {"description": "the places on the screen; send it back with the answer"},
        aspects=_list(_ref("Aspect")),
        options=_object(
            "tie both_bad strength comment flags",
            tie=TRUTH,
            both_bad=TRUTH,
            strength=WHOLE | {"description": "levels of how much better; 0 = not asked"},
            comment=TRUTH,
            flags=_list(TEXT),
        ),
        rubric=WHOLE,
        lease_seconds=WHOLE,
        repeated=TRUTH,
    ),
    "Judgement": _object(
        "id task shown confirmed seconds",
        id=UUID,
        task=TEXT,
        shown=_list(WHOLE),
        ranks=_list(WHOLE) | {"description": "one for each candidate in the order of `shown`; 1 = best, equal = tie"},
        scores={"type": "object", "additionalProperties": NUMBER},
        edit=TEXT,
        both_bad=TRUTH,
        strength=WHOLE,
        comment=TEXT,
        flags=_list(TEXT),
        confirmed=TRUTH | {"description": "nothing was moved from its start, and the rater said that it is to stay"},
        seconds=NUMBER,
        rubric=WHOLE | {"description": "as the task said; without it, the newest under which the task was handed out"},
    ),
    "Me": _object(
        "rater name language project today waiting",
        rater=TEXT,
        name=TEXT,
        language={"enum": ["en", "zh"]},
        project=_object("name kind_names", name=TEXT, kind_names=_list(TEXT)),
        today=_object("done goal", done=WHOLE, goal=WHOLE),
        waiting={
            "oneOf": [{"type": "null"}, _object("needed deadline_seconds", needed=WHOLE, deadline_seconds=NUMBER)]
        },
    ),
    "Order": _object(
        "model prompts answers max_new_tokens temperature seed kind overlap per_prompt size",
        model=TEXT | {"description": "a folder below the server's folder of models"},
        prompts=WHOLE,
        answers=WHOLE | {"description": "for each prompt"},
        max_new_tokens=WHOLE,
        temperature=NUMBER,
        seed=WHOLE,
        kind=KIND,
        overlap=WHOLE,
        per_prompt=WHOLE,
        size=WHOLE,
    ),
    "Sampling": _object(
        "state done wanted questions seconds_left order said",
        state={"enum": ["queued", "running", "done", "failed", "cancelled", "interrupted"]},
        done=WHOLE | {"description": "answers on the disk"},
        wanted=WHOLE | {"description": "answers in all"},
        questions=WHOLE | {"description": "new ones that were made of them"},
        seconds_left={"type": ["number", "null"]},
        order=_ref("Order"),
        said=_object("state line left what fix", state=TEXT, line=TEXT, left=TEXT, what=TEXT, fix=TEXT)
        | {"description": "the same in the account's language; what and fix: how it failed"},
    ),
    "Kept": _object("id stored", id=TEXT, stored=TRUTH, extra=TRUTH | {"description": "beyond what was wanted"}),
}


def _operation(
    summary: str, reply: JSON | None, body: JSON | None = None, *, path: JSON | None = None, name: str = "id"
) -> JSON:
    """One method of a path; without `reply` it answers 204."""
    made: JSON = {"summary": summary, "responses": {str(code): _error(text) for code, text in _ERRORS.items()}}
    done = {"description": "done"} if reply is None else {"description": "done", "content": _json(reply)}
    made["responses"] = {"204" if reply is None else "200": done} | made["responses"]
    if body is not None:
        made["requestBody"] = {"required": True, "content": _json(body)}
    if path is not None:
        made["parameters"] = [{"name": name, "in": "path", "required": True, "schema": path}]
    return made


def _json(schema: JSON) -> JSON:
    return {"application/json": {"schema": schema}}


def _error(text: str) -> JSON:
    return {"description": text, "content": _json(_ref("Error"))}


_LANGUAGE = _object("language", language={"enum": ["en", "zh"]})
_COUNT = _object("n", n=WHOLE | {"minimum": 1, "maximum": 4})
_REASONS = {"enum": ["unclear", "too_long", "no_knowledge", "unsafe", "other"]}
_SKIP = _object("id reason", id=UUID, reason=_REASONS, comment=TEXT)
_PATHS: JSON = {
    "/api/v1/me": {"get": _operation("Who is signed in, and how far they are today", _ref("Me"))},
    "/api/v1/language": {"post": _operation("Speak another language", None, _LANGUAGE)},
    "/api/v1/tasks/next": {
        "post": _operation(
            "Hold up to n tasks: those held already first, then new ones; none = nothing left now",
            _object("tasks", tasks=_list(_ref("Task"))),
            _COUNT,
        )
    },
    "/api/v1/tasks/{id}/skip": {"post": _operation("Give a task back for good", _ref("Kept"), _SKIP, path=TEXT)},
    "/api/v1/skips/{id}/undo": {
        "post": _operation(
            "Take a skip back and hold its task again",
            _object("task", task=_ref("Task")),
            _object("id", id=UUID),
            path=UUID,
        )
    },
    "/api/v1/judgements": {
        "post": _operation(
            "Keep an answer. The same id and content again gives the same reply; so does the same content from a "
            "second tab, with the id that was first",
            _ref("Kept"),
            _ref("Judgement"),
        )
    },
    "/api/v1/judgements/{id}/undo": {
        "post": _operation(
            "Take an answer back and hold its task again",
            _object("task", task=_ref("Task")),
            _object("id", id=UUID),
            path=UUID,
        )
    },
    "/api/v1/guidelines": {
        "get": _operation("The guidelines in force", _object("version html", version=WHOLE, html=BOTH)),
    },
    "/api/v1/openapi.json": {"get": _operation("This document", {"type": "object"})},
}

_ROW = {"type": "object", "properties": {"prompt": {}, "meta": {"type": "object"}}, "required": ["prompt"]}
_WISH = _object(
    "model prompts",
    model=TEXT,
    prompts={"oneOf": [{"enum": ["unanswered", "all"]}, _list(_ROW)]}
    | {"description": "those of the project without answers, all of it, or these, which are kept in it"},
    answers=WHOLE | {"minimum": 1, "maximum": 64, "default": 2},
    max_new_tokens=WHOLE | {"minimum": 1, "maximum": 4096, "default": 128},
    temperature=NUMBER | {"minimum": 0.05, "maximum": 5, "default": 1},
    seed=WHOLE | {"minimum": 0, "maximum": 2**31 - 1, "default": 0},
    kind=KIND,
    overlap=WHOLE | {"minimum": 1, "maximum": 100},
    per_prompt=WHOLE | {"minimum": 0, "maximum": 100, "default": 2},
    size=WHOLE | {"minimum": 2, "maximum": 9, "default": 4},
)
_MODEL = _object(
    "name adapter problem",
    name=TEXT,
    adapter=TRUTH,
    problem={"enum": ["", "no_weights", "unreadable", "gives_scores"], "description": "why it cannot answer"},
)
_JOB: JSON = {"oneOf": [{"type": "null"}, _ref("Sampling")]}


def _sampling(summary: str, reply: JSON, body: JSON | None = None) -> JSON:
    made = _operation(f"Admins: {summary}", reply, body, path=TEXT, name="project")
    if body is not None:
        made["responses"]["202"] = made["responses"].pop("200")
    return made


_SAMPLING = "/api/v1/admin/projects/{project}/sampling"
_COUNTS = _object("unanswered all", unanswered=WHOLE, all=WHOLE)
_ALL = _object("models prompts job", models=_list(_MODEL), prompts=_COUNTS, job=_JOB)
_ONE = _object("job", job=_JOB)
_ADMINS: JSON = {
    _SAMPLING: {
        "get": _sampling("the models that can be asked for answers, the prompts there are, the newest job", _ALL),
        "post": _sampling("let a model answer prompts; its answers become questions", _ONE, _WISH),
    },
    f"{_SAMPLING}/job": {"get": _sampling("the newest job alone", _ONE)},
    f"{_SAMPLING}/cancel": {"post": _sampling("end it; what is answered is kept", _ONE)},
    f"{_SAMPLING}/continue": {"post": _sampling("take up what ended too early", _ONE)},
    f"{_SAMPLING}/discard": {"post": _sampling("throw away what it left", _ONE)},
}

DOCUMENT: JSON = {
    "openapi": "3.1.0",
    "info": {
        "title": "tutelage rating",
        "version": "1",
        "description": "For raters, and below /api/v1/admin for admins: a session cookie from an invitation link, same "
        "origin, JSON. A page may say whose it is in the header Tutelage-Rater; where somebody else is signed in by "
        "then, the answer is 401.",
    },
    "paths": _PATHS | _ADMINS,
    "components": {
        "schemas": SCHEMAS,
        "securitySchemes": {"session": {"type": "apiKey", "in": "cookie", "name": "tutelage"}},
    },
    "security": [{"session": []}],
}
