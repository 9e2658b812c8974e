"""Decides about a click, after waiting a few seconds for a registrant that is being created.

A waiting request holds no database connection.
"""

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

MAX_WAIT_SECONDS = 3.0  # a person waits at most this long for a response (design section 4)
_COLUMNS = ("jobs", "keys", "dues", "priorities", "queues", "correlation", "now")
_REQUEST_JOBS = outbox.positional(outbox.UPSERT.format(where=""), _COLUMNS)


async def decide_or_wait(
    resources: Resources, context: JoinContext, caller: Caller
) -> tuple[JoinContext, Refusal | JoinAllowed]:
    """Return the verdict and the context it is based on, after up to 3 seconds if a registrant is being created."""
    verdict = _decide_now(resources, context)
    if context.event is None or context.registration is None or not should_wait(context, verdict):
        return context, verdict
    event_id = context.event.id
    deadline = asyncio.get_running_loop().time() + MAX_WAIT_SECONDS
    with resources.pubsub.subscribe(f"registration:{context.registration.id}") as woken:
        await _request_registrant(resources, context, context.registration)
        # After the last wait the context is read once more, because a pub/sub message may be lost.
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
    """Request the registrant with the highest urgency, using the address's reserved addition if necessary."""
    await daily_additions.request_at_join(resources.db.pool, registration.id)
    now = resources.clock.now()
    fact = facts.MemberWaitingToJoin(registration.id, context.zoom.account_id if context.zoom else None)
    requests = resources.jobs.requests_for(fact, now)
    columns = outbox.upsert_parameters(requests, logs.correlation(), now)
    # A person is waiting, so the backoff after an earlier failure is skipped. Delays that Zoom demands are stored
    # elsewhere and still apply.
    for row in requests:
        await resources.db.pool.execute(outbox.RUN_ONE_NOW, row.job, row.key, now)
    await resources.db.pool.execute(_REQUEST_JOBS, *(columns[name] for name in _COLUMNS))
    resources.pubsub.publish(outbox.TOPIC)
