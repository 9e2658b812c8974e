"""Logs: one JSON object per line on standard output, redacted, with its correlation id.

Callers log facts and ids, never names, e-mails, tokens or links. `redact` catches what slips through.
"""

import json
import logging
import re
import secrets
import sys
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, BinaryIO, cast

import orjson
import structlog
from structlog.typing import FilteringBoundLogger

REDACTED = "***"
MAX_DEPTH = 8  # levels of nested values in a log line
_correlation: ContextVar[str | None] = ContextVar("correlation", default=None)

# Fields whose text value is secret in any form. `code` is not among them: the error codes of Zoom and PostgreSQL are
# wanted.
_SECRET_NAMES = (
    "access_token|refresh_token|id_token|download_token|authorization|cookie|client_secret|code_verifier|"
    "password|passcode|secret|stream_key|token|join_url|start_url|tk|pwd|zak"
)
_SECRET_FIELD = re.compile(_SECRET_NAMES, re.IGNORECASE)

# Each rule: needles of which one must occur (much cheaper to find), the pattern to hide, and its replacement.
# Percent-encoded forms occur where one URL contains another.
_RULES: tuple[tuple[tuple[str, ...], re.Pattern[str], str], ...] = (
    # The values that PostgreSQL and its driver quote in their errors.
    (
        ("DETAIL:",),
        re.compile(r"(DETAIL:)(?:\s+Failing row contains .*?\)\.(?=\n|\Z)|[^\n]*)", re.DOTALL),
        rf"\1 {REDACTED}",
    ),
    (("for query argument",), re.compile(r"(for query argument \$\d+:)[^\n]*"), rf"\1 {REDACTED}"),
    # A JWT, or any other base64 of a JSON object.
    (("eyJ",), re.compile(r"eyJ[\w.+/=-]{10,}"), REDACTED),
    (("earer", "EARER"), re.compile(r"(bearer(?:\s|%20|\+)+)[^\s\"',;]+", re.IGNORECASE), rf"\1{REDACTED}"),
    (("asic", "ASIC"), re.compile(r"(basic(?:\s|%20|\+)+)[\w+/=-]{8,}", re.IGNORECASE), rf"\1{REDACTED}"),
    # `name=value` in URLs and forms, `"name": "value"` in quoted JSON, `name='value'` in representations.
    (
        ("=", ":", "%3D", "%3d"),
        re.compile(
            r"((?:(?<![a-z0-9])|(?<=3f)|(?<=26))"
            rf"(?:(?:{_SECRET_NAMES})(?:\\*[\"'])?\s*(?:=|:|%(?:25)*3D)|(?<!_)code\s*(?:=|%(?:25)*3D))"
            r"\s*(?:b?\\*[\"'])?)[^&\s\"'<>]+",
            re.IGNORECASE,
        ),
        rf"\1{REDACTED}",
    ),
    # An e-mail address. The local part is bounded, so that a long text cannot make the search quadratic.
    (("@", "%40"), re.compile(r"[^\s@<>\"(),:;\\\[\]]{1,64}(?:@|%40)[\w.-]+"), REDACTED),
    # Our own links and tickets, and Zoom's. A route template's `{ticket}` is not matched.
    (
        tuple(slash + letter for slash in ("/", "2F", "2f") for letter in "jJgGcCuU"),
        re.compile(r"((?:/|%2F)(?:j|join|guest|calendar|unsubscribe)(?:/|%2F))[^\s/?#\"'<>{]+", re.IGNORECASE),
        rf"\1{REDACTED}",
    ),
)

# Most texts are short words in which no rule can match.
_HARMLESS = re.compile(r"[\w.-]{0,12}", re.ASCII)

# Below a warning, these loggers write noise, or URLs, parameters and addresses.
_QUIET = ("httpx", "httpcore", "sqlalchemy", "botocore", "aiobotocore", "urllib3", "mail.log")
# These loggers have handlers and levels of their own. uvicorn's access log would contain raw paths.
_CAPTURED = ("uvicorn", "uvicorn.error", "uvicorn.asgi", "uvicorn.access", "arq", "alembic")


