"""The API process."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Mapping
from http import HTTPStatus
from typing import Any

import uvicorn
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from app import interface
from app.accounts import api as accounts
from app.attendance import api as attendance
from app.clients.hooks import Hooks
from app.clients.jwks import KeysUnavailable
from app.core import logs, metrics, schema, silent
from app.core.away import RETRY_AFTER, SUSPECTS, is_away
from app.core.bounds import BodyRefused, BoundedBody
from app.core.clock import Clock
from app.core.connections import Config, end_late
from app.core.errors import MOST_NAMED, Problem, wrong_fields
from app.core.limits import REQUEST, Limits
from app.core.observe import Observe
from app.core.private import Private
from app.core.settings import Settings
from app.core.version import VERSION
from app.hooks import api as hooks_api
from app.hooks import described
from app.inbox import api as inbox
from app.joining import api as joining
from app.joining import sentences
from app.live import api as live
from app.live.hub import Hub
from app.pages import api as pages
from app.pages import settings as settings_pages
from app.pages import unsubscribe
from app.privacy import api as privacy
from app.reactions import TABLE
from app.registrations import api as registrations
from app.registrations import guests_api as guests
from app.registrations import mail_api as mails
from app.resources import Resources, open_resources


def _by_name(route: APIRoute) -> str:
    """What an operation is called in the document."""
    return route.name


# What its routes take and give is analysed once in a process: tests open hundreds of applications in one.
ROUTES = APIRouter(generate_unique_id_function=_by_name)
# An address is tried on one route after the other, so the hot ones come first.
for router in (
    inbox.router,
    joining.router,
    accounts.router,
    pages.router,
    registrations.router,
    guests.router,
    mails.router,
    attendance.router,
    live.router,
    settings_pages.router,
    unsubscribe.router,
    hooks_api.router,
    privacy.router,
):
    ROUTES.include_router(router)
PROBLEM_JSON = "application/problem+json"
SLUGS = {400: "bad-request", 404: "not-found", 405: "method-not-allowed", 413: "too-large"}
LONGEST_GOODBYE = 30  # seconds; a connection whose other end takes nothing would keep the process for ever
LARGEST_BODY = 256 * 1024  # bytes: the longest description, every letter of it escaped
# Twice the largest notification, so that it is the inbox that refuses, and counts, what is larger.
RAW_BODIES = {"/api/integrations/zoom/webhooks": 2 * inbox.LARGEST_BODY}
# Nobody keeps an error: it is gone as soon as its cause is, and may be about one person only.
PRIVATE = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
log = logs.get("api")


class Api(FastAPI):
    """The application, with a document that says what the framework cannot know: who must sign in, what errors are."""

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document, made once."""
        if self.openapi_schema is None:
            self.openapi_schema = interface.described(super().openapi())
        return self.openapi_schema


