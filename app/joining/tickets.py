"""Clicks and the passes minted for them: every click leaves a row, and a pass opens the door once."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from app.core import metrics
from app.core.crypto import new_token, token_digest
from app.joining.situation import TICKET_LIFETIME
from app.resources import Resources

MINTED, REDIRECTED = "ticket", "redirected"

Purpose = Literal["join", "start"]
Via = Literal["zoom-join", "zoom-start", "link", "ticket"]

_CLICK = """
INSERT INTO clicks (id, event_id, member_id, clicked_at, outcome, via)
VALUES (gen_random_uuid(), $1, $2, $3, $4, $5)
"""
_MINT = f"""
WITH minted AS (
    INSERT INTO tickets (digest, event_id, member_id, purpose, expires_at) VALUES ($6, $1, $2, $7, $8)
)
{_CLICK}
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


async def mint(held: Resources, click: Click, purpose: Purpose) -> tuple[str, datetime]:
    """A new ticket for the click, and when it ends."""
    ticket, now = new_token(), held.clock.now()
    expires_at = now + TICKET_LIFETIME
    about = (click.event_id, click.member_id, now, MINTED, click.via)
    await held.db.hot.execute(_MINT, *about, token_digest(ticket), purpose, expires_at)
    metrics.door_decided(MINTED)
    return ticket, expires_at


async def turned_away(held: Resources, click: Click, slug: str) -> None:
    """Keep a click that ended in a refusal."""
    await held.db.hot.execute(_CLICK, click.event_id, click.member_id, held.clock.now(), slug, click.via)
    metrics.door_decided(slug)


async def consume(held: Resources, digest: bytes) -> bool:
    """Use a ticket up and keep the click; False where somebody else was faster, or it ended."""
    used = await held.db.hot.fetchval(_CONSUME, digest, held.clock.now(), REDIRECTED, "ticket")
    if used is None:
        return False
    metrics.door_decided(REDIRECTED)
    return True
