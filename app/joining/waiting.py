"""Waiting a moment for a registrant that Zoom is about to make. Nobody who waits holds a connection."""

import asyncio
import contextlib
from datetime import timedelta

from app import facts
from app.core import logs, outbox
from app.core.identity import Caller
from app.joining import situation
from app.joining.decide import Pass, Refusal, can_wait, decide
from app.joining.join_context import RegistrationSeen, Situation
from app.registrations import additions
from app.resources import Resources

PATIENCE = 3.0  # seconds
_COLUMNS = ("reactions", "keys", "dues", "priorities", "lanes", "correlation", "now")
_ASK = outbox.positional(outbox.UPSERT.format(where=""), _COLUMNS)


async def decided(held: Resources, seen: Situation, who: Caller) -> tuple[Situation, Refusal | Pass]:
    """What the door says, and what it saw: at once, or up to 3 seconds later where a registrant is being made."""
    verdict = _verdict(held, seen)
    if seen.event is None or seen.registration is None or not can_wait(seen, verdict):
        return seen, verdict
    event_id, deadline = seen.event.id, asyncio.get_running_loop().time() + PATIENCE
    with held.bell.listening(f"registration:{seen.registration.id}") as rung:
        await _ask(held, seen, seen.registration)
        # The last look comes after the last wait: a ring may be lost.
        waited = False
        while True:
            rung.clear()
            seen = await situation.at_event(held, event_id, who)
            verdict = _verdict(held, seen)
            if waited or not can_wait(seen, verdict):
                return seen, verdict
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(deadline):
                    await rung.wait()
            waited = asyncio.get_running_loop().time() >= deadline


def _verdict(held: Resources, seen: Situation) -> Refusal | Pass:
    return decide(seen, held.clock.now(), timedelta(minutes=held.settings.join_opens_minutes))


async def _ask(held: Resources, seen: Situation, registration: RegistrationSeen) -> None:
    """Have the registrant made before anything else, by the addition that is kept for this if need be."""
    await additions.ask_at_the_door(held.db.hot, registration.id)
    now = held.clock.now()
    fact = facts.MemberWaiting(registration.id, seen.zoom.account_id if seen.zoom else None)
    wanted = held.reactions.wants(fact, now)
    columns = outbox.columns(wanted, logs.correlation(), now)
    # A pause after a failure is for nobody's sake who stands here; whatever Zoom has us wait for is kept elsewhere.
    for row in wanted:
        await held.db.hot.execute(outbox.HURRY_ONE, row.reaction, row.key, now)
    await held.db.hot.execute(_ASK, *(columns[name] for name in _COLUMNS))
    held.bell.ring(outbox.TOPIC)
