"""The service's metrics for Prometheus, in their own registry and served on their own port.

Every label has few values: a route's template, never its path, and an outcome's slug, never a sentence.
"""

import contextlib
import platform
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.types import WSGIApplication

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer

from app.core.version import VERSION

REGISTRY: Final = CollectorRegistry()
ProcessCollector(registry=REGISTRY)

# Seconds. People wait for a request; a vendor or a job may take longer.
_REQUEST_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_JOB_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120)

_requests = Counter(
    "kindryn_zoom_http_requests", "Requests answered.", ("method", "route", "status"), registry=REGISTRY
)
_request_seconds = Histogram(
    "kindryn_zoom_http_request_seconds",
    "From a request to the end of its answer.",
    ("method", "route"),
    registry=REGISTRY,
    buckets=_REQUEST_BUCKETS,
)
_outbox_rows = Gauge("kindryn_zoom_outbox_rows", "Rows of pending work, by state.", ("state",), registry=REGISTRY)
_oldest_due = Gauge(
    "kindryn_zoom_outbox_oldest_due_seconds",
    "How long the row has been due that waits the longest, by kind of queue.",
    ("queue",),
    registry=REGISTRY,
)
_accounts = Gauge("kindryn_zoom_accounts", "Zoom accounts, by status.", ("status",), registry=REGISTRY)
_job_runs = Counter("kindryn_zoom_job_runs", "Jobs run.", ("job", "outcome"), registry=REGISTRY)
_job_seconds = Histogram(
    "kindryn_zoom_job_seconds", "Running a job.", ("job",), registry=REGISTRY, buckets=_JOB_BUCKETS
)
_vendor_calls = Counter(
    "kindryn_zoom_vendor_calls", "Calls to vendors.", ("vendor", "operation", "outcome"), registry=REGISTRY
)
_vendor_seconds = Histogram(
    "kindryn_zoom_vendor_call_seconds",
    "Waiting for a vendor's answer.",
    ("vendor", "operation"),
    registry=REGISTRY,
    buckets=_JOB_BUCKETS,
)
_joins = Counter("kindryn_zoom_joins", "Clicks on Join, by what they ended in.", ("outcome",), registry=REGISTRY)
_deliveries = Counter("kindryn_zoom_deliveries", "Deliveries received from Zoom.", ("outcome",), registry=REGISTRY)
_mails = Counter("kindryn_zoom_mails", "Mails handed to the mail server.", ("outcome",), registry=REGISTRY)
_limited = Counter(
    "kindryn_zoom_rate_limited", "Calls that Zoom refused for its limits.", ("label",), registry=REGISTRY
)
_refreshes = Counter("kindryn_zoom_token_refreshes", "Refreshes of a grant's tokens.", ("outcome",), registry=REGISTRY)
_jwks = Counter("kindryn_zoom_jwks_refreshes", "Fetches of the platform's keys.", ("outcome",), registry=REGISTRY)
_lag = Histogram(
    "kindryn_zoom_notification_lag_seconds",
    "From a notification's coming to its being understood.",
    registry=REGISTRY,
    buckets=_JOB_BUCKETS,
)
_listeners = Gauge("kindryn_zoom_live_listeners", "Open live streams of this process.", registry=REGISTRY)
_pool_busy = Gauge(
    "kindryn_zoom_database_connections_busy", "Connections in use, of this process.", ("pool",), registry=REGISTRY
)
_pool_max = Gauge(
    "kindryn_zoom_database_connections_max", "Connections there may be, of this process.", ("pool",), registry=REGISTRY
)
_build = Gauge("kindryn_zoom_build_info", "1, and what runs here.", ("version", "python"), registry=REGISTRY)
_build.labels(VERSION, platform.python_version()).set(1)

# Values that are always shown, as 0 if there is none of them.
STATES = ("due", "running", "waiting", "dead")
QUEUE_KINDS = ("none", "zoom", "mail", "hook", "delivery", "hook_message")
STATUSES = ("connected", "needs_reauth", "disconnected")
LABELS = ("light", "medium", "heavy", "resource-intensive")
# Series that exist before their first event, so that a rate can be computed from the first one on.
for _label in LABELS:
    _limited.labels(_label)
for _outcome in ("renewed", "NeedsReauth"):
    _refreshes.labels(_outcome)
for _outcome in ("fetched", "failed"):
    _jwks.labels(_outcome)


def request_answered(method: str, route: str, status: int, seconds: float) -> None:
    """Count an answered request; `route` is the template of its route."""
    _requests.labels(method, route, status).inc()
    _request_seconds.labels(method, route).observe(seconds)


def outbox_counted(rows: Mapping[str, float] | None) -> None:
    """Show how many outbox rows are in each state; None shows nothing, because another process does."""
    _show(_outbox_rows, STATES, rows)


