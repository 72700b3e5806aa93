"""`tutelage rate serve` and `rate invite`: the rating application on one database, and the links into it."""

from __future__ import annotations

import gc
import ipaddress
import os
import shlex
import socket
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tutelage.cli._rate_models import sampler_of
from tutelage.cli._rate_project import NAMELESS, names_of, sole_of
from tutelage.cli._ui import UI, counted
from tutelage.config import Resolved
from tutelage.errors import CannotCreateError, MissingInputError, UsageError

if TYPE_CHECKING:
    from uvicorn import Server

    from tutelage.cli._rate_until import Until
    from tutelage.store.people import People
    from tutelage.store.store import Store
    from tutelage.train.lock import Lock
    from tutelage.web._settings import Settings

PORT = 8600


@dataclass(frozen=True, kw_only=True)
class Serve:
    """Serve the rating pages until stopped."""

    db: str = "ratings.db"
    """file of the ratings, made when it is not there, or postgresql://…"""
    host: str = "127.0.0.1"
    """address to listen at; others than this machine's own need HTTPS or your consent"""
    port: int = PORT
    """port to listen at; 0 = any free one"""
    project: str = "default"
    """project that the first admin, or --rater, is invited to; not given: the only project there is"""
    names: tuple[str, ...] = ()
    """host names under which browsers reach it, besides localhost: rate.example.org"""
    tls_cert: str = ""
    """certificate (chain) for HTTPS, PEM"""
    tls_key: str = ""
    """its private key, PEM"""
    behind_https: bool = False
    """a proxy on this machine speaks HTTPS for it: cookies then travel no other way"""
    insecure_http_i_understand: bool = False
    """listen at any address without HTTPS: whoever sees the traffic can read and send in the raters' names"""
    secret_file: str = ""
    """where the secret lies; by default beside the database"""
    models: str = ""
    """folder below which models may be asked for answers on the admin's pages; not given: `runs`, where it is there"""
    rater: str = ""
    """print a link for this one rater, who is known by this name in exports, instead of one for the admin"""
    language: Literal["en", "zh"] = "en"
    """language of the pages for a new --rater, until they choose another"""
    until_done: bool = False
    """end (exit code 0) when --rater has nothing left to judge; Enter or Ctrl-D in the terminal ends it earlier"""
    minutes: float = 0.0
    """end (exit code 0) after so many minutes; 0 = never"""

    def __post_init__(self) -> None:
        if self.minutes < 0:
            raise UsageError("minutes are 0 or more")
        if self.until_done and not self.rater:
            raise UsageError("--until-done waits for one rater", fix="--rater NAME")


def serve(resolved: Resolved[Serve], ui: UI) -> int:
    """Serve the rating pages on this machine until stopped; the first start prints a link for the admin."""
    gc.disable()  # nothing that is made while it starts is garbage: looking for it took a tenth of that time
    lock = None
    try:
        from tutelage.cli._rate_until import Until
        from tutelage.store.left import left
        from tutelage.store.people import People
        from tutelage.store.store import Store
        from tutelage.web._secret import place, secret_at

        config = resolved.config
        _check_address(config)
        sampler = sampler_of(config.db, config.models)
        lock = lock_of(config.db)
        with Store(config.db) as store, _listen(config) as listening:
            port = listening.getsockname()[1]
            config = config if resolved.given("project") else replace(config, project=_project(store, config))
            if config.until_done:
                _check_questions(store, config)
            secret = secret_at(place(config.db, config.secret_file))
            people, base = People(store.database, secret), _base(config, port)
            link = "" if config.rater else _admin_link(people, config, port)
            own = _rater_link(people, config, port) if config.rater else ""
            if lock is not None:
                lock.tell(url=base)
            ui.say(f"rating at {base} (database {config.db}, pid {os.getpid()}); Ctrl-C stops it")
            wanted = left(store.database, config.rater, config.project) if config.rater else 0
            if link:
                ui.say(f"admin, once and within an hour: {link}")
            elif not config.rater:
                project = _invited_to(store, config, resolved.given("project"))
                ui.say(f"further links: tutelage rate invite --db {config.db} --project {project}")
            elif wanted or not config.until_done:
                _tell_rater(config, own, wanted, ui)
            ui.result({"url": base, "admin_link": link, "rater_link": own, "pid": os.getpid(), "db": config.db})
            server = _server(store, replace(_settings(config, secret, port), sampler=sampler), config)
            waiting = partial(left, store.database, config.rater, config.project) if config.until_done else None
            until = Until(waiting, 60 * config.minutes, partial(_end, server), by_hand=config.until_done)
            gc.freeze()
            gc.enable()
            _run(server, until, listening)
            if until.reason:
                ui.say(_ending(until.reason, config, store))
    finally:
        gc.enable()
        if lock is not None:
            lock.release()
    return 0


