"""Changing a meeting at Zoom, and reading back what became of it."""

import contextlib
from collections.abc import AsyncIterator

from app.accounts import budgets, reservations
from app.clients.zoom import AccountClient, MeetingBody, MissingScopes, ZoomError
from app.clients.zoom import Meeting as Said
from app.core.outbox import NotNow
from app.core.work import Work
from app.meetings import creating, service, unanswered
from app.meetings.models import Meeting
from app.meetings.optional import Tries, body_without, noted, optional_in
from app.meetings.plan import MANUAL_APPROVAL, as_observed, lets_strangers_in, observation
from app.resources import Resources


async def change(
    work: Work[Resources], zoom: AccountClient, situation: service.Situation, meeting: Meeting, body: MeetingBody
) -> Said | None:
    """The meeting read back after a PATCH: Zoom drops what it does not support without a word."""
    assert meeting.zoom_meeting_id is not None  # noqa: S101 - asked by the caller
    await _patch(work, zoom, situation, meeting, body)
    said = await read_back(zoom, meeting.zoom_meeting_id)
    if said is not None and lets_strangers_in(situation.plan(meeting.marker), observation(said)):
        await _patch(work, zoom, situation, meeting, {"settings": {"approval_type": MANUAL_APPROVAL}})
        said = await read_back(zoom, meeting.zoom_meeting_id)
    return said


async def read_back(zoom: AccountClient, number: int) -> Said | None:
    """What Zoom says of a meeting; None where the grant does not permit to ask."""
    try:
        return await zoom.get_meeting(number)
    except MissingScopes:
        return None


async def _patch(
    work: Work[Resources], zoom: AccountClient, situation: service.Situation, meeting: Meeting, body: MeetingBody
) -> None:
    assert situation.host is not None  # noqa: S101 - `wanted` was asked first
    assert meeting.zoom_meeting_id is not None  # noqa: S101 - asked by the caller
    subject, number = reservations.of_host(situation.host.zoom_user_id), meeting.zoom_meeting_id

    async def changed(left_out: frozenset[str]) -> unanswered.Change | None:
        rest = body_without(body, left_out)
        if not rest:
            return None
        async with (
            budgets.counted(work.resources, subject, budgets.MEETINGS_PER_HOST, creating.USED_UP),
            _attempted(work, situation, meeting, rest, left_out) as change,
        ):
            await zoom.update_meeting(number, rest)
        return change

    change, left_out = await creating.until_taken(Tries(optional_in(body)), changed)
    async with work.transaction() as tx:
        row = await service.lock(tx, meeting.id)
        row.left_out = noted(situation.plan(meeting.marker), row.left_out, left_out)
        row.pushed, row.observed, row.synced_at = situation.asked(row), None, tx.now
        row.unanswered = unanswered.answered(row.unanswered, change)


@contextlib.asynccontextmanager
async def _attempted(
    work: Work[Resources],
    situation: service.Situation,
    meeting: Meeting,
    body: MeetingBody,
    left_out: frozenset[str],
) -> AsyncIterator[unanswered.Change]:
    """Around one call: what it changes is unknown from before it is sent until Zoom's answer is written down. Where
    Zoom says that it was not made, or it was never sent, everything is known as before."""
    async with work.transaction() as tx:
        row = await service.lock(tx, meeting.id)
        pushed, observed, refused = row.pushed, row.observed, row.left_out
        change = unanswered.change(body, tx.now)
        row.state, row.unanswered = "updating", unanswered.begun(row.unanswered, change)
        row.pushed, row.observed = unanswered.unknown(pushed, [change]), unanswered.unknown(observed, [change])
        row.left_out = noted(situation.plan(meeting.marker), refused, left_out)
    try:
        yield change
    except unanswered.UNKNOWN:
        raise
    except (ZoomError, NotNow):
        async with work.transaction() as tx:
            row = await service.lock(tx, meeting.id)
            row.pushed, row.left_out = pushed, refused
            if observed is not None and row.observed is not None:
                row.observed = as_observed(observed, row.observed)
            row.unanswered = unanswered.answered(row.unanswered, change)
        raise
