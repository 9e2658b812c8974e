"""Every log line is one JSON object with its correlation id, without secrets or personal data."""

import asyncio
import io
import json
import logging
import re
import string
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote
from uuid import UUID

import pytest
import structlog
from hypothesis import assume, given
from hypothesis import strategies as st

from app.core import logs


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    handlers = logging.root.handlers[:]
    level = logging.root.level
    before = structlog.get_config()
    yield
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    structlog.configure(**before)


def log_lines(stream: io.BytesIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.fixture
def stream() -> io.BytesIO:
    stream = io.BytesIO()
    logs.configure(stream)
    return stream


def test_a_line_is_one_json_object_with_source_level_and_time(stream: io.BytesIO) -> None:
    logs.get("outbox").warning("given up", job="sync", attempts=3)
    (line,) = log_lines(stream)
    at = datetime.fromisoformat(line.pop("time"))
    assert abs((datetime.now(UTC) - at).total_seconds()) < 60
    assert line == {"source": "outbox", "level": "warning", "event": "given up", "job": "sync", "attempts": 3}


def test_values_of_any_kind_are_written(stream: io.BytesIO) -> None:
    account = UUID(int=7)
    logs.get("x").info("kinds", id=account, ids=(1, account), huge=2**70, odd="\ud800", nothing=None, cost=0.5, on=True)
    (line,) = log_lines(stream)
    assert line["ids"] == [1, str(account)]
    assert (line["id"], line["huge"], line["nothing"], line["cost"], line["on"]) == (
        str(account),
        2**70,
        None,
        0.5,
        True,
    )


def test_what_contains_itself_is_cut_off(stream: io.BytesIO) -> None:
    endless: dict[str, Any] = {}
    endless["again"] = endless
    logs.get("x").info("endless", endless=endless)
    assert "..." in stream.getvalue().decode()


def test_lines_carry_the_correlation_id_of_what_runs(stream: io.BytesIO) -> None:
    log = logs.get("x")
    with logs.correlation_context("request-1"):
        assert logs.correlation() == "request-1"
        log.info("inside")
        with logs.correlation_context("request-2"):
            log.info("deeper")
        log.info("inside again")
    log.info("outside")
    assert [line.get("correlation") for line in log_lines(stream)] == ["request-1", "request-2", "request-1", None]
    assert logs.correlation() is None


async def test_tasks_started_inside_keep_the_correlation_id(stream: io.BytesIO) -> None:
    async def work() -> str | None:
        return logs.correlation()

    with logs.correlation_context("request-1"):
        task = asyncio.create_task(work())
    assert await task == "request-1"


def test_new_correlation_ids_are_fit_for_a_header() -> None:
    fresh = {logs.new_correlation() for _ in range(1000)}
    assert len(fresh) == 1000
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{16}", one) for one in fresh)


def test_the_level_holds_for_everything() -> None:
    stream = io.BytesIO()
    logs.configure(stream, "warning")
    logs.get("x").info("not said")
    logging.getLogger("alembic").info("not said")
    logging.getLogger("alembic").error("said")
    assert [line["event"] for line in log_lines(stream)] == ["said"]
    with pytest.raises(ValueError, match="'LOUD' is no log level"):
        logs.configure(stream, "LOUD")


def test_libraries_speak_through_the_same_json() -> None:
    # Configured here and not in a fixture: pytest installs its own handler in between, which would fail over the
    # format.
    logs.configure(stream := io.BytesIO())
    with logs.correlation_context("request-1"):
        logging.getLogger("arq.worker").info("%d jobs", 3)
        logging.getLogger("uvicorn.error").log(25, "between two levels")
        logging.getLogger("x").warning("a format %d that does not fit", "its arguments")
    entries = [(line["source"], line["level"], line["event"], line["correlation"]) for line in log_lines(stream)]
    assert entries == [
        ("arq.worker", "info", "3 jobs", "request-1"),
        ("uvicorn.error", "info", "between two levels", "request-1"),
        ("x", "warning", "a format %d that does not fit", "request-1"),
    ]


def test_a_librarys_own_handlers_are_taken_off() -> None:
    elsewhere = io.StringIO()
    logging.getLogger("uvicorn").addHandler(logging.StreamHandler(elsewhere))
    logs.configure(stream := io.BytesIO())
    logging.getLogger("uvicorn").info("started")
    assert elsewhere.getvalue() == ""
    assert [line["event"] for line in log_lines(stream)] == ["started"]


def test_access_lines_and_requests_of_libraries_are_not_written(stream: io.BytesIO) -> None:
    logging.getLogger("uvicorn.access").warning("GET /j/ticket 303")
    logging.getLogger("httpx").info("HTTP Request: GET https://zoom.test")
    logging.getLogger("sqlalchemy.engine").info("SELECT")
    assert log_lines(stream) == []


def test_an_exception_shows_where_it_happened_without_locals(stream: io.BytesIO) -> None:
    def fail(hidden: str) -> None:
        del hidden
        raise RuntimeError("could not read the grant of ann@example.org")

    try:
        fail("hunter2-in-a-local")
    except RuntimeError:
        logs.get("x").exception("failed", account=7)
        logging.getLogger("asyncio").exception("failed too")
    for line in log_lines(stream):
        assert line["exception"].startswith("Traceback (most recent call last):")
        assert "in fail" in line["exception"]
        assert "RuntimeError: could not read the grant of ***" in line["exception"]
        assert "ann@" not in line["exception"]
    assert len(log_lines(stream)) == 2


def test_by_default_lines_go_to_standard_output() -> None:
    program = "from app.core import logs; logs.configure(); logs.get('x').info('said')"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert json.loads(ran.stdout)["event"] == "said"
    assert ran.stderr == b""


secrets = st.text(string.ascii_letters + string.digits + "_-", min_size=12, max_size=60)
jwts = st.tuples(secrets, secrets).map(lambda parts: f"eyJhbGciOiJFUzI1NiJ9.eyJ{parts[0]}.{parts[1]}")
names = st.sampled_from(["access_token", "refresh_token", "code", "tk", "pwd", "zak"])


def in_a_url(name: str, secret: str, more: str) -> str:
    return f"https://us02web.zoom.us/w/87123?{more}{name}={secret}&uname=x"


# How a secret may get into a text: each yields the secret that must not survive, and the text.
planted = st.one_of(
    st.builds(lambda token: (token, f"Authorization: Bearer {token}"), secrets),
    st.builds(lambda token: (token, f"[(b'authorization', b'bearer {token}')]"), secrets),
    st.builds(lambda token: (token, f"got {token}, expected another"), jwts),
    st.builds(lambda name, token: (token, in_a_url(name, token, "")), names, secrets),
    st.builds(lambda name, token: (token, in_a_url(name, token, "from=addon&")), names, secrets),
    st.builds(lambda name, token: (token, "next=" + quote(in_a_url(name, token, "x=1&"), safe="")), names, secrets),
    st.builds(lambda name, token: (token, "n=" + quote(quote(in_a_url(name, token, "x=1&"), safe=""))), names, secrets),
    st.builds(lambda name, token: (token, f"Grant({name}={token!r})"), names, secrets),
    st.builds(lambda token: (token, json.dumps({"access_token": token, "expires_in": 3600})), secrets),
    st.builds(lambda token: (token, json.dumps(json.dumps({"refresh_token": token}))), secrets),
    st.builds(lambda token: (token, repr({"zak": token})), secrets),
    st.builds(lambda token: (token, f"GET /j/{token} 303"), secrets),
    st.builds(lambda token: (token, f"https://api.kindryn.test/join/{token}?go=1"), secrets),
    st.builds(lambda token: (token, quote(f"https://api.kindryn.test/j/{token}", safe="")), secrets),
    st.builds(lambda address: (address, f"mail to <{address}> refused"), st.emails()),
    st.builds(lambda address: (address, f"Key (email)=({address}) already exists."), st.emails()),
    st.builds(lambda address: (address, f"/users/{address}/settings"), st.emails()),
)


def log_everywhere(text: str) -> None:
    """Log a text in every place where a value can stand."""
    log = logs.get("x")
    log.info(text)
    log.info("value", value=text, nested={"a": [text, {text: (text,)}]}, raw=text.encode(), error=ValueError(text))
    try:
        raise ValueError(text)
    except ValueError as error:
        log.exception("failed")
        logging.getLogger("library").error("went wrong: %s", text, exc_info=error)


@given(planted, st.text(max_size=20), st.text(max_size=20))
def test_no_planted_secret_survives(secret_and_text: tuple[str, str], before: str, after: str) -> None:
    secret, text = secret_and_text
    assume(secret not in before and secret not in after)
    stream = io.BytesIO()
    logs.configure(stream)
    log_everywhere(f"{before} {text} {after}")
    lines = log_lines(stream)
    assert len(lines) == 4
    for line in stream.getvalue().decode().splitlines():
        assert secret not in line
        assert json.dumps(secret)[1:-1] not in line


@pytest.mark.parametrize("field", ["access_token", "Authorization", "join_url", "password", "pwd", "stream_key"])
def test_a_field_named_as_a_secret_shows_no_text(stream: io.BytesIO, field: str) -> None:
    logs.get("x").info("planted", **{field: "opaque"}, nested={field: b"opaque"})
    assert b"opaque" not in stream.getvalue()


@given(st.text())
def test_redacting_twice_changes_nothing_more(text: str) -> None:
    once = logs.redact(text)
    assert logs.redact(once) == once


@pytest.mark.parametrize(
    "text",
    [
        "a member clicked",
        "not-registered",
        "/api/events/{event_id}/zoom-join",
        "/j/{ticket}",
        "0190a5d2-7c1f-7d33-8a5e-3f0d6a4b2c11",
        "status_code=404 took 3.5 ms",
        '{"code":124,"message":"Access token is expired."}',
        "https://api.zoom.us/v2/meetings/87123456789",
        "meeting.started at 2026-11-22T12:00:00Z",
    ],
)
def test_what_is_harmless_stays_readable(text: str) -> None:
    assert logs.redact(text) == text


@pytest.mark.parametrize(
    "text", ["a" * 200_000 + " @", "eyJ" * 60_000, "code" * 50_000 + "=", "bearer" + " " * 200_000]
)
def test_redacting_a_huge_text_takes_no_time(text: str) -> None:
    started = time.thread_time()
    assert logs.redact(text) is not None
    assert time.thread_time() - started < 2
