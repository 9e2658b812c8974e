"""The outbox: one row per (job, key), the only memory of what is still to be done.

A row counts how often it was asked for (`generation`). A worker takes it by a lease, and what it finishes is struck
only if neither has changed since, so a change made during a run is never lost. Leases run on the database's own clock
because they measure whether a process lives; everything else takes `now` from the process's clock, which follows it.
"""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any, Protocol
from uuid import UUID

GIVE_UP_AFTER = timedelta(days=3)
INITIAL_BACKOFF = timedelta(seconds=1)
MAX_BACKOFF = timedelta(minutes=10)
PAUSE_URGENT_IGNORES = timedelta(seconds=2)
PARKED_RECHECK = timedelta(minutes=5)
TOPIC = "outbox"


@dataclass(frozen=True, order=True)
class JobRequest:
    """One row to be written: run `job` for `key` once it is `due_at`."""

    job: str
    key: str
    due_at: datetime
    priority: int = 100
    queue: str = ""


@dataclass(frozen=True)
class ClaimedJob:
    """A row a worker holds by `lease`, as it stood when it was taken."""

    id: int
    job: str
    key: str
    generation: int
    lease: UUID
    attempts: int
    failing_since: datetime | None
    correlation: str | None
    priority: int
    queue: str = ""


class FailureHistory(Protocol):
    """What is known of how a row failed before."""

    @property
    def attempts(self) -> int:
        """How often."""

    @property
    def failing_since(self) -> datetime | None:
        """Since when, if its last run failed."""


class RetryLater(Exception):
    """A job cannot be done now: `later` (back off), `at` (not before `retry_at`), `parked` (until the account is
    connected again; costs no attempt), or `never`. Vendors' errors say the same in the same two attributes.

    A wait holds also for what is asked for again during the run, as a vendor is not to be called for every change;
    `unless_requested` is one of our own making, for what is asked for by people, and seldom.
    """

    def __init__(
        self, reason: str, retry: str = "backoff", retry_at: datetime | None = None, *, unless_requested: bool = False
    ) -> None:
        super().__init__(reason)
        self.retry, self.retry_at, self.unless_requested = retry, retry_at, unless_requested


class LeaseLost(Exception):
    """Somebody else holds the row by now; what this run found out must not be written, and no vendor be called."""


@dataclass(frozen=True)
class RetryDecision:
    """What becomes of a row whose run failed. `counts_attempt` tells whether it was an attempt that failed, `holds` whether
    it is not run before `not_before` even if it was asked for again during the run."""

    due_at: datetime
    not_before: datetime | None
    counts_attempt: bool
    failing_since: datetime | None
    dead: bool
    binds_new_requests: bool = True


def decide_retry(error: BaseException, history: FailureHistory, now: datetime) -> RetryDecision:
    """When to try again after `error`. An error that does not say is transient until three days have passed."""
    retry, retry_at = getattr(error, "retry", "backoff"), getattr(error, "retry_at", None)
    if retry == "never":
        return RetryDecision(now, None, counts_attempt=True, failing_since=history.failing_since or now, dead=True)
    if retry == "when_reconnected":
        # An account may stay disconnected for long; the three days begin anew once it is back.
        return RetryDecision(now + PARKED_RECHECK, None, counts_attempt=False, failing_since=None, dead=False)
    if retry == "at" and retry_at is not None:
        due_at = retry_at + jitter(retry_at, now)
        binds = not getattr(error, "unless_requested", False)
        return RetryDecision(
            due_at,
            due_at,
            counts_attempt=False,
            failing_since=history.failing_since,
            dead=False,
            binds_new_requests=binds,
        )
    since, due_at = history.failing_since or now, now + backoff(history.attempts)
    return RetryDecision(due_at, due_at, counts_attempt=True, failing_since=since, dead=now - since > GIVE_UP_AFTER)


def describe_error(error: BaseException) -> str:
    """What is shown of an error. The message of one that nobody expected may hold anything, so it is left out."""
    return f"{type(error).__name__}: {error}"[:300] if hasattr(error, "retry") else type(error).__name__


def backoff(attempts: int) -> timedelta:
    """How long to wait after so many failed attempts: doubling from a second to ten minutes, with jitter."""
    longest = min(MAX_BACKOFF, INITIAL_BACKOFF * float(2 ** min(attempts, 20)))
    return longest * random.uniform(0.7, 1.3)  # noqa: S311 - jitter is no secret


