"""Queues: which rows share a concurrency limit, how many of them run at once, and which is next.

A queue that one tenant can fill belongs to that tenant. Its name says its kind and its owner:
`hook:<community>/<endpoint>`. All queues of a tenant share one limit, and all queues of a kind share another, so one
tenant's backlog delays no other tenant. Each claim looks at some queues, and the next claim continues after them. So a
claim is as quick with thousands of queues as with a few, and each queue gets its turn.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from urllib.parse import quote

MAX_PART_LENGTH = 64  # characters of an id in a queue's name; a longer id is replaced by its digest
QUEUES_PER_CLAIM = 256  # queues one claim looks at


@dataclass(frozen=True)
class ConcurrencyLimits:
    """How many rows run at once: in one queue, in all queues of one tenant, in all queues of the kind.

    A tenant without a running row gets a slot until twice `per_kind` rows run: a few rows that hang delay no other
    tenant.
    """

    per_queue: int
    per_tenant: int
    per_kind: int


# The limits of a kind that the job table does not name.
DEFAULT_LIMITS = ConcurrencyLimits(per_queue=1_000, per_tenant=1_000, per_kind=16)


def queue_name(kind: str, tenant: object, part: object = None) -> str:
    """Return the name of a tenant's queue, or of its queue for one `part`; without a tenant, the kind's."""
    if not tenant:
        return kind
    return f"{kind}:{_quoted(tenant)}" + (f"/{_quoted(part)}" if part else "")


def _quoted(part: object) -> str:
    """Return an id without `:` and `/`, and short enough for an index."""
    text = str(part)
    return quote(text, safe="") if len(text) <= MAX_PART_LENGTH else sha256(text.encode()).hexdigest()


def claim_parameters(limits: Mapping[str, ConcurrencyLimits]) -> tuple[list[str], list[int], list[int], list[int]]:
    """Return the limits by kind as `CLAIM` takes them: kinds, per queue, per tenant, per kind."""
    values = limits.values()
    return (
        list(limits),
        [each.per_queue for each in values],
        [each.per_tenant for each in values],
        [each.per_kind for each in values],
    )


# `$11` is the queue at which the last claim stopped. The statement hops from one queue to the next
# (wiki.postgresql.org/wiki/Loose_indexscan), over at most `$12` of them, and searches each by itself, best row first.
# Running rows count towards the limits, so one account never fills a worker. Rows that a batch has besides its own do
# not count, and rows without a queue have no limit. Among rows of equal priority, every queue gets one row before any
# queue gets another, in random order among them: with the oldest row first, the queue with the most rows would win.
# A paused queue is skipped. Priority 0, a person waiting to join, ignores both the limits and a short pause.
CLAIM = """
WITH RECURSIVE walk (queue, looked) AS (
    SELECT min(queue), 1 FROM outbox WHERE dead_at IS NULL AND queue > $11::text
    UNION ALL
    SELECT (SELECT min(queue) FROM outbox WHERE dead_at IS NULL AND queue > walk.queue), looked + 1
    FROM walk WHERE queue IS NOT NULL AND looked < $12::int
), running AS (
    SELECT queue, split_part(queue, ':', 1) AS kind, split_part(queue, '/', 1) AS tenant, count(*) AS busy
    FROM outbox WHERE claimed_until > clock_timestamp() AND NOT in_batch GROUP BY queue
), of_tenant AS (
    SELECT tenant, sum(busy) AS busy FROM running GROUP BY tenant
), of_kind AS (
    SELECT kind, sum(busy) AS busy FROM running WHERE queue LIKE '%:%' GROUP BY kind
), caps AS (
    SELECT * FROM unnest($7::text[], $8::int[], $9::int[], $10::int[]) AS caps (kind, of_each, of_tenant, of_kind)
), open AS (
    SELECT candidate.queue, COALESCE(running.busy, 0) AS busy,
      CASE WHEN candidate.queue = '' THEN 10 * $3::int ELSE LEAST(
        $3::int,
        LEAST($4::int, caps.of_each) - COALESCE(running.busy, 0),
        LEAST($4::int, caps.of_tenant) - COALESCE(of_tenant.busy, 0),
        CASE WHEN candidate.queue NOT LIKE '%:%' THEN $3::int
             WHEN of_tenant.busy IS NULL AND COALESCE(of_kind.busy, 0) < 2 * COALESCE(caps.of_kind, $13::int)
             THEN GREATEST(COALESCE(caps.of_kind, $13::int) - COALESCE(of_kind.busy, 0), 1)
             ELSE COALESCE(caps.of_kind, $13::int) - COALESCE(of_kind.busy, 0) END
    ) END AS places
    FROM (SELECT queue FROM walk WHERE queue IS NOT NULL UNION SELECT '') AS candidate
    LEFT JOIN running USING (queue)
    LEFT JOIN of_tenant ON of_tenant.tenant = split_part(candidate.queue, '/', 1)
    LEFT JOIN of_kind ON of_kind.kind = split_part(candidate.queue, ':', 1)
    LEFT JOIN caps ON caps.kind = split_part(candidate.queue, ':', 1)
    LEFT JOIN queues ON queues.queue = candidate.queue
    WHERE queues.not_before IS NULL OR queues.not_before <= $1
), best AS (
    SELECT found.id, CASE WHEN open.queue = '' THEN found.place / 10 ELSE open.busy + found.place END AS turn
    FROM open CROSS JOIN LATERAL (
        SELECT id, row_number() OVER (ORDER BY priority, due_at, id) - 1 AS place FROM outbox
        WHERE outbox.queue = open.queue AND dead_at IS NULL AND due_at <= $1 AND job = ANY($2::text[])
          AND (claimed_until IS NULL OR claimed_until <= clock_timestamp())
        ORDER BY priority, due_at, id LIMIT GREATEST(open.places, 0)
    ) AS found
    UNION ALL
    SELECT id, 0 FROM outbox LEFT JOIN queues USING (queue)
    WHERE priority = 0 AND dead_at IS NULL AND due_at <= $1 AND job = ANY($2::text[])
      AND (claimed_until IS NULL OR claimed_until <= clock_timestamp())
      AND (queues.not_before IS NULL OR queues.not_before <= $1 + $6::interval)
), chosen AS (
    SELECT outbox.id FROM outbox JOIN (SELECT id, min(turn) AS turn FROM best GROUP BY id) AS best USING (id)
    WHERE dead_at IS NULL AND due_at <= $1 AND (claimed_until IS NULL OR claimed_until <= clock_timestamp())
    ORDER BY priority, turn, random() LIMIT $3 FOR UPDATE OF outbox SKIP LOCKED
), claimed AS (
    UPDATE outbox SET claimed_until = clock_timestamp() + $5::interval, lease = NULL, in_batch = false
    FROM chosen WHERE outbox.id = chosen.id RETURNING outbox.id
)
SELECT ARRAY(SELECT id FROM claimed) AS ids, CASE WHEN bool_or(queue IS NULL) THEN '' ELSE max(queue) END AS after
FROM walk
"""