def create_app(
    settings: Settings, clock: Clock | None = None, hooks: Hooks | None = None, limits: Limits = REQUEST
) -> FastAPI:
    """The application; it opens what it holds when it starts and closes it when it ends. Tests give a clock of their
    own, hooks that reach their own machine, and limits of waiting that a busy machine does not meet."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_resources(settings, TABLE, clock, hooks, limits) as held, Hub(held) as hub:
            app.state.resources, app.state.live = held, hub
            with contextlib.closing(metrics.serve(settings.metrics_port, settings.metrics_host)):
                async with silent.ended(held.db.hot):
                    yield

    app = Api(
        title="Kindryn Zoom",
        version=VERSION,
        description=interface.DESCRIPTION,
        openapi_tags=interface.TAGS,
        lifespan=lifespan,
        openapi_url="/openapi.json",
        redoc_url=None,
        webhooks=described.router,
        swagger_ui_oauth2_redirect_url=None,
        generate_unique_id_function=_by_name,
    )
    app.state.public_url = settings.public_url
    app.router.routes.extend(ROUTES.routes)
    app.add_api_route("/healthz", healthz, include_in_schema=False)
    app.add_api_route("/readyz", readyz, include_in_schema=False)
    _answer_errors(app)
    _add_middleware(app, settings)
    return app


def _add_middleware(app: FastAPI, settings: Settings) -> None:
    app.add_middleware(BoundedBody, largest=LARGEST_BODY, raw=RAW_BODIES)
    app.add_middleware(Private)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=list(settings.cors_origins),
        allow_credentials=True,
        allow_methods=["*"],
        # Whatever an allowed page wants to send: tracing alone has four names, and tomorrow a fifth.
        allow_headers=["*"],
        expose_headers=["Content-Disposition", "ETag", "Location", "Preference-Applied", "Retry-After", "X-Request-Id"],
    )


def _answer_errors(app: FastAPI) -> None:
    app.add_exception_handler(Problem, answer_problem)
    app.add_exception_handler(RequestValidationError, answer_invalid)
    app.add_exception_handler(BodyRefused, answer_unread)
    app.add_exception_handler(HTTPException, answer_http)
    for suspect in SUSPECTS:
        app.add_exception_handler(suspect, answer_away)
    app.add_exception_handler(Exception, answer_fault)


class Server(uvicorn.Server):
    """Waits for what is being answered when it is to stop, but not for live streams, which would go on."""

    def __init__(self, app: FastAPI, host: str, port: int) -> None:
        # Outermost, so that it also sees the answers to our own faults.
        served = Observe(app)
        super().__init__(
            Config(
                served,
                app.state.public_url,
                host=host,
                port=port,
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=LONGEST_GOODBYE,
            )
        )
        self._app = app

    async def on_tick(self, counter: int) -> bool:
        """uvicorn's, ten times a second; once a second, let nobody wait for a request that does not come."""
        if counter % 10 == 0:
            end_late(self.server_state.connections, asyncio.get_running_loop())
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams, then everything else."""
        self._app.state.live.close()
        await super().shutdown(sockets)


async def serve(settings: Settings, host: str, port: int) -> None:
    """Run the API process until SIGTERM or SIGINT."""
    await Server(create_app(settings), host, port).serve()


async def healthz() -> dict[str, str]:
    """The process lives."""
    return {"status": "ok"}


async def readyz(request: Request) -> Response:
    """Whether each thing this process depends on answers, by name; 503 while one does not.

    A wrong clock of the machine is told, and no reason to send nobody here: time is the database's.
    """
    held: Resources = request.app.state.resources
    checks = {"database": await _answers(held.db.ping()), "bell": "ok" if held.bell.alive else "not connected"}
    if checks["database"] == "ok":
        checks["schema"] = await schema.lacks(held.db.hot) or "ok"
    try:
        await held.jwks.ready()
        checks["keys"] = "ok"
    except KeysUnavailable as error:
        checks["keys"] = str(error)
    ready = set(checks.values()) == {"ok"}
    checks["clock"] = held.clock.state
    return JSONResponse({"status": "ok" if ready else "not ready", "checks": checks}, 200 if ready else 503)


async def _answers(ping: Any) -> str:
    try:
        await ping
    except Exception as error:  # whatever keeps it from answering is the answer
        return type(error).__name__
    return "ok"


def _problem(request: Request, problem: Problem) -> Response:
    body = problem.body(request.url.path, request.app.state.public_url)
    return JSONResponse(body, problem.status, headers=PRIVATE | problem.headers, media_type=PROBLEM_JSON)


async def answer_problem(request: Request, error: Exception) -> Response:
    """A problem somebody raised on purpose."""
    assert isinstance(error, Problem)  # noqa: S101 - registered for this class only
    return _problem(request, error)


async def answer_invalid(request: Request, error: Exception) -> Response:
    """What pydantic refused: 422, the wrong fields named, their values not repeated."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this class only
    errors = error.errors()
    if any(e["loc"][:1] == ("path",) for e in errors):
        return _problem(request, Problem("not-found", "There is no such thing here."))
    return _problem(request, wrong_fields([_named(e) for e in errors[:MOST_NAMED]], len(errors)))


def _named(error: Mapping[str, Any]) -> tuple[str, str]:
    if error["type"] == "json_invalid":
        return "body", f"is no JSON: {error['ctx']['error']}"
    location = error["loc"]
    field = ".".join(str(part) for part in location[1:]) or str(location[0])
    return field, error["msg"].removeprefix("Value error, ")


async def answer_unread(request: Request, error: Exception) -> Response:
    """A body that was not looked at."""
    assert isinstance(error, BodyRefused)  # noqa: S101 - registered for this class only
    return _problem(request, error.problem)


async def answer_http(request: Request, error: Exception) -> Response:
    """What the framework refused: an unknown address, a wrong method, a body that is no JSON."""
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class only
    slug = SLUGS.get(error.status_code, "bad-request" if error.status_code < 500 else "internal-error")
    problem = Problem(slug, HTTPStatus(error.status_code).phrase + ".", headers=_headers(error.headers))
    problem.status = error.status_code
    return _problem(request, problem)


def _headers(headers: Mapping[str, str] | None) -> dict[str, str]:
    return dict(headers or {})


async def answer_away(request: Request, error: Exception) -> Response:
    """The database cannot be had right now: people are told in a sentence, programs by a problem. Any other error of
    the database is a fault of ours."""
    if not is_away(error):
        raise error
    log.warning("not available", reason=type(error).__name__)
    detail = "This cannot be done at this moment. Try again in a few seconds."
    problem = Problem("not-available", detail, headers=PRIVATE | {"Retry-After": str(RETRY_AFTER)})
    if sentences.wants_page(request):
        held: Resources = request.app.state.resources
        return sentences.answered(request, held.settings, problem)
    return _problem(request, problem)


async def answer_fault(request: Request, error: Exception) -> Response:  # noqa: ARG001 - the signature is Starlette's
    """A fault of ours: told as one, without its inside."""
    return _problem(request, Problem("internal-error", "This is our fault, and it was noted. Try again in a moment."))
