"""Waiting a moment for a registrant that Zoom is about to make. Nobody who waits holds a connection."""

import asyncio
import contextlib
from datetime import timedelta

from app import facts
from app.core import logs, outbox
from app.core.identity import Caller
from app.joining import load_context
from app.joining.decide import JoinAllowed, Refusal, decide, should_wait
from app.joining.join_context import JoinContext, RegistrationSnapshot
from app.registrants import daily_additions
from app.resources import Resources

MAX_WAIT_SECONDS = 3.0  # seconds
_COLUMNS = ("jobs", "keys", "dues", "priorities", "queues", "correlation", "now")
_REQUEST_JOBS = outbox.positional(outbox.UPSERT.format(where=""), _COLUMNS)


async def decide_or_wait(
    resources: Resources, context: JoinContext, caller: Caller
) -> tuple[JoinContext, Refusal | JoinAllowed]:
    """What the door says, and what it saw: at once, or up to 3 seconds later where a registrant is being made."""
    verdict = _decide_now(resources, context)
    if context.event is None or context.registration is None or not should_wait(context, verdict):
        return context, verdict
    event_id, deadline = context.event.id, asyncio.get_running_loop().time() + MAX_WAIT_SECONDS
    with resources.pubsub.subscribe(f"registration:{context.registration.id}") as woken:
        await _request_registrant(resources, context, context.registration)
        # The last look comes after the last wait: a ring may be lost.
        timed_out = False
        while True:
            woken.clear()
            context = await load_context.for_event(resources, event_id, caller)
            verdict = _decide_now(resources, context)
            if timed_out or not should_wait(context, verdict):
                return context, verdict
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(deadline):
                    await woken.wait()
            timed_out = asyncio.get_running_loop().time() >= deadline


def _decide_now(resources: Resources, context: JoinContext) -> Refusal | JoinAllowed:
    return decide(context, resources.clock.now(), timedelta(minutes=resources.settings.join_opens_minutes))


async def _request_registrant(resources: Resources, context: JoinContext, registration: RegistrationSnapshot) -> None:
    """Have the registrant made before anything else, by the addition that is kept for this if need be."""
    await daily_additions.request_at_join(resources.db.pool, registration.id)
    now = resources.clock.now()
    fact = facts.MemberWaitingToJoin(registration.id, context.zoom.account_id if context.zoom else None)
    requests = resources.jobs.requests_for(fact, now)
    columns = outbox.upsert_parameters(requests, logs.correlation(), now)
    # A pause after a failure is for nobody's sake who stands here; whatever Zoom has us wait for is kept elsewhere.
    for row in requests:
        await resources.db.pool.execute(outbox.RUN_ONE_NOW, row.job, row.key, now)
    await resources.db.pool.execute(_REQUEST_JOBS, *(columns[name] for name in _COLUMNS))
    resources.pubsub.publish(outbox.TOPIC)
