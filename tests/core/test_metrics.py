"""Metrics are served on their own port, and the access log counts and names every request."""

import io
import json
import logging
import platform
import re
import socket
import tomllib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import prometheus_client
import pytest
import structlog
import uvicorn
from fastapi import APIRouter, FastAPI
from fastapi.responses import StreamingResponse
from prometheus_client.parser import text_string_to_metric_families
from starlette.types import ASGIApp, Message

from app.core import logs, metrics
from app.core.access_log import AccessLogMiddleware
from app.core.version import VERSION
from tests.support.timeouts import TIMEOUT


def sample_value(sample: str, **labels: str) -> float:
    return metrics.REGISTRY.get_sample_value(f"kindryn_zoom_{sample}", labels) or 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_everything_counted_can_be_scraped() -> None:
    metrics.request_answered("GET", "/api/events/{event_id}", 200, 0.02)
    metrics.outbox_counted({"due": 3, "dead": 1})
    metrics.job_ran("sync_meeting", "done", 0.3)
    metrics.vendor_called("zoom", "create_meeting", "201", 0.4)
    metrics.vendor_called("zoom", "create_meeting", "timeout", 10)
    metrics.join_decided("not-registered")
    metrics.delivery_received("stored")
    metrics.mail_sent("sent")
    server = metrics.serve(free_port(), "127.0.0.1")
    try:
        answer = httpx.get(f"http://127.0.0.1:{server.port}/metrics", timeout=TIMEOUT)
    finally:
        server.close()
    assert answer.status_code == 200
    samples = {
        (sample.name, frozenset(sample.labels.values()))
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }
    assert samples >= {
        ("kindryn_zoom_http_requests_total", frozenset({"GET", "/api/events/{event_id}", "200"})),
        ("kindryn_zoom_http_request_seconds_count", frozenset({"GET", "/api/events/{event_id}"})),
        ("kindryn_zoom_outbox_rows", frozenset({"due"})),
        ("kindryn_zoom_outbox_rows", frozenset({"dead"})),
        ("kindryn_zoom_job_runs_total", frozenset({"sync_meeting", "done"})),
        ("kindryn_zoom_job_seconds_count", frozenset({"sync_meeting"})),
        ("kindryn_zoom_vendor_calls_total", frozenset({"zoom", "create_meeting", "201"})),
        ("kindryn_zoom_vendor_calls_total", frozenset({"zoom", "create_meeting", "timeout"})),
        ("kindryn_zoom_vendor_call_seconds_count", frozenset({"zoom", "create_meeting"})),
        ("kindryn_zoom_joins_total", frozenset({"not-registered"})),
        ("kindryn_zoom_deliveries_total", frozenset({"stored"})),
        ("kindryn_zoom_mails_total", frozenset({"sent"})),
        ("process_cpu_seconds_total", frozenset()),
    }


def test_states_without_outbox_rows_are_shown_as_none_and_another_processs_states_not_at_all() -> None:
    def shown(state: str) -> float | None:
        return metrics.REGISTRY.get_sample_value("kindryn_zoom_outbox_rows", {"state": state})

    metrics.outbox_counted({"due": 3, "dead": 1})
    metrics.outbox_counted({"due": 2})
    assert [shown(state) for state in ("due", "running", "waiting", "dead")] == [2, 0, 0, 0]
    metrics.outbox_counted(None)
    assert [shown(state) for state in ("due", "running", "waiting", "dead")] == [None] * 4


def test_the_edition_that_runs_is_shown() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert project["version"] == VERSION
    labels = {"version": VERSION, "python": platform.python_version()}
    assert metrics.REGISTRY.get_sample_value("kindryn_zoom_build_info", labels) == 1


def test_a_closed_server_frees_its_port() -> None:
    server = metrics.serve(free_port(), "127.0.0.1")
    port = server.port
    server.close()
    server.close()
    again = metrics.serve(port, "127.0.0.1")
    assert again.port == port
    with pytest.raises(OSError, match="in use"):
        metrics.serve(port, "127.0.0.1")
    again.close()


def test_port_zero_serves_nothing() -> None:
    server = metrics.serve(0, "127.0.0.1")
    assert server.port == 0
    server.close()


def test_the_registry_everybody_shares_is_left_alone() -> None:
    names = [family.name for family in prometheus_client.REGISTRY.collect()]
    assert not [name for name in names if name.startswith("kindryn")]


def api() -> FastAPI:
    app = FastAPI()
    events = APIRouter(prefix="/events")

    @events.get("/{event_id}")
    async def read_event(event_id: str) -> dict[str, str | None]:
        return {"event": event_id, "correlation": logs.correlation()}

    @app.get("/j/{ticket}")
    async def join(ticket: str) -> None:
        raise RuntimeError("the lock is stuck for ann@example.org")

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        async def half() -> AsyncIterator[bytes]:
            yield b"half"
            raise RuntimeError("cut off")

        return StreamingResponse(half())

    routers = APIRouter(prefix="/api")
    routers.include_router(events)
    app.include_router(routers)
    return app


@asynccontextmanager
async def running(app: ASGIApp) -> AsyncIterator[httpx.AsyncClient]:
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, ws="none", lifespan="off"))
    server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    await server.startup(sockets=[listener])
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=TIMEOUT) as http:
            yield http
    finally:
        await server.shutdown(sockets=[listener])


