"""The API process: the application with its routes, middleware and error handlers; its server; health checks."""

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

from app import openapi
from app.accounts import api as accounts
from app.attendance import api as attendance
from app.clients.hooks import HookSender
from app.clients.jwks import KeysUnavailable
from app.core import logs, metrics, schema, stuck_sessions
from app.core.access_log import AccessLogMiddleware
from app.core.body_limit import BodyLimitMiddleware, BodyRefused
from app.core.cache_control import CacheControlMiddleware
from app.core.clock import Clock
from app.core.connection_limits import LimitedConfig, close_late
from app.core.database_errors import POSSIBLE_ERRORS, RETRY_AFTER, is_database_unavailable
from app.core.database_timeouts import REQUEST_TIMEOUTS, Timeouts
from app.core.errors import MAX_NAMED_FIELDS, Problem, field_errors
from app.core.settings import Settings
from app.core.version import VERSION
from app.hooks import api as hooks_api
from app.hooks import openapi_webhooks
from app.inbox import api as inbox
from app.invitations import member_api as mails
from app.jobs import JOBS
from app.joining import api as joining
from app.joining import responses
from app.live import api as live
from app.live.hub import Hub
from app.privacy import api as privacy
from app.resources import Resources, open_resources
from app.views import events_api as views
from app.views import guests_api as guests
from app.views import problems, unsubscribe_api
from app.views import registrations_api as registrations
from app.views import settings_api as settings_views


def _operation_id(route: APIRoute) -> str:
    """Return the operation's id in the OpenAPI document."""
    return route.name


# FastAPI analyses these routes once per process, although the tests create hundreds of applications in one.
ROUTES = APIRouter(generate_unique_id_function=_operation_id)
# A request is matched against one route after the other, so the hot routes come first.
for router in (
    inbox.router,
    joining.router,
    accounts.router,
    views.router,
    registrations.router,
    guests.router,
    mails.router,
    attendance.router,
    live.router,
    settings_views.router,
    unsubscribe_api.router,
    problems.router,
    hooks_api.router,
    privacy.router,
):
    ROUTES.include_router(router)
PROBLEM_JSON = "application/problem+json"
SLUGS = {400: "bad-request", 404: "not-found", 405: "method-not-allowed", 413: "too-large"}
SHUTDOWN_TIMEOUT = 30  # seconds; without it, a peer that reads nothing would keep the process for ever
MAX_BODY_BYTES = 256 * 1024  # the longest description with every letter escaped
# Twice the largest notification, so that the inbox itself refuses, and counts, larger ones.
RAW_BODY_LIMITS = {"/api/integrations/zoom/webhooks": 2 * inbox.MAX_BODY_BYTES}
# No cache may store an error: it is over as soon as its cause is, and may concern one person only.
NO_STORE_HEADERS = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
log = logs.get("api")


class Api(FastAPI):
    """The application, with an OpenAPI document that adds what FastAPI cannot know (`app.openapi`)."""

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document, generated once."""
        if self.openapi_schema is None:
            self.openapi_schema = openapi.customize(super().openapi())
        return self.openapi_schema


def create_app(
    settings: Settings,
    clock: Clock | None = None,
    hooks: HookSender | None = None,
    timeouts: Timeouts = REQUEST_TIMEOUTS,
) -> FastAPI:
    """Return the application; it opens its resources when it starts and closes them when it ends.

    Tests pass a clock of their own, hooks that reach their own machine, and timeouts that a busy machine does not
    exceed.
    """

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_resources(settings, JOBS, clock, hooks, timeouts) as resources, Hub(resources) as hub:
            app.state.resources = resources
            app.state.live = hub
            with contextlib.closing(metrics.serve(settings.metrics_port, settings.metrics_host)):
                async with stuck_sessions.terminating(resources.db.pool):
                    yield

    app = Api(
        title="Kindryn Zoom",
        version=VERSION,
        description=openapi.DESCRIPTION,
        openapi_tags=openapi.TAGS,
        lifespan=lifespan,
        openapi_url="/openapi.json",
        redoc_url=None,
        webhooks=openapi_webhooks.router,
        swagger_ui_oauth2_redirect_url=None,
        generate_unique_id_function=_operation_id,
    )
    app.state.public_url = settings.public_url
    app.router.routes.extend(ROUTES.routes)
    app.add_api_route("/healthz", healthz, include_in_schema=False)
    app.add_api_route("/readyz", readyz, include_in_schema=False)
    _add_exception_handlers(app)
    _add_middleware(app, settings)
    return app


def _add_middleware(app: FastAPI, settings: Settings) -> None:
    app.add_middleware(BodyLimitMiddleware, largest=MAX_BODY_BYTES, raw=RAW_BODY_LIMITS)
    app.add_middleware(CacheControlMiddleware)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=list(settings.cors_origins),
        allow_credentials=True,
        allow_methods=["*"],
        # An allowed page may send any header: tracing alone uses four names, and a fifth may come.
        allow_headers=["*"],
        expose_headers=["Content-Disposition", "ETag", "Location", "Preference-Applied", "Retry-After", "X-Request-Id"],
    )


def _add_exception_handlers(app: FastAPI) -> None:
    app.add_exception_handler(Problem, handle_problem)
    app.add_exception_handler(RequestValidationError, handle_validation_error)
    app.add_exception_handler(BodyRefused, handle_refused_body)
    app.add_exception_handler(HTTPException, handle_http_exception)
    for error_class in POSSIBLE_ERRORS:
        app.add_exception_handler(error_class, handle_database_error)
    app.add_exception_handler(Exception, handle_unexpected_error)


class Server(uvicorn.Server):
    """A uvicorn server that, when stopped, waits for responses but not for live streams, which never end."""

    def __init__(self, app: FastAPI, host: str, port: int) -> None:
        # Outermost, so that it also sees the responses to unexpected errors.
        app_with_access_log = AccessLogMiddleware(app)
        super().__init__(
            LimitedConfig(
                app_with_access_log,
                app.state.public_url,
                host=host,
                port=port,
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=SHUTDOWN_TIMEOUT,
            )
        )
        self._app = app

    async def on_tick(self, counter: int) -> bool:
        """uvicorn calls this ten times a second; once a second, close the connections that are too slow."""
        if counter % 10 == 0:
            close_late(self.server_state.connections, asyncio.get_running_loop())
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the live streams, then everything else."""
        self._app.state.live.close()
        await super().shutdown(sockets)


