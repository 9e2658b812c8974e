"""The simulator as an ASGI app and as a server."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from fastapi import APIRouter, FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.simulator import (
    browser_pages,
    controls,
    meeting_controls,
    meetings,
    notification_controls,
    oauth,
    recordings,
    registrants,
    reports,
    users,
)
from app.simulator.config import Config
from app.simulator.errors import not_recognized
from app.simulator.middleware import AbortableProtocol, JournalMiddleware, json_response
from app.simulator.operations import route
from app.simulator.simulator import Simulator

OPERATION_TABLES = (
    users.OPERATIONS,
    meetings.OPERATIONS,
    registrants.OPERATIONS,
    reports.OPERATIONS,
    recordings.OPERATIONS,
)
ROUTE_FACTORIES = (oauth.routes, browser_pages.routes)
# FastAPI analyses these routes once in a process, because tests start hundreds of simulators in one.
CONTROLS = APIRouter()
for router in (controls.router, meeting_controls.router, notification_controls.router):
    CONTROLS.include_router(router)


def create_app(config: Config) -> FastAPI:
    """Return a Zoom that knows one app. If `server` serves it, it can also break connections.

    `app.state.simulator` is the `Simulator` inside.
    """
    simulator = Simulator(config)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await simulator.sender.aclose()

    app = FastAPI(title="A simulated Zoom", lifespan=lifespan)
    app.state.simulator = simulator
    app.router.routes.extend(CONTROLS.routes)
    for operations in OPERATION_TABLES:
        app.router.routes.extend(route(operation, handler, simulator) for operation, handler in operations)
    for site in ROUTE_FACTORIES:
        app.router.routes.extend(site(simulator))
    methods = ["GET", "POST", "PUT", "PATCH", "DELETE"]
    app.router.routes.append(Route("/v2/{rest:path}", _not_recognized, methods=methods))
    app.add_middleware(JournalMiddleware, simulator=simulator)
    return app


def server(config: Config, host: str, port: int) -> uvicorn.Server:
    """Return a uvicorn server that is not running yet. Port 0 takes a free one."""
    app = create_app(config)
    return uvicorn.Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            http=AbortableProtocol,
            log_level="warning",
            # uvicorn's default of five seconds equals httpx's, and one side would hang up on the other
            timeout_keep_alive=60,
            access_log=False,
            timeout_graceful_shutdown=2,
        )
    )


def serve(config: Config, host: str, port: int) -> None:
    """Serve until stopped."""
    server(config, host, port).run()


async def _not_recognized(_: Request) -> Response:
    return json_response(not_recognized().response)
