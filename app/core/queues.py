"""Queues: which rows share their places, how many of them run at once, and whose turn is next.

A queue that one tenant can fill is its own. Its name says of what kind it is and whose: `hook:<community>/<endpoint>`.
All queues of a tenant share its places, and all queues of a kind share theirs, so that what one tenant has too much of
delays nobody else. Every claim looks at some queues and the next one goes on after them, so that a claim is as quick
with thousands of queues as with a few, and each comes in turn.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from urllib.parse import quote

MAX_PART_LENGTH = 64  # characters of an id in the name of a queue; a longer id is known by its digest
QUEUES_PER_CLAIM = 256  # queues one claim looks at


@dataclass(frozen=True)
class ConcurrencyLimits:
    """How many rows run at once: `per_queue` in one queue, `per_tenant` in all queues of one tenant, `per_kind` in all of the kind.

    A tenant of whom nothing runs has a place until twice as many of the kind run: a few that hang delay no other.
    """

    per_queue: int
    per_tenant: int
    per_kind: int


DEFAULT_LIMITS = ConcurrencyLimits(per_queue=1_000, per_tenant=1_000, per_kind=16)  # of a kind nobody gave caps


def queue_name(kind: str, tenant: object, part: object = None) -> str:
    """The name of a tenant's queue, or of one `part` of what the tenant has. Without a tenant it is everybody's."""
    if not tenant:
        return kind
    return f"{kind}:{_quoted(tenant)}" + (f"/{_quoted(part)}" if part else "")


def _quoted(part: object) -> str:
    """An id without `:` and `/`, and short enough for an index."""
    text = str(part)
    return quote(text, safe="") if len(text) <= MAX_PART_LENGTH else sha256(text.encode()).hexdigest()


def claim_parameters(limits: Mapping[str, ConcurrencyLimits]) -> tuple[list[str], list[int], list[int], list[int]]:
    """Caps by their kinds, as `CLAIM` takes them."""
    values = limits.values()
    return (
        list(limits),
        [one.per_queue for one in values],
        [one.per_tenant for one in values],
        [one.per_kind for one in values],
    )


# `$11` is the queue the claim before looked at last. Queues are hopped to one by one
# (wiki.postgresql.org/wiki/Loose_indexscan), `$12` of them at most, and each is looked into by itself, best row first.
# Busy rows count towards the caps, so one account never fills a worker; what a batch holds beside its own row does not.
# What has no queue has no cap. Of what is as urgent, every queue gets one row before any gets another, in no order
# among them: where the oldest came first, whoever has most would. A queue that is paused is left alone; priority 0,
# somebody at the door, heeds neither cap nor a short pause.
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
    SELECT candidate.queue, COALESCE(running.busy, 0) AS busy, CASE WHEN candidate.queue = '' THEN 10 * $3::int ELSE LEAST(
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