@pytest.fixture
def stream() -> Iterator[io.BytesIO]:
    handlers = logging.root.handlers[:]
    level = logging.root.level
    before = structlog.get_config()
    stream = io.BytesIO()
    logs.configure(stream)
    yield stream
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    structlog.configure(**before)


@pytest.fixture
async def http(stream: io.BytesIO) -> AsyncIterator[httpx.AsyncClient]:
    async with running(AccessLogMiddleware(api())) as http:
        yield http


def lines(stream: io.BytesIO, event: str) -> list[dict[str, Any]]:
    return [line for line in map(json.loads, stream.getvalue().splitlines()) if line["event"] == event]


async def test_a_request_is_logged_once_by_the_whole_template_of_its_route(
    http: httpx.AsyncClient, stream: io.BytesIO
) -> None:
    answer = await http.get("/api/events/secret-looking-id?code=abc")
    assert answer.status_code == 200
    (line,) = lines(stream, "request")
    assert line["method"] == "GET"
    assert line["route"] == "/api/events/{event_id}"
    assert line["status"] == 200
    assert line["ms"] > 0
    assert b"secret-looking-id" not in stream.getvalue()


async def test_a_request_is_counted_and_timed(http: httpx.AsyncClient) -> None:
    request = {"method": "GET", "route": "/api/events/{event_id}"}
    before = sample_value("http_requests_total", status="200", **request)
    timed = sample_value("http_request_seconds_count", **request)
    for _ in range(3):
        await http.get("/api/events/1")
    assert sample_value("http_requests_total", status="200", **request) == before + 3
    assert sample_value("http_request_seconds_count", **request) == timed + 3


async def test_what_no_route_takes_is_counted_without_its_path_or_method(
    http: httpx.AsyncClient, stream: io.BytesIO
) -> None:
    assert (await http.get("/wp-login.php")).status_code == 404
    assert (await http.request("PROPFIND", "/api/events/1")).status_code == 405
    first, second = lines(stream, "request")
    assert (first["route"], first["status"]) == ("unmatched", 404)
    assert (second["method"], second["route"], second["status"]) == ("OTHER", "/api/events/{event_id}", 405)
    assert b"wp-login" not in stream.getvalue()


async def test_a_fitting_request_id_is_taken_over_and_sent_back(http: httpx.AsyncClient, stream: io.BytesIO) -> None:
    answer = await http.get("/api/events/1", headers={"X-Request-Id": "from-the-spa_1"})
    assert answer.headers["x-request-id"] == "from-the-spa_1"
    assert answer.json()["correlation"] == "from-the-spa_1"
    assert [line["correlation"] for line in lines(stream, "request")] == ["from-the-spa_1"]
    assert logs.correlation() is None


@pytest.mark.parametrize("sent", [None, "short", "x" * 65, 'quote"quote', "with space", "käse-käse-käse"])
async def test_otherwise_a_request_id_is_made(http: httpx.AsyncClient, sent: str | None) -> None:
    headers = {} if sent is None else {b"X-Request-Id": sent.encode()}
    answer = await http.get("/api/events/1", headers=headers)
    made = answer.headers["x-request-id"]
    assert re.fullmatch(r"[A-Za-z0-9_-]{16}", made)
    assert answer.json()["correlation"] == made


async def test_an_unexpected_error_is_logged_once_with_its_correlation_id(
    http: httpx.AsyncClient, stream: io.BytesIO
) -> None:
    answer = await http.get("/j/some-ticket-of-ann", headers={"X-Request-Id": "click-0001"})
    assert answer.status_code == 500
    assert answer.headers["x-request-id"] == "click-0001"
    (failed,) = lines(stream, "request failed")
    assert failed["correlation"] == "click-0001"
    assert failed["route"].startswith("/j/")
    assert "RuntimeError: the lock is stuck for ***" in failed["exception"]
    assert [line["status"] for line in lines(stream, "request")] == [500]
    assert stream.getvalue().count(b"RuntimeError") == failed["exception"].count("RuntimeError")
    assert b"some-ticket-of-ann" not in stream.getvalue()


async def test_an_answer_that_breaks_off_is_left_to_the_server_to_close(
    http: httpx.AsyncClient, stream: io.BytesIO
) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        await http.get("/stream")
    assert len(lines(stream, "request failed")) == 1
    assert [line["status"] for line in lines(stream, "request")] == [200]


async def test_a_request_given_up_before_its_answer_is_told_apart(stream: io.BytesIO) -> None:
    async def silent(*_: object) -> None:
        return

    async def unused(*_: object) -> Message:
        raise AssertionError("nothing is asked or answered")

    scope = {"type": "http", "method": "GET", "headers": []}
    await AccessLogMiddleware(silent)(scope, unused, unused)  # type: ignore[arg-type]  # a `send` never called
    assert [line["status"] for line in lines(stream, "request")] == [499]


async def test_what_is_no_request_passes_untouched(stream: io.BytesIO) -> None:
    passed: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        passed.append(scope["type"])

    async def unused(*_: Any) -> Any:
        raise AssertionError("nothing is asked or answered")

    await AccessLogMiddleware(app)({"type": "lifespan"}, unused, unused)
    assert passed == ["lifespan"]
    assert stream.getvalue() == b""
