"""What the service counts, for Prometheus, in a registry of its own and served on a port of its own.

Every label takes few values: a route's template and never its path, an outcome's slug and never a sentence.
"""

import threading
from collections.abc import Callable, Mapping
from typing import Final
from wsgiref.simple_server import WSGIServer
from wsgiref.types import WSGIApplication

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, start_http_server

REGISTRY: Final = CollectorRegistry()
ProcessCollector(registry=REGISTRY)

# Seconds. A request answers people; a vendor or a reaction may take its time.
_QUICK = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_PATIENT = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120)

_requests = Counter(
    "kindryn_zoom_http_requests", "Requests answered.", ("method", "route", "status"), registry=REGISTRY
)
_request_seconds = Histogram(
    "kindryn_zoom_http_request_seconds",
    "From a request to the end of its answer.",
    ("method", "route"),
    registry=REGISTRY,
    buckets=_QUICK,
)
_outbox_rows = Gauge("kindryn_zoom_outbox_rows", "Rows of pending work, by state.", ("state",), registry=REGISTRY)
_reaction_runs = Counter("kindryn_zoom_reaction_runs", "Reactions run.", ("reaction", "outcome"), registry=REGISTRY)
_reaction_seconds = Histogram(
    "kindryn_zoom_reaction_seconds", "Running a reaction.", ("reaction",), registry=REGISTRY, buckets=_PATIENT
)
_vendor_calls = Counter(
    "kindryn_zoom_vendor_calls", "Calls to vendors.", ("vendor", "operation", "status"), registry=REGISTRY
)
_vendor_seconds = Histogram(
    "kindryn_zoom_vendor_call_seconds",
    "Waiting for a vendor's answer.",
    ("vendor", "operation"),
    registry=REGISTRY,
    buckets=_PATIENT,
)
_door = Counter("kindryn_zoom_door", "Clicks on Join, by what they ended in.", ("outcome",), registry=REGISTRY)
_deliveries = Counter("kindryn_zoom_deliveries", "Deliveries heard from Zoom.", ("outcome",), registry=REGISTRY)
_mails = Counter("kindryn_zoom_mails", "Mails handed to the mail server.", ("outcome",), registry=REGISTRY)


def request_answered(method: str, route: str, status: int, seconds: float) -> None:
    """A request was answered; `route` is the template of its route."""
    _requests.labels(method, route, status).inc()
    _request_seconds.labels(method, route).observe(seconds)


def outbox_counted(rows: Mapping[str, int]) -> None:
    """How many outbox rows there are in each state, "dead" among them. States not named have none."""
    _outbox_rows.clear()
    for state, count in rows.items():
        _outbox_rows.labels(state).set(count)


def reaction_ran(reaction: str, outcome: str, seconds: float) -> None:
    """A reaction came to an end of its run."""
    _reaction_runs.labels(reaction, outcome).inc()
    _reaction_seconds.labels(reaction).observe(seconds)


def vendor_called(vendor: str, operation: str, status: int | str, seconds: float) -> None:
    """A vendor answered an operation with an HTTP status, or did not: then `status` is a slug such as "timeout"."""
    _vendor_calls.labels(vendor, operation, status).inc()
    _vendor_seconds.labels(vendor, operation).observe(seconds)


def door_decided(outcome: str) -> None:
    """A click on Join ended in a redirect or in the refusal with that slug."""
    _door.labels(outcome).inc()


def delivery_heard(outcome: str) -> None:
    """A delivery was stored, was known already, or was refused."""
    _deliveries.labels(outcome).inc()


_reached = Gauge(
    "kindryn_zoom_reached", "1 while this worker reaches it, 0 while it does not.", ("what",), registry=REGISTRY
)


def reached(what: str, yes: bool) -> None:
    """Whether this worker reaches the database, or Redis."""
    _reached.labels(what).set(yes)


def mail_sent(outcome: str) -> None:
    """A mail was taken or refused by the mail server."""
    _mails.labels(outcome).inc()


class MetricsServer:
    """Serves the registry until it is closed. `port` is where; 0 means nowhere."""

    def __init__(self, running: tuple[WSGIServer, threading.Thread] | None) -> None:
        self._running = running
        self.port = running[0].server_port if running else 0

    def also(self, wrap: Callable[[WSGIApplication], WSGIApplication]) -> None:
        """Serve something else besides."""
        if self._running:
            server, _ = self._running
            metrics = server.get_app()
            if metrics is not None:
                server.set_app(wrap(metrics))

    def close(self) -> None:
        """Stop serving and free the port. Closing twice is harmless."""
        if self._running:
            server, thread = self._running
            self._running = None
            server.shutdown()
            thread.join()
            server.server_close()


def serve(port: int, host: str) -> MetricsServer:
    """Serve `/metrics` from a thread on that port; port 0 serves nothing. Raises OSError where the port is taken."""
    return MetricsServer(start_http_server(port, host, REGISTRY) if port else None)
