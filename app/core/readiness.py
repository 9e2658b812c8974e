"""What a process that serves no people can say of itself: what it reaches, and when it last did something.

The log speaks when something goes or comes back, and once a minute while it is away. A worker answers the same at
`/readyz`, beside its metrics.
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

REMINDER = 60.0  # seconds between two lines about the same absence
STALE = 15.0  # seconds without an answer after which something is taken for away
READY_AT = "/readyz"
log = logs.get("readiness")


class Reached:
    """Whether something this process needs answers it."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.problem: str | None = "not reached yet"
        self._told: float | None = None
        self._heard = time.monotonic()
        metrics.reached(what, False)

    @property
    def state(self) -> str:
        """`ok`, or what is wrong."""
        silent = time.monotonic() - self._heard
        return self.problem or (f"silent for {silent:.0f} s" if silent > STALE else "ok")

    def here(self) -> None:
        """It answered."""
        if self.problem is not None:
            metrics.reached(self.what, True)
            if self._told is not None:
                log.info("back", what=self.what)
        self._heard, self.problem, self._told = time.monotonic(), None, None

    def away(self, error: BaseException) -> None:
        """It did not answer, or not well."""
        self.problem, now = type(error).__name__, time.monotonic()
        metrics.reached(self.what, False)
        if self._told is None or now - self._told >= REMINDER:
            self._told = now
            log.warning("away", what=self.what, reason=self.problem)


@dataclass
class Readiness:
    """What a worker reaches, whether its machine's clock is right, and its last moments."""

    clock: Clock = field(default_factory=Clock)
    database: Reached = field(default_factory=lambda: Reached("database"))
    redis: Reached = field(default_factory=lambda: Reached("redis"))
    moments: dict[str, datetime | None] = field(default_factory=lambda: {"last_claim": None, "last_run": None})

    def note(self, moment: str) -> None:
        """It happened now."""
        self.moments[moment] = self.clock.now()

    def answer(self) -> tuple[bool, Mapping[str, Any]]:
        """Whether everything is well, and what to say of it."""
        checks = {each.what: each.state for each in (self.database, self.redis)} | {"clock": self.clock.state}
        ready = set(checks.values()) == {"ok"}
        moments = {name: moment.isoformat() if moment else None for name, moment in self.moments.items()}
        return ready, {"status": "ok" if ready else "not ready", "checks": checks, **moments}

    def beside(self, app: WSGIApplication) -> WSGIApplication:
        """`app`, with the answer at `/readyz` besides: 200 or 503, as JSON."""

        def served(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            if environ.get("PATH_INFO") != READY_AT:
                return app(environ, start_response)
            ready, said = self.answer()
            start_response("200 OK" if ready else "503 Service Unavailable", [("Content-Type", "application/json")])
            return [orjson.dumps(said)]

        return served