def _check_address(config: Serve) -> None:
    """Refuse what would let others listen in, before anything is made."""
    if bool(config.tls_cert) != bool(config.tls_key):
        raise UsageError("HTTPS needs both --tls-cert and --tls-key")
    for path in (config.tls_cert, config.tls_key):
        if path and not Path(path).is_file():
            raise MissingInputError("there is no such file", where=path)
    if not 0 <= config.port <= 65535:
        raise UsageError(f"port {config.port} is not from 0 to 65535")
    if _is_loopback(config.host):
        return
    if not config.tls_cert and not config.insecure_http_i_understand:
        raise UsageError(
            f"{config.host} can be reached from other machines, and without HTTPS everybody in between can read and "
            "rate in the raters' names",
            fix="--tls-cert FILE --tls-key FILE; or a proxy with HTTPS on this machine in front of 127.0.0.1; or, on a "
            "network that you trust, --insecure-http-i-understand",
        )
    if config.host in ("0.0.0.0", "::", "") and not config.names:
        raise UsageError(
            "the server must know by which names it is reached, or other sites could speak for it",
            fix="--names rate.example.org or the machine's address",
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def lock_of(db: str, other: str = "another --db") -> Lock | None:
    """The lock on a database file, taken: one server on one file; PostgreSQL orders any number by itself.

    Raises:
        TryAgainError: a server runs on it; the message tells its pid.
    """
    from tutelage.train.lock import Lock

    if "://" in db and not db.startswith("sqlite:///"):
        return None
    path = Path(f"{Path(db.removeprefix('sqlite:///')).resolve()}.lock")  # one for all links to one file
    if not path.parent.is_dir():
        path.parent.mkdir(parents=True, exist_ok=True)
    lock = Lock(path, "this database is being served", other, where=db)
    lock.acquire()
    return lock


def _listen(config: Serve) -> socket.socket:
    """A socket that accepts already, so that nobody meets a closed door while the rest starts."""
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    made = socket.socket(family)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((config.host, config.port))
        made.listen(512)
    except OSError as error:
        made.close()
        raise CannotCreateError(
            f"cannot listen at {config.host}:{config.port}: {error.strerror or error}",
            fix="choose another --port (0 = any free one), or stop the program that has it",
        ) from error
    return made


def _base(config: Serve, port: int) -> str:
    scheme = "https" if config.tls_cert or config.behind_https else "http"
    if config.names:
        name = config.names[0]
        return f"{scheme}://{name}" if config.behind_https or ":" in name else f"{scheme}://{name}:{port}"
    return f"{scheme}://[{config.host}]:{port}" if ":" in config.host else f"{scheme}://{config.host}:{port}"


def _settings(config: Serve, secret: bytes, port: int) -> Settings:
    from tutelage.web._settings import Settings

    told = [name.lower() for name in config.names]
    local = ["127.0.0.1", "localhost", "[::1]"]
    own = f"[{config.host}]" if ":" in config.host else config.host
    secure = bool(config.tls_cert) or config.behind_https
    hosts = {*told, *(f"{name}:{port}" for name in (*local, own, *told))}
    hosts |= {*local, own} if port == (443 if config.tls_cert else 80) else set()  # browsers leave these out
    return Settings(
        hosts=tuple(sorted(hosts)),
        secret=secret,
        secure=secure,
        database="" if told or secure or not _is_loopback(config.host) else _named(config.db),
        report=_later("_consensus", "report"),
        questions=_later("_desk", "questions_of"),
        rows=_later("_desk", "rows_of"),
        saving=_later("_choosing", "saving"),
    )


def _later(module: str, name: str) -> Callable[..., Any]:
    """A function of `labelers`, imported when it is first called: raters need not wait for statistics."""

    def call(*args: Any, **named: Any) -> Any:
        return getattr(import_module(f"tutelage.labelers.{module}"), name)(*args, **named)

    return call


def _named(db: str) -> str:
    """A database file by its name alone, as the shell takes it; empty for a server."""
    file = db.removeprefix("sqlite:///")
    return "" if "://" in file else shlex.quote(Path(file).name)


def _admin_link(people: People, config: Serve, port: int) -> str:
    """A link for the first admin; empty when there is one already."""
    if any(account.role == "admin" and account.active for account in people.accounts()):
        return ""
    token = people.invite(config.project, actor="cli", role="admin", name="admin", seconds=3600)
    return f"{_base(config, port)}/join/{token}"


def _project(store: Store, config: Serve) -> str:
    """The project that nobody named: the only one, or `default`; a rater is not sent into a guessed one of several."""
    return sole_of(store, config.db) if config.rater or len(names_of(store)) < 2 else NAMELESS


def _check_questions(store: Store, config: Serve) -> None:
    """Refuse to thank a rater for nothing.

    Raises:
        MissingInputError: nobody has asked anything yet.
    """
    from tutelage.store.projects import Projects

    if not Projects(store.database).kinds(config.project):
        db, project = shlex.quote(config.db), shlex.quote(config.project)
        raise MissingInputError(
            f"there are no questions in project {config.project}: {config.rater} has nothing to judge",
            where=config.db,
            fix=f"bring some in: tutelage rate ask --db {db} --project {project} --samples ANSWERS.jsonl",
        )


def _invited_to(store: Store, config: Serve, named: bool) -> str:
    """The project of further links, for the shell; where several are there and none was named: any of them."""
    there = names_of(store)
    known = config.project in there and (named or len(there) == 1)
    return shlex.quote(config.project) if known or not there else "PROJECT"


def _rater_link(people: People, config: Serve, port: int) -> str:
    """A link for the one rater; who was here before is the same one again."""
    people.admit(config.rater, config.project, actor="cli", language=config.language)
    seconds = max(3600.0, 60 * config.minutes)
    token = people.invite(config.project, actor="cli", rater=config.rater, seconds=seconds)
    return f"{_base(config, port)}/join/{token}"


def _tell_rater(config: Serve, link: str, wanted: int, ui: UI) -> None:
    """The link, which must be seen whatever the mode, and how the waiting ends."""
    told = f"open this once, {config.rater}: {link}"
    (ui.warn if ui.quiet else ui.say)(told)
    if config.until_done:
        over = f"; in {config.minutes:g} min it goes on anyhow" if config.minutes else ""
        ui.say(f"{counted(wanted, 'question')} waiting; Enter or Ctrl-D here goes on without the rest{over}")


def _ending(reason: str, config: Serve, store: Store) -> str:
    from tutelage.store.left import left

    rest = left(store.database, config.rater, config.project) if config.rater else 0
    return "all is judged, thank you" if reason == "done" else f"{reason}; {counted(rest, 'question')} not judged"


def _end(server: Server) -> None:
    server.should_exit = True


def _server(store: Store, settings: Settings, config: Serve) -> Server:
    import uvicorn

    from tutelage.web.app import create_app

    return uvicorn.Server(
        uvicorn.Config(
            create_app(store, settings),
            log_level="warning",
            access_log=False,  # addresses of raters and tokens of links are nobody's business
            server_header=False,
            proxy_headers=False,
            lifespan="off",
            ws="none",
            loop="asyncio",
            http="h11",
            limit_concurrency=500,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=5,
            h11_max_incomplete_event_size=32_768,
            ssl_certfile=config.tls_cert or None,
            ssl_keyfile=config.tls_key or None,
        )
    )


def _run(server: Server, until: Until, listening: socket.socket) -> None:
    until.start()
    try:
        server.run(sockets=[listening])
    finally:
        until.stop()
