"""Mints and consumes tickets, records clicks and refusals, and deletes old ones.

A click is counted before its response, and a ticket is used at most once.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from app.core import database, metrics
from app.core.crypto import new_token, token_digest
from app.joining.decide import MAX_CLICKS_PER_MINUTE
from app.joining.load_context import CLICK_WINDOW, TICKET_LIFETIME
from app.resources import Resources

# Long enough that a second use is reported as "already used" and not as unknown.
TICKET_RETENTION = timedelta(days=1)
# Refusals and minted tickets answer a member's question why they could not join.
CLICK_RETENTION = timedelta(days=30)
# A redirect is evidence that the member came: attendance and access to the chat after the event depend on it.
REDIRECT_RETENTION = timedelta(days=365)
MINTED = "ticket"
REDIRECTED = "redirected"
# Refusals that say nothing about whether the event exists. Anybody can invent any number of event ids, so these clicks
# are counted under one id; otherwise a script could fill the table.
UNKNOWN_EVENT_SLUGS = frozenset({"event-not-found", "too-many-clicks"})
UNKNOWN_EVENT_ID = UUID(int=0)

Purpose = Literal["join", "start"]
Via = Literal["zoom-join", "zoom-start", "link", "ticket"]

# The member's row stays locked until the click is stored, so the limit holds for concurrent clicks too. A click beyond
# the limit changes nothing, so it does not postpone the moment at which the member may click again.
_COUNT_CLICK = f"""
INSERT INTO click_rates AS rate (member_id, clicked) SELECT $2, ARRAY[$3::timestamptz] WHERE $5 <> 'ticket'
ON CONFLICT (member_id) DO UPDATE
    SET clicked =
        (rate.clicked || excluded.clicked)[GREATEST(cardinality(rate.clicked) - {MAX_CLICKS_PER_MINUTE - 2}, 1):]
    WHERE cardinality(rate.clicked) < {MAX_CLICKS_PER_MINUTE} OR rate.clicked[1] <= $3 - interval '1 minute'
"""  # noqa: S608 - the number is a constant
_MINT = f"""
WITH counted AS ({_COUNT_CLICK} RETURNING member_id), minted AS (
    INSERT INTO tickets (digest, event_id, member_id, purpose, expires_at) SELECT $6, $1, member_id, $7, $8 FROM counted
)
INSERT INTO clicks (id, event_id, member_id, clicked_at, outcome, via)
SELECT gen_random_uuid(), $1, member_id, $3, $4, $5 FROM counted
RETURNING id
"""  # noqa: S608 - both parts are constants
_RECORD_REFUSAL = f"""
WITH counted AS ({_COUNT_CLICK})
INSERT INTO clicks (id, event_id, member_id, clicked_at, outcome, via, times)
VALUES (gen_random_uuid(), $1, $2, $3, $4, $5, 1)
ON CONFLICT (member_id, event_id, via, outcome) WHERE times IS NOT NULL
    DO UPDATE SET times = clicks.times + 1, clicked_at = excluded.clicked_at
"""  # noqa: S608 - both parts are constants
_CONSUME = """
WITH used AS (
    UPDATE tickets SET used_at = $2 WHERE digest = $1 AND used_at IS NULL AND expires_at > $2
    RETURNING event_id, member_id
)
INSERT INTO clicks (id, event_id, member_id, clicked_at, outcome, via)
SELECT gen_random_uuid(), event_id, member_id, $2, $3, $4 FROM used
RETURNING id
"""


@dataclass(frozen=True, slots=True)
class JoinClick:
    """A click on Join: who clicked, for which event, and by which route."""

    event_id: UUID
    member_id: str
    via: Via


async def mint(resources: Resources, click: JoinClick, purpose: Purpose) -> tuple[str, datetime] | None:
    """Mint a ticket; returns it and its expiry, or None if the member has clicked too often."""
    ticket = new_token()
    now = resources.clock.now()
    expires_at = now + TICKET_LIFETIME
    click_values = (click.event_id, click.member_id, now, MINTED, click.via)
    if await resources.db.pool.fetchval(_MINT, *click_values, token_digest(ticket), purpose, expires_at) is None:
        return None
    metrics.join_decided(MINTED)
    return ticket, expires_at


async def record_refusal(resources: Resources, click: JoinClick, slug: str) -> None:
    """Record a click that ended in a refusal."""
    event_id = UNKNOWN_EVENT_ID if slug in UNKNOWN_EVENT_SLUGS else click.event_id
    await resources.db.pool.execute(_RECORD_REFUSAL, event_id, click.member_id, resources.clock.now(), slug, click.via)
    metrics.join_decided(slug)


async def consume(resources: Resources, digest: bytes) -> bool:
    """Use a ticket up and record the click. False if it was already used or has expired."""
    used = await resources.db.pool.fetchval(_CONSUME, digest, resources.clock.now(), REDIRECTED, "ticket")
    if used is None:
        return False
    metrics.join_decided(REDIRECTED)
    return True


async def prune(tx: database.Tx) -> None:
    """Delete tickets, clicks and click rates past their retention."""
    await tx.execute("DELETE FROM tickets WHERE expires_at < :before", before=tx.now - TICKET_RETENTION)
    await tx.execute(
        "DELETE FROM clicks WHERE clicked_at < :before AND (outcome <> :redirected OR clicked_at < :long_before)",
        before=tx.now - CLICK_RETENTION,
        long_before=tx.now - REDIRECT_RETENTION,
        redirected=REDIRECTED,
    )
    await tx.execute(
        "DELETE FROM click_rates WHERE clicked[cardinality(clicked)] < :before", before=tx.now - CLICK_WINDOW
    )