def get(name: str) -> FilteringBoundLogger:
    """Return the logger of one part of the service; its lines have `name` as `source`."""
    return cast(FilteringBoundLogger, structlog.get_logger(source=name))


def correlation() -> str | None:
    """Return the correlation id of the current task, if any."""
    return _correlation.get()


@contextmanager
def correlation_context(correlation_id: str | None) -> Iterator[None]:
    """Log with this correlation id in the block, and in tasks started there."""
    token = _correlation.set(correlation_id)
    try:
        yield
    finally:
        _correlation.reset(token)


def new_correlation() -> str:
    """Return a new correlation id of 16 URL-safe characters."""
    return secrets.token_urlsafe(12)


def configure(stream: BinaryIO | None = None, level: int | str = logging.INFO) -> None:
    """Send all logs from now on, including the standard library's, to `stream` (standard output) as JSON.

    `level` is a standard level or its name; another name raises ValueError. Call it once, first thing in a process, and
    start uvicorn with `log_config=None`, because uvicorn would otherwise install handlers of its own.
    """
    number = logging.getLevelNamesMapping().get(level.upper()) if isinstance(level, str) else level
    if number is None:
        raise ValueError(f"{level!r} is no log level: use DEBUG, INFO, WARNING or ERROR")
    structlog.configure(
        processors=[
            _add_correlation,
            structlog.processors.format_exc_info,
            _redact,
            structlog.processors.add_log_level,
            _add_time,
            _render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.BytesLoggerFactory(stream or sys.stdout.buffer),
    )
    logging.root.handlers[:] = [_Capture()]
    logging.root.setLevel(number)
    for name in _CAPTURED:
        captured = logging.getLogger(name)
        captured.handlers.clear()
        captured.setLevel(logging.NOTSET)
        captured.propagate = name != "uvicorn.access"
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(number, logging.WARNING))


def redact(text: str) -> str:
    """Return the text without tokens, secret parameters, e-mail addresses and personal links."""
    if _HARMLESS.fullmatch(text):
        return text
    for needles, secret, left in _RULES:
        for needle in needles:
            if needle in text:
                text = secret.sub(left, text)
                break
    return text


class _Capture(logging.Handler):
    """Passes what libraries log through the standard library to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        # The standard library allows levels between the five standard ones; structlog knows only the five.
        level = min(max(record.levelno // 10 * 10, logging.DEBUG), logging.CRITICAL)
        try:
            message = record.getMessage()
        except (TypeError, ValueError):
            # The format does not fit its arguments, which may be secret.
            message = str(record.msg)
        get(record.name).log(level, message, exc_info=record.exc_info)


def _add_correlation(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    correlation_id = _correlation.get()
    if correlation_id is not None:
        event["correlation"] = correlation_id
    return event


def _redact(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return _clean_fields(event, MAX_DEPTH - 1)


def _add_time(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    event["time"] = datetime.now(UTC)
    return event


def _render(_logger: object, _method: str, event: MutableMapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(event, option=orjson.OPT_UTC_Z)
    except TypeError:
        # orjson refuses lone surrogates and integers beyond 64 bits, and a log line must not make a request fail.
        return json.dumps(event, default=str).encode()


def _clean(value: Any, depth: int) -> Any:
    """Return the value as plain JSON types with every text redacted, cut at `depth` levels."""
    kind = type(value)
    if kind is str:
        return redact(value)
    if kind is int or kind is float or kind is bool or value is None:
        return value
    if depth == 0:
        return "..."
    if isinstance(value, Mapping):
        return _clean_fields(value, depth - 1)
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(item, depth - 1) for item in value]
    return redact(str(value))


def _clean_fields(fields: Mapping[Any, Any], depth: int) -> dict[str, Any]:
    clean = {}
    for name, value in fields.items():
        shown, secret = _field(str(name))
        clean[shown] = REDACTED if secret and isinstance(value, str | bytes) else _clean(value, depth)
    return clean


@lru_cache(1024)
def _field(name: str) -> tuple[str, bool]:
    """Return a field's name as it may be shown, and whether its value is secret."""
    return redact(name), _SECRET_FIELD.fullmatch(name) is not None
