"""What the service counts, for Prometheus, in a registry of its own and served on a port of its own.

Every label takes few values: a route's template and never its path, an outcome's slug and never a sentence.
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

# Seconds. A request answers people; a vendor or a reaction may take its time.
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
_job_runs = Counter("kindryn_zoom_job_runs", "Reactions run.", ("job", "outcome"), registry=REGISTRY)
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
_deliveries = Counter("kindryn_zoom_deliveries", "Deliveries heard from Zoom.", ("outcome",), registry=REGISTRY)
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

STATES = ("due", "running", "waiting", "dead")
QUEUE_KINDS = ("none", "zoom", "mail", "hook", "delivery", "hook_message")
STATUSES = ("connected", "needs_reauth", "disconnected")
LABELS = ("light", "medium", "heavy", "resource-intensive")
for _label in LABELS:
    _limited.labels(_label)
for _outcome in ("renewed", "NeedsReauth"):
    _refreshes.labels(_outcome)
for _outcome in ("fetched", "failed"):
    _jwks.labels(_outcome)


def request_answered(method: str, route: str, status: int, seconds: float) -> None:
    """A request was answered; `route` is the template of its route."""
    _requests.labels(method, route, status).inc()
    _request_seconds.labels(method, route).observe(seconds)


def outbox_counted(rows: Mapping[str, float] | None) -> None:
    """How many outbox rows there are in each state, "dead" among them; None: another process shows it."""
    _show(_outbox_rows, STATES, rows)


def oldest_due_counted(seconds: Mapping[str, float] | None) -> None:
    """How long the oldest due row of each kind of queue has waited; None: another process shows it."""
    _show(_oldest_due, QUEUE_KINDS, seconds)


def accounts_counted(statuses: Mapping[str, float] | None) -> None:
    """How many Zoom accounts there are in each status; None: another process shows it."""
    _show(_accounts, STATUSES, statuses)


def _show(gauge: Gauge, expected: tuple[str, ...], values: Mapping[str, float] | None) -> None:
    """Show these values, and 0 for what is usual and has none; or nothing at all."""
    gauge.clear()
    for name, value in ({} if values is None else dict.fromkeys(expected, 0.0) | dict(values)).items():
        gauge.labels(name).set(value)


def job_ran(job: str, outcome: str, seconds: float) -> None:
    """A job came to an end of its run."""
    _job_runs.labels(job, outcome).inc()
    _job_seconds.labels(job).observe(seconds)


def vendor_called(vendor: str, operation: str, outcome: str, seconds: float) -> None:
    """A call to a vendor ended: `outcome` is an HTTP status, or a slug such as "ReadTimeout"."""
    _vendor_calls.labels(vendor, operation, outcome).inc()
    _vendor_seconds.labels(vendor, operation).observe(seconds)


def join_decided(outcome: str) -> None:
    """A click on Join ended in a redirect or in the refusal with that slug."""
    _joins.labels(outcome).inc()


def delivery_received(outcome: str) -> None:
    """A delivery was stored, was known already, or was refused."""
    _deliveries.labels(outcome).inc()


_dependency_up = Gauge(
    "kindryn_zoom_dependency_up",
    "1 while this worker reaches it, 0 while it does not.",
    ("dependency",),
    registry=REGISTRY,
)


def dependency_up(dependency: str, up: bool) -> None:
    """Whether this worker reaches the database, or Redis."""
    _dependency_up.labels(dependency).set(up)


_clock_offset = Gauge(
    "kindryn_zoom_clock_offset_seconds",
    "How far this machine's clock is ahead of the database's.",
    registry=REGISTRY,
)


def watch_clock_offset(offset: Callable[[], float]) -> None:
    """This process follows the database's clock; `offset` is asked whenever somebody looks."""
    _clock_offset.set_function(offset)


def mail_sent(outcome: str) -> None:
    """A mail was taken or refused by the mail server, or kept back as it was overtaken."""
    _mails.labels(outcome).inc()


def rate_limited(label: str) -> None:
    """Zoom refused a call for the limit of that rate label."""
    _limited.labels(label).inc()


@contextlib.contextmanager
def count_token_refresh() -> Iterator[None]:
    """A grant's tokens are refreshed; what comes of it is "renewed", or the class of an error."""
    try:
        yield
    except Exception as error:
        _refreshes.labels(type(error).__name__).inc()
        raise
    _refreshes.labels("renewed").inc()


def keys_refreshed(outcome: str) -> None:
    """The platform's keys were fetched, or could not be."""
    _jwks.labels(outcome).inc()


def notification_interpreted(seconds: float) -> None:
    """A notification was read for the first time, so long after it came."""
    _lag.observe(seconds)


@contextlib.contextmanager
def live_listener() -> Iterator[None]:
    """Somebody has a live stream open."""
    with _listeners.track_inprogress():
        yield


def pool_opened(pool: str, maximum: int, busy: Callable[[], int]) -> None:
    """This process has a pool of connections; `busy` is asked whenever somebody looks."""
    _pool_max.labels(pool).set(maximum)
    _pool_busy.labels(pool).set_function(busy)


class MetricsServer:
    """Serves the registry until it is closed. `port` is where; 0 means nowhere."""

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
    """Serve `/metrics` from a thread on that port, and whatever `wrap` adds; port 0 serves nothing.

    Everything is there before the first request is taken: `/metrics` answers at any path, so a readiness that came
    later would be "ready" at first. Raises OSError where the port is taken.
    """
    if not port:
        return MetricsServer(None)

    class Server(ThreadingWSGIServer):
        address_family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]

    server: WSGIServer = make_server(host, port, wrap(make_wsgi_app(REGISTRY)), Server, _Quiet)
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    return MetricsServer((server, thread))
