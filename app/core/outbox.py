"""The outbox: its rows and SQL, one row per (job, key), and when a row whose run failed is tried again.

It is the only record of the work that is still to be done.

A row counts how often it was requested (`generation`). A worker claims it with a lease, and completion deletes it only
if neither has changed since. So a change made during a run is never lost. Leases use the database's own clock, because
they measure whether a process is alive. Everything else takes `now` from the process's clock, which follows the
database's.
"""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any, Protocol
from uuid import UUID

GIVE_UP_AFTER = timedelta(days=3)  # a row that has failed for longer is dead
INITIAL_BACKOFF = timedelta(seconds=1)
MAX_BACKOFF = timedelta(minutes=10)
# An urgent row runs although its queue is paused for up to this long, because a person waits for it.
PAUSE_URGENT_IGNORES = timedelta(seconds=2)
# A row parked until its account is reconnected is tried this often, in case no event resumes it.
PARKED_RECHECK = timedelta(minutes=5)
TOPIC = "outbox"  # published when rows may be due


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
    """A row that a worker has under `lease`, as it was when claimed."""

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
    """How a row failed before."""

    @property
    def attempts(self) -> int:
        """How many runs have failed."""

    @property
    def failing_since(self) -> datetime | None:
        """When the row began to fail; None if its last run did not."""


class RetryLater(Exception):
    """A job cannot be done now; `retry` says when to try again.

    `backoff`: after the usual backoff. `at`: not before `retry_at`. `when_reconnected`: once the account is connected
    again, which uses up no attempt. `never`: the job is given up. Vendors' errors have the same two attributes.

    A wait also applies to requests that arrive during the run, because a vendor must not be called for every change.
    With `unless_requested` it does not: that is for a wait of our own, in work that people request, and seldom.
    """

    def __init__(
        self, reason: str, retry: str = "backoff", retry_at: datetime | None = None, *, unless_requested: bool = False
    ) -> None:
        super().__init__(reason)
        self.retry = retry
        self.retry_at = retry_at
        self.unless_requested = unless_requested


class LeaseLost(Exception):
    """Another worker has the row by now, so this run must write nothing and call no vendor."""


@dataclass(frozen=True)
class RetryDecision:
    """What happens to a row whose run failed.

    `counts_attempt`: this failure uses up an attempt. `binds_new_requests`: `not_before` applies even to requests that
    arrived during the run.
    """

    due_at: datetime
    not_before: datetime | None
    counts_attempt: bool
    failing_since: datetime | None
    dead: bool
    binds_new_requests: bool = True


def decide_retry(error: BaseException, history: FailureHistory, now: datetime) -> RetryDecision:
    """Return when to try again after `error`.

    An error without a `retry` attribute counts as transient until it has lasted for `GIVE_UP_AFTER`.
    """
    retry = getattr(error, "retry", "backoff")
    retry_at = getattr(error, "retry_at", None)
    if retry == "never":
        return RetryDecision(now, None, counts_attempt=True, failing_since=history.failing_since or now, dead=True)
    if retry == "when_reconnected":
        # An account may stay disconnected for long. The time until the job is given up begins anew once it is back.
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
    since = history.failing_since or now
    due_at = now + backoff(history.attempts)
    return RetryDecision(due_at, due_at, counts_attempt=True, failing_since=since, dead=now - since > GIVE_UP_AFTER)


def describe_error(error: BaseException) -> str:
    """Return the text stored as a row's reason.

    The message of an unexpected error may contain anything, so only its class is shown.
    """
    return f"{type(error).__name__}: {error}"[:300] if hasattr(error, "retry") else type(error).__name__


def backoff(attempts: int) -> timedelta:
    """Return the wait after so many failed attempts: doubling from a second to ten minutes, with jitter."""
    longest = min(MAX_BACKOFF, INITIAL_BACKOFF * float(2 ** min(attempts, 20)))
    return longest * random.uniform(0.7, 1.3)  # noqa: S311 - jitter is no secret


def jitter(until: datetime, now: datetime) -> timedelta:
    """Return what to add to a wait that is long or ends at midnight UTC, else zero.

    It spreads the rows that wait for the same moment, and none of them runs before Zoom's clock has reached it.
    """
    crowded = until - now > timedelta(minutes=5) or until.astimezone(UTC).time() == time.min
    return timedelta(seconds=random.uniform(5, 65)) if crowded else timedelta()  # noqa: S311 - no secret


# Rows are written in the order of (job, key) as Python sorts them. Wherever several are locked, it is in that order
# (COLLATE "C") or without waiting (SKIP LOCKED), so that no two transactions wait for each other.
# A worker that claims a row locks it with `FOR UPDATE`. The run that has the row locks it with `FOR KEY SHARE` until
# its writes are committed (`FENCE`). That excludes other workers, and admits new requests for the row (`FOR NO KEY
# UPDATE`).
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

# A claimed row was due by the clock of the process that claimed it, which may be a little ahead of this one's.
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

# As committed: how many rows these leases have, and in how many seconds the first of them expires.
CHECK_LEASES = """
SELECT count(*), min(EXTRACT(EPOCH FROM claimed_until - clock_timestamp()))::float8 FROM outbox
WHERE lease = ANY($1::uuid[])
"""

DELETE_DONE = """
DELETE FROM outbox
WHERE id = :id AND lease = :lease AND generation = :generation AND CAST(:due_at AS timestamptz) IS NULL
"""

# A row requested again during the run is due at once. Otherwise it is due when the run said.
RESCHEDULE = """
UPDATE outbox SET lease = NULL, claimed_until = NULL, attempts = 0, failing_since = NULL, reason = NULL,
    not_before = NULL,
    due_at = CASE WHEN generation = :generation THEN coalesce(CAST(:due_at AS timestamptz), :now)
                  ELSE LEAST(due_at, :now) END
WHERE id = :id AND lease = :lease
"""

# A row requested again during the run is due at once, unless the wait binds new requests.
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

# For asyncpg: make one row due now, because a person waits for it.
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

# The kind of a queue is the part before the colon. A queue named by an account's id is of kind "zoom".
OLDEST_DUE = """
SELECT CASE WHEN outbox.queue = '' THEN 'none' WHEN outbox.queue ~ '^[0-9a-f]{8}-' THEN 'zoom'
            ELSE split_part(outbox.queue, ':', 1) END AS name,
    max(EXTRACT(EPOCH FROM $1 - due_at))::float8 AS value
FROM outbox LEFT JOIN queues ON queues.queue = outbox.queue
WHERE dead_at IS NULL AND lease IS NULL AND due_at <= $1 AND (queues.not_before IS NULL OR queues.not_before <= $1)
GROUP BY 1
"""

# A parked row has a reason and no `not_before`. A row that runs right now may be about to be parked, so it is requested
# again.
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
    """Return the parameters of `UPSERT`, rows ordered by (job, key); the earliest of equal rows counts."""
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
    """Return `sql` with `:name` replaced by `$n`, numbered by the order of `names`, for asyncpg itself."""
    return re.sub(r"(?<!:):([a-z_]+)", lambda match: f"${names.index(match.group(1)) + 1}", sql)