async def serve(settings: Settings, host: str, port: int) -> None:
    """Run the API process until SIGTERM or SIGINT."""
    await Server(create_app(settings), host, port).serve()


async def healthz() -> dict[str, str]:
    """Answer that the process is alive."""
    return {"status": "ok"}


async def readyz(request: Request) -> Response:
    """Return whether each dependency of this process answers, by name; 503 while one does not.

    A wrong clock of the machine is reported but does not count, because the service uses the database's time.
    """
    resources: Resources = request.app.state.resources
    checks = {
        "database": await _ping_state(resources.db.ping()),
        "pubsub": "ok" if resources.pubsub.connected else "not connected",
    }
    if checks["database"] == "ok":
        checks["schema"] = await schema.find_mismatch(resources.db.pool) or "ok"
    try:
        await resources.jwks.ready()
        checks["keys"] = "ok"
    except KeysUnavailable as error:
        checks["keys"] = str(error)
    ready = set(checks.values()) == {"ok"}
    checks["clock"] = resources.clock.state
    return JSONResponse({"status": "ok" if ready else "not ready", "checks": checks}, 200 if ready else 503)


async def _ping_state(ping: Any) -> str:
    try:
        await ping
    except Exception as error:  # any error means that it does not answer; its class is shown
        return type(error).__name__
    return "ok"


def _problem(request: Request, problem: Problem) -> Response:
    body = problem.body(request.url.path, request.app.state.public_url)
    return JSONResponse(body, problem.status, headers=NO_STORE_HEADERS | problem.headers, media_type=PROBLEM_JSON)


async def handle_problem(request: Request, error: Exception) -> Response:
    """Answer a problem that our code raised."""
    assert isinstance(error, Problem)  # noqa: S101 - registered for this class only
    return _problem(request, error)


async def handle_validation_error(request: Request, error: Exception) -> Response:
    """Answer what pydantic refused: 422, with the wrong fields named and their values not repeated."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this class only
    errors = error.errors()
    if any(e["loc"][:1] == ("path",) for e in errors):
        return _problem(request, Problem("not-found", "There is no such thing here."))
    return _problem(request, field_errors([_field_and_message(e) for e in errors[:MAX_NAMED_FIELDS]], len(errors)))


def _field_and_message(error: Mapping[str, Any]) -> tuple[str, str]:
    if error["type"] == "json_invalid":
        return "body", f"is no JSON: {error['ctx']['error']}"
    location = error["loc"]
    field = ".".join(str(part) for part in location[1:]) or str(location[0])
    return field, error["msg"].removeprefix("Value error, ")


async def handle_refused_body(request: Request, error: Exception) -> Response:
    """Answer a body that the body limits refused."""
    assert isinstance(error, BodyRefused)  # noqa: S101 - registered for this class only
    return _problem(request, error.problem)


async def handle_http_exception(request: Request, error: Exception) -> Response:
    """Answer what the framework refused: an unknown path, a wrong method, a body that is not JSON."""
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class only
    slug = SLUGS.get(error.status_code, "bad-request" if error.status_code < 500 else "internal-error")
    problem = Problem(slug, HTTPStatus(error.status_code).phrase + ".", headers=dict(error.headers or {}))
    problem.status = error.status_code
    return _problem(request, problem)


async def handle_database_error(request: Request, error: Exception) -> Response:
    """Answer that the database is unavailable: a page for a browser, a problem for a program.

    Any other error of the database is our fault, and is raised again.
    """
    if not is_database_unavailable(error):
        raise error
    log.warning("not available", reason=type(error).__name__)
    detail = "This cannot be done at this moment. Try again in a few seconds."
    problem = Problem("not-available", detail, headers=NO_STORE_HEADERS | {"Retry-After": str(RETRY_AFTER)})
    if responses.wants_page(request):
        resources: Resources = request.app.state.resources
        return responses.problem_response(request, resources.settings, problem)
    return _problem(request, problem)


async def handle_unexpected_error(request: Request, _error: Exception) -> Response:
    """Answer a fault of ours, without its details."""
    return _problem(request, Problem("internal-error", "This is our fault, and it was noted. Try again in a moment."))
