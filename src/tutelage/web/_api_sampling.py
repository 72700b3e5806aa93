"""The admin's JSON interface to the models of a server: what can be asked, an order, how far it is, its end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, cast

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tutelage.data import formats
from tutelage.data.jsonl import Row
from tutelage.errors import DataError
from tutelage.store.projects import KINDS
from tutelage.types import Prompt, QuestionKind
from tutelage.web import _body
from tutelage.web._admin_page import Desk
from tutelage.web._admin_sampling import NUMBERS, USUAL
from tutelage.web._asking import LIMITS, Wanted
from tutelage.web._sampling_desk import SamplingDesk, Source, Wish

_NAMES = ("model", "prompts", "kind", *NUMBERS, *LIMITS)


def _told(desk: Desk) -> Response:
    at = SamplingDesk(desk)
    models = [{"name": model.name, "adapter": model.adapter, "problem": model.problem} for model in at.models()]
    return JSONResponse({"models": models, "prompts": at.counts(), "job": at.told()})


def _job(desk: Desk) -> Response:
    return JSONResponse({"job": SamplingDesk(desk).told()})


def _order(desk: Desk, body: _body.Body) -> Response:
    at, settings = SamplingDesk(desk), desk.projects.settings(desk.project())
    found: dict[str, Any] = {}
    for name, (least, most, whole) in NUMBERS.items():
        usual = USUAL[name]
        found[name] = (
            _body.whole(body, name, int(least), int(most), int(usual))
            if whole
            else _body.number(body, name, least, most, usual)
        )
    kinds: dict[str, QuestionKind] = {kind: kind for kind in KINDS}
    kind = body.get("kind", settings.kinds[0])
    if kind not in kinds:
        raise DataError("'kind' is not one of: " + ", ".join(KINDS))
    usual = USUAL | {"overlap": settings.overlap}
    asked = {name: _body.whole(body, name, *LIMITS[name], int(usual[name])) for name in LIMITS}
    source, given = _prompts_of(body)
    wish = Wish(
        model=_body.text(body, "model", 4096, None), source=source, **found, asked=Wanted(kind=kinds[kind], **asked)
    )
    at.order(wish, given)
    return JSONResponse({"job": at.told()}, 202)


def _prompts_of(body: _body.Body) -> tuple[Source, list[Prompt]]:
    value = body.get("prompts")
    sources: dict[str, Source] = {"unanswered": "unanswered", "all": "all"}
    if isinstance(value, str) and value in sources:
        return sources[value], []
    rows = cast(list[Any], value) if isinstance(value, list) else []
    if not rows or not all(isinstance(row, dict) for row in rows):
        raise DataError("'prompts' is neither 'unanswered' nor 'all' nor a list of objects with a 'prompt' each")
    given = [Row(cast(dict[str, Any], row), f"prompts[{place}]") for place, row in enumerate(rows)]
    return "given", list(formats.typed([given], "prompts", "prompt"))


def _act(desk: Desk, do: Callable[[SamplingDesk], object]) -> Response:
    at = SamplingDesk(desk)
    do(at)
    return JSONResponse({"job": at.told()})


async def told(request: Request) -> Response:
    """The models, the prompts to choose from, and the newest job."""
    return await run_in_threadpool(lambda: _told(Desk(request)))


async def job(request: Request) -> Response:
    """The newest job alone, for who asks each second."""
    return await run_in_threadpool(lambda: _job(Desk(request)))


async def order(request: Request) -> Response:
    """Order answers."""
    body = await _body.read(request, _NAMES)
    return await run_in_threadpool(lambda: _order(Desk(request), body))


def _acting(do: Callable[[SamplingDesk], object]) -> Callable[[Request], Awaitable[Response]]:
    """A handler that takes no body."""

    async def endpoint(request: Request) -> Response:
        return await run_in_threadpool(lambda: _act(Desk(request), do))

    return endpoint


_AT = "/api/v1/admin/projects/{project}/sampling"

routes = [
    Route(_AT, told, methods=["GET"]),
    Route(_AT, order, methods=["POST"]),
    Route(f"{_AT}/job", job, methods=["GET"]),
    Route(f"{_AT}/cancel", _acting(lambda at: at.cancel()), methods=["POST"]),
    Route(f"{_AT}/continue", _acting(lambda at: at.go_on()), methods=["POST"]),
    Route(f"{_AT}/discard", _acting(lambda at: at.discard()), methods=["POST"]),
]
