"""Clicks and the passes minted for them: a click is counted before it is answered, and a pass opens the door once."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from app.core import db, metrics
from app.core.crypto import new_token, token_digest
from app.joining.decide import MOST_CLICKS
from app.joining.situation import CLICKS_WITHIN, TICKET_LIFETIME
from app.resources import Resources

# Long enough that a ticket used twice is called used, and not unknown.
TICKETS_KEPT = timedelta(days=1)
# Refusals, and tickets given out, are looked at while a member asks why the door was shut.
CLICKS_KEPT = timedelta(days=30)
# A redirect is evidence of coming: the attendance of an event, and who may read its chat afterwards, rest on it.
REDIRECTS_KEPT = timedelta(days=365)
MINTED, REDIRECTED = "ticket", "redirected"
# Of a click refused like this nobody knows whether there is such an event: anybody can invent any number of them.
OF_NO_EVENT = frozenset({"event-not-found", "too-many-clicks"})
NO_EVENT = UUID(int=0)

Purpose = Literal["join", "start"]
Via = Literal["zoom-join", "zoom-start", "link", "ticket"]

# The row of a member is locked until the click is kept, so the limit holds however many come at once. A click too many
# changes nothing, and does not put off the moment from which the member may click again.
_COUNT = f"""
INSERT INTO click_rates AS rate (member_id, clicked) SELECT $2, ARRAY[$3::timestamptz] WHERE $5 <> 'ticket'
ON CONFLICT (member_id) DO UPDATE
    SET clicked = (rate.clicked || excluded.clicked)[GREATEST(cardinality(rate.clicked) - {MOST_CLICKS - 2}, 1):]
    WHERE cardinality(rate.clicked) < {MOST_CLICKS} OR rate.clicked[1] <= $3 - interval '1 minute'
"""  # noqa: S608 - the number is a constant
_MINT = f"""
WITH counted AS ({_COUNT} RETURNING member_id), minted AS (
    INSERT INTO tickets (digest, event_id, member_id, purpose, expires_at) SELECT $6, $1, member_id, $7, $8 FROM counted
)
INSERT INTO clicks (id, event_id, member_id, clicked_at, outcome, via)
SELECT gen_random_uuid(), $1, member_id, $3, $4, $5 FROM counted
RETURNING id
"""  # noqa: S608 - both parts are constants
_TURN_AWAY = f"""
WITH counted AS ({_COUNT})
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
class Click:
    """Somebody at a door: who, at which event's, and how they came."""

    event_id: UUID
    member_id: str
    via: Via


async def mint(held: Resources, click: Click, purpose: Purpose) -> tuple[str, datetime] | None:
    """A new ticket for the click, and when it ends; None where the member has clicked too often by now."""
    ticket, now = new_token(), held.clock.now()
    expires_at = now + TICKET_LIFETIME
    about = (click.event_id, click.member_id, now, MINTED, click.via)
    if await held.db.hot.fetchval(_MINT, *about, token_digest(ticket), purpose, expires_at) is None:
        return None
    metrics.door_decided(MINTED)
    return ticket, expires_at


async def turned_away(held: Resources, click: Click, slug: str) -> None:
    """Count a click that ended in a refusal."""
    event_id = NO_EVENT if slug in OF_NO_EVENT else click.event_id
    await held.db.hot.execute(_TURN_AWAY, event_id, click.member_id, held.clock.now(), slug, click.via)
    metrics.door_decided(slug)


async def consume(held: Resources, digest: bytes) -> bool:
    """Use a ticket up and keep the click; False where somebody else was faster, or it ended."""
    used = await held.db.hot.fetchval(_CONSUME, digest, held.clock.now(), REDIRECTED, "ticket")
    if used is None:
        return False
    metrics.door_decided(REDIRECTED)
    return True


async def prune(tx: db.Tx) -> None:
    """Forget tickets that opened, or can open, nothing any more, and clicks that have served their time."""
    await tx.run("DELETE FROM tickets WHERE expires_at < :before", before=tx.now - TICKETS_KEPT)
    await tx.run(
        "DELETE FROM clicks WHERE clicked_at < :before AND (outcome <> :redirected OR clicked_at < :long_before)",
        before=tx.now - CLICKS_KEPT,
        long_before=tx.now - REDIRECTS_KEPT,
        redirected=REDIRECTED,
    )
    await tx.run("DELETE FROM click_rates WHERE clicked[cardinality(clicked)] < :before", before=tx.now - CLICKS_WITHIN)