def oldest_due_counted(seconds: Mapping[str, float] | None) -> None:
    """Show how long each queue kind's oldest due row has waited, in seconds; None shows nothing."""
    _show(_oldest_due, QUEUE_KINDS, seconds)


def accounts_counted(statuses: Mapping[str, float] | None) -> None:
    """Show how many Zoom accounts have each status; None shows nothing."""
    _show(_accounts, STATUSES, statuses)


def _show(gauge: Gauge, expected: tuple[str, ...], values: Mapping[str, float] | None) -> None:
    """Show these values, and 0 for each expected name without one; None shows nothing at all."""
    gauge.clear()
    for name, value in ({} if values is None else dict.fromkeys(expected, 0.0) | dict(values)).items():
        gauge.labels(name).set(value)


def job_ran(job: str, outcome: str, seconds: float) -> None:
    """Count a run of a job that ended."""
    _job_runs.labels(job, outcome).inc()
    _job_seconds.labels(job).observe(seconds)


def vendor_called(vendor: str, operation: str, outcome: str, seconds: float) -> None:
    """Count a call to a vendor; `outcome` is an HTTP status, or a slug such as "ReadTimeout"."""
    _vendor_calls.labels(vendor, operation, outcome).inc()
    _vendor_seconds.labels(vendor, operation).observe(seconds)


def join_decided(outcome: str) -> None:
    """Count a click on Join, which ended in a redirect or in the refusal with that slug."""
    _joins.labels(outcome).inc()


def delivery_received(outcome: str) -> None:
    """Count a delivery that was stored, was already known, or was refused."""
    _deliveries.labels(outcome).inc()


_dependency_up = Gauge(
    "kindryn_zoom_dependency_up",
    "1 while this worker reaches it, 0 while it does not.",
    ("dependency",),
    registry=REGISTRY,
)


def dependency_up(dependency: str, up: bool) -> None:
    """Show whether this worker reaches the database, or Redis."""
    _dependency_up.labels(dependency).set(up)


_clock_offset = Gauge(
    "kindryn_zoom_clock_offset_seconds",
    "How far this machine's clock is ahead of the database's.",
    registry=REGISTRY,
)


def watch_clock_offset(offset: Callable[[], float]) -> None:
    """Show the clock's offset, which `offset` returns whenever the metrics are read."""
    _clock_offset.set_function(offset)


def mail_sent(outcome: str) -> None:
    """Count a mail that the server accepted or refused, or that was superseded before it was sent."""
    _mails.labels(outcome).inc()


def rate_limited(label: str) -> None:
    """Count a call that Zoom refused for the limit of that rate label."""
    _limited.labels(label).inc()


@contextlib.contextmanager
def count_token_refresh() -> Iterator[None]:
    """Count the refresh of a grant's tokens in the block: "renewed", or the class of the error."""
    try:
        yield
    except Exception as error:
        _refreshes.labels(type(error).__name__).inc()
        raise
    _refreshes.labels("renewed").inc()


def keys_refreshed(outcome: str) -> None:
    """Count a fetch of the platform's keys, successful or not."""
    _jwks.labels(outcome).inc()


def notification_interpreted(seconds: float) -> None:
    """Record how long after its arrival a notification was first read."""
    _lag.observe(seconds)


@contextlib.contextmanager
def live_listener() -> Iterator[None]:
    """Count an open live stream while the block runs."""
    with _listeners.track_inprogress():
        yield


def pool_opened(pool: str, maximum: int, busy: Callable[[], int]) -> None:
    """Show a pool of connections; `busy` returns its connections in use whenever the metrics are read."""
    _pool_max.labels(pool).set(maximum)
    _pool_busy.labels(pool).set_function(busy)


class MetricsServer:
    """Serves the registry until it is closed. `port` is 0 if it serves nowhere."""

    def __init__(self, running: tuple[WSGIServer, threading.Thread] | None) -> None:
        self._running = running
        self.port = running[0].server_port if running else 0

    def close(self) -> None:
        """Stop serving and free the port. Closing twice is harmless."""
        if self._running:
            server, thread = self._running
            self._running = None
            server.shutdown()
            thread.join()
            server.server_close()


class _Quiet(WSGIRequestHandler):
    def log_message(self, *args: object) -> None:
        """Write no line for each request."""


def serve(port: int, host: str, wrap: Callable[[WSGIApplication], WSGIApplication] = lambda app: app) -> MetricsServer:
    """Serve `/metrics`, and what `wrap` adds, on that port from a thread; port 0 serves nothing.

    `wrap` is applied before the first request is accepted. `/metrics` answers at any path, so a readiness added later
    would at first look ready. Raises OSError if the port is taken.
    """
    if not port:
        return MetricsServer(None)

    class Server(ThreadingWSGIServer):
        address_family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]

    server: WSGIServer = make_server(host, port, wrap(make_wsgi_app(REGISTRY)), Server, _Quiet)
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    return MetricsServer((server, thread))