def jitter(until: datetime, now: datetime) -> timedelta:
    """What to add to a wait that is long or ends with a UTC day, so that not everybody comes at midnight, nor anybody
    before Zoom's clock has it."""
    crowded = until - now > timedelta(minutes=5) or until.astimezone(UTC).time() == time.min
    return timedelta(seconds=random.uniform(5, 65)) if crowded else timedelta()  # noqa: S311 - no secret


# Rows are written in the order of (reaction, key) as Python sorts them, and wherever several are locked it is in that
# order (COLLATE "C") or without waiting (SKIP LOCKED), so that no two transactions wait for each other. How they are
# locked: `FOR UPDATE` by whoever takes a row over, and `FOR KEY SHARE` by whoever has it, until what they write is
# committed (`FENCE`): that keeps the former out, and lets in whoever asks for the row again (`FOR NO KEY UPDATE`).
UPSERT = """
INSERT INTO outbox (job, key, due_at, priority, queue, correlation, recorded_at)
SELECT job, key, due_at, priority, queue, CAST(:correlation AS text), CAST(:now AS timestamptz)
FROM unnest(CAST(:jobs AS text[]), CAST(:keys AS text[]), CAST(:dues AS timestamptz[]),
            CAST(:priorities AS smallint[]), CAST(:queues AS text[])) AS wanted (job, key, due_at, priority, queue)
{where}
ON CONFLICT (job, key) DO UPDATE SET
    generation = outbox.generation + 1,
    due_at = GREATEST(LEAST(outbox.due_at, excluded.due_at), outbox.not_before),
    priority = LEAST(outbox.priority, excluded.priority),
    queue = excluded.queue,
    correlation = excluded.correlation,
    attempts = CASE WHEN outbox.dead_at IS NULL THEN outbox.attempts ELSE 0 END,
    failing_since = CASE WHEN outbox.dead_at IS NULL THEN outbox.failing_since END,
    dead_at = NULL
"""

# What is promised was due by the clock of whoever claimed it, which may be a little ahead of ours.
START = """
WITH ready AS (
    SELECT id FROM outbox
    WHERE id = ANY($1::bigint[]) AND job = ANY($2::text[]) AND dead_at IS NULL
      AND (due_at <= $3 OR claimed_until > clock_timestamp())
      AND (lease IS NULL OR claimed_until <= clock_timestamp())
    ORDER BY job COLLATE "C", key COLLATE "C" FOR UPDATE
)
UPDATE outbox SET lease = gen_random_uuid(), claimed_until = clock_timestamp() + $4::interval, in_batch = false
FROM ready WHERE outbox.id = ready.id
RETURNING outbox.id, job, key, generation, lease, attempts, failing_since, correlation, priority, queue
"""

RENEW = """
WITH owned AS (
    SELECT id FROM outbox WHERE lease = ANY($1::uuid[])
    ORDER BY job COLLATE "C", key COLLATE "C" FOR NO KEY UPDATE
)
UPDATE outbox SET claimed_until = clock_timestamp() + $2::interval
FROM owned WHERE outbox.id = owned.id RETURNING lease
"""

FENCE = "SELECT FROM outbox WHERE id = :id AND lease = :lease FOR KEY SHARE"

# As committed: how many rows are held by these leases, and for how many seconds yet.
CHECK_LEASES = """
SELECT count(*), min(EXTRACT(EPOCH FROM claimed_until - clock_timestamp()))::float8 FROM outbox
WHERE lease = ANY($1::uuid[])
"""

DELETE_DONE = """
DELETE FROM outbox
WHERE id = :id AND lease = :lease AND generation = :generation AND CAST(:due_at AS timestamptz) IS NULL
"""

# Asked for again meanwhile: due at once. Otherwise due when the run said.
RESCHEDULE = """
UPDATE outbox SET lease = NULL, claimed_until = NULL, attempts = 0, failing_since = NULL, reason = NULL,
    not_before = NULL,
    due_at = CASE WHEN generation = :generation THEN coalesce(CAST(:due_at AS timestamptz), :now)
                  ELSE LEAST(due_at, :now) END
WHERE id = :id AND lease = :lease
"""

