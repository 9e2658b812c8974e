"""The readiness of a worker: what it reaches, and when it last claimed and ran something.

The log has a line when a dependency goes away or comes back, and one a minute while it is away. A worker answers the
same at `/readyz`, on the port of its metrics.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import orjson

from app.core import logs, metrics
from app.core.clock import Clock

REMINDER_INTERVAL = 60.0  # seconds between two log lines about the same dependency
MAX_SILENCE = 15.0  # seconds without an answer after which a dependency counts as away
READY_PATH = "/readyz"
log = logs.get("readiness")


class Dependency:
    """Whether one server this process needs answers it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.problem: str | None = "not reached yet"
        self._warned_at: float | None = None
        self._last_answer_at = time.monotonic()
        metrics.dependency_up(name, False)

    @property
    def state(self) -> str:
        """`ok`, or what is wrong."""
        silent = time.monotonic() - self._last_answer_at
        return self.problem or (f"silent for {silent:.0f} s" if silent > MAX_SILENCE else "ok")

    def mark_up(self) -> None:
        """Record that the dependency answered."""
        if self.problem is not None:
            metrics.dependency_up(self.name, True)
            if self._warned_at is not None:
                log.info("dependency is back", dependency=self.name)
        self._last_answer_at = time.monotonic()
        self.problem = None
        self._warned_at = None

    def mark_down(self, error: BaseException) -> None:
        """Record that the dependency did not answer, or answered with an error."""
        self.problem = type(error).__name__
        now = time.monotonic()
        metrics.dependency_up(self.name, False)
        if self._warned_at is None or now - self._warned_at >= REMINDER_INTERVAL:
            self._warned_at = now
            log.warning("dependency is away", dependency=self.name, reason=self.problem)


@dataclass
class Readiness:
    """What a worker reaches, whether its machine's clock is right, and when it last did something."""

    clock: Clock = field(default_factory=Clock)
    database: Dependency = field(default_factory=lambda: Dependency("database"))
    redis: Dependency = field(default_factory=lambda: Dependency("redis"))
    moments: dict[str, datetime | None] = field(default_factory=lambda: {"last_claim": None, "last_run": None})

    def record_moment(self, moment: str) -> None:
        """Record that `moment` (`last_claim` or `last_run`) is now."""
        self.moments[moment] = self.clock.now()

    def report(self) -> tuple[bool, Mapping[str, Any]]:
        """Return whether everything is well, and the JSON body that says so."""
        checks = {each.name: each.state for each in (self.database, self.redis)} | {"clock": self.clock.state}
        ready = set(checks.values()) == {"ok"}
        moments = {name: moment.isoformat() if moment else None for name, moment in self.moments.items()}
        return ready, {"status": "ok" if ready else "not ready", "checks": checks, **moments}

    def wrap(self, app: WSGIApplication) -> WSGIApplication:
        """Return `app` with `/readyz` added: 200 or 503, as JSON."""

        def with_readiness(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            if environ.get("PATH_INFO") != READY_PATH:
                return app(environ, start_response)
            ready, body = self.report()
            start_response("200 OK" if ready else "503 Service Unavailable", [("Content-Type", "application/json")])
            return [orjson.dumps(body)]

        return with_readiness