# Asked for again meanwhile: due at once, unless the wait holds nevertheless.
RECORD_FAILURE = """
UPDATE outbox SET lease = NULL, claimed_until = NULL, reason = $3,
    not_before = CASE WHEN generation = $10 OR $11 THEN $5::timestamptz END,
    due_at = CASE WHEN generation = $10 OR ($11 AND $5 IS NOT NULL) THEN $4 ELSE LEAST(due_at, $9) END,
    attempts = attempts + $6::int, failing_since = $7,
    dead_at = CASE WHEN $8 AND generation = $10 THEN $9::timestamptz END
WHERE id = $1 AND lease = $2 RETURNING id
"""

PAUSE_QUEUE = """
INSERT INTO queues (queue, not_before) SELECT $1, $2 WHERE $1 <> ''
ON CONFLICT (queue) DO UPDATE SET not_before = GREATEST(queues.not_before, excluded.not_before)
"""

NEXT_QUEUE_RESUME = "SELECT EXTRACT(EPOCH FROM min(not_before) - $1)::float8 FROM queues WHERE not_before > $1"

RUN_NOW = """
UPDATE outbox SET due_at = :now, not_before = NULL
WHERE id IN (SELECT id FROM outbox WHERE key = ANY(:keys) AND lease IS NULL AND dead_at IS NULL
             FOR NO KEY UPDATE SKIP LOCKED)
"""

# For asyncpg: one row whose work somebody waits for.
RUN_ONE_NOW = """
UPDATE outbox SET due_at = $3, not_before = NULL
WHERE id = (SELECT id FROM outbox WHERE job = $1 AND key = $2 AND lease IS NULL AND dead_at IS NULL
            FOR UPDATE SKIP LOCKED)
"""

COUNT_BY_STATE = """
SELECT CASE WHEN dead_at IS NOT NULL THEN 'dead' WHEN lease IS NOT NULL THEN 'running'
            WHEN due_at <= $1 THEN 'due' ELSE 'waiting' END AS name, count(*) AS value
FROM outbox GROUP BY 1
"""

# The kind of a queue: what stands before a colon, or "zoom" for an account's, whose name is the account's id.
OLDEST_DUE = """
SELECT CASE WHEN outbox.queue = '' THEN 'none' WHEN outbox.queue ~ '^[0-9a-f]{8}-' THEN 'zoom'
            ELSE split_part(outbox.queue, ':', 1) END AS name,
    max(EXTRACT(EPOCH FROM $1 - due_at))::float8 AS value
FROM outbox LEFT JOIN queues ON queues.queue = outbox.queue
WHERE dead_at IS NULL AND lease IS NULL AND due_at <= $1 AND (queues.not_before IS NULL OR queues.not_before <= $1)
GROUP BY 1
"""

# A parked row has a reason and no time before which it must not run. One that runs right now may be about to be parked,
# so it is asked for again.
RESUME_PARKED = """
UPDATE outbox SET due_at = LEAST(due_at, :now), generation = generation + 1
WHERE id IN (
    SELECT id FROM outbox
    WHERE queue = :queue AND dead_at IS NULL AND not_before IS NULL AND (reason IS NOT NULL OR lease IS NOT NULL)
    FOR NO KEY UPDATE SKIP LOCKED
)
"""


REVIVE_DEAD = """
UPDATE outbox SET dead_at = NULL, failing_since = NULL, attempts = 0, not_before = NULL, due_at = :now,
    generation = generation + 1
WHERE id IN (SELECT id FROM outbox WHERE queue = :queue AND dead_at IS NOT NULL FOR NO KEY UPDATE SKIP LOCKED)
"""


def upsert_parameters(requests: Sequence[JobRequest], correlation: str | None, now: datetime) -> dict[str, Any]:
    """The parameters of `UPSERT` for rows in the order of their keys; the soonest of equal rows wins."""
    rows: dict[tuple[str, str], JobRequest] = {}
    for row in sorted(requests):
        rows.setdefault((row.job, row.key), row)
    ordered = list(rows.values())
    return {
        "jobs": [row.job for row in ordered],
        "keys": [row.key for row in ordered],
        "dues": [row.due_at.astimezone(UTC) for row in ordered],
        "priorities": [row.priority for row in ordered],
        "queues": [row.queue for row in ordered],
        "correlation": correlation,
        "now": now,
    }


def positional(sql: str, names: Sequence[str]) -> str:
    """`sql` with `:name` turned into `$n` by the order of `names`, for asyncpg itself on the hot routes."""
    return re.sub(r"(?<!:):([a-z_]+)", lambda match: f"${names.index(match.group(1)) + 1}", sql)
