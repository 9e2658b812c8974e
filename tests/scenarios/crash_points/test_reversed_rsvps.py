"""An RSVP is reversed while the outcome of Zoom's call is unknown: the last RSVP counts.

The response is lost, or the worker is killed, at any point.
"""

from dataclasses import dataclass
from pathlib import Path as File

import pytest

from app.devstack.mailbox import Mailbox
from tests.scenarios.crash_points.harness import Context, Harness, Scenario
from tests.scenarios.crash_points.test_crash_recovery import (
    change_host,
    event_on_zoom,
    event_with_batch,
    event_with_member,
    rsvp_going,
    rsvp_not_going,
)
from tests.support.registrant_steps import BATCH, NOTICES, STRANGER
from tests.support.service import RunningService, run_service
from tests.support.steps import ADD, STATUS, grant

COMING = "SELECT lower(email) FROM registrations WHERE rsvp = 'going' AND event_id = $1::uuid ORDER BY 1"
READY = """
SELECT registrants.id, lower(registrations.email) AS email, registrants.join_url FROM registrants
JOIN registrations ON registration_id = registrations.id JOIN meetings ON meetings.id = meeting_id
WHERE registrants.state = 'ready' AND meetings.state = 'scheduled' AND rsvp = 'going'
  AND registrations.event_id = $1::uuid
"""


@dataclass(frozen=True)
class ReversedRsvp:
    """A scenario, its operation that changes registrants at Zoom, and the boundary of that call."""

    scenario: Scenario
    operation: str
    call: str


async def member_registered_yesterday(service: RunningService) -> Context:
    """A member is going since yesterday."""
    context = await event_with_member(service)
    await service.wait_idle()
    await service.resources.db.pool.execute("UPDATE registrants SET updated_at = updated_at - interval '2 minutes'")
    return context


async def member_pending_at_zoom(service: RunningService) -> Context:
    """A member is going, but Zoom set the registrant to pending by itself."""
    context = await event_with_member(service)
    await service.wait_idle()
    for meeting in service.simulator.state.simulator.state.meetings.values():
        for person in meeting.registrants.values():
            person.status = "pending"
    await service.resources.db.pool.execute("UPDATE registrants SET state = 'pending', join_url = NULL")
    return context


async def event_with_registrant_notifications(service: RunningService) -> Context:
    """An event of an account whose registrants' changes cause notifications."""
    await grant(service, NOTICES)
    return await event_on_zoom(service)


async def retry_sync(service: RunningService, context: Context) -> None:
    """Retry everything as an admin."""
    (await service.post("admin", f"/api/events/{context['event']}/zoom/sync", {})).raise_for_status()


async def revoke_link(service: RunningService, context: Context) -> None:
    """Revoke the member's link as an admin."""
    path = f"/api/events/{context['event']}/registrations/m-member/new-link"
    (await service.post("admin", path)).raise_for_status()


async def register_as_stranger(service: RunningService, _known: Context) -> None:
    """Fill in Zoom's registration form as a stranger."""
    (meeting,) = (await service.zoom.get("/simulator/state")).json()["meetings"]
    form = {"first_name": "Sam", "email": STRANGER}
    (await service.zoom.post(meeting["registration_url"], data=form)).raise_for_status()


async def rsvp_as_stranger(service: RunningService, context: Context) -> None:
    """RSVP on the platform as that stranger."""
    token = service.platform.token("member", service.clock.now(), email=STRANGER)
    path = f"/api/events/{context['event']}/rsvp"
    headers = {"Authorization": f"Bearer {token}"}
    (await service.api.put(path, json={"status": "going"}, headers=headers)).raise_for_status()


async def withdraw_and_return(service: RunningService, context: Context) -> None:
    """Withdraw as a member, and RSVP again."""
    await rsvp_not_going(service, context)
    await rsvp_going(service, context)


SYNC = "registrants.sync"
PUT = "answered PUT"
POST = "answered POST"
REVERSED_RSVPS = [
    ReversedRsvp(Scenario("adding", event_on_zoom, rsvp_going, only_jobs=(SYNC,), reversal=rsvp_not_going), ADD, POST),
    ReversedRsvp(
        Scenario("batch", event_with_batch, change_host, only_jobs=("registrants.add_batch",), reversal=rsvp_not_going),
        BATCH,
        POST,
    ),
    ReversedRsvp(
        Scenario("approving", member_pending_at_zoom, retry_sync, only_jobs=(SYNC,), reversal=rsvp_not_going),
        STATUS,
        PUT,
    ),
    ReversedRsvp(
        Scenario("cancelling", member_registered_yesterday, rsvp_not_going, only_jobs=(SYNC,), reversal=rsvp_going),
        STATUS,
        PUT,
    ),
    ReversedRsvp(
        Scenario(
            "denying",
            event_with_registrant_notifications,
            register_as_stranger,
            only_jobs=("registrants.handle_notification",),
            reversal=rsvp_as_stranger,
        ),
        STATUS,
        PUT,
    ),
    ReversedRsvp(
        Scenario("taking a link back", event_with_member, revoke_link, only_jobs=(SYNC,), reversal=withdraw_and_return),
        STATUS,
        PUT,
    ),
]
each_change = pytest.mark.parametrize(
    "change", REVERSED_RSVPS, ids=lambda change: change.scenario.name.replace(" ", "-")
)


async def assert_last_rsvp_counts(service: RunningService, context: Context) -> None:
    """Assert that Zoom admits exactly the members who are going, by the link that is ready here."""
    coming = [row["lower"] for row in await service.resources.db.pool.fetch(COMING, context["event"])]
    rows = await service.resources.db.pool.fetch(READY, context["event"])
    ready = {
        row["email"]: service.resources.encryption.decrypt(row["join_url"], f"registrants.join_url:{row['id']}")
        for row in rows
    }
    (meeting,) = (await service.zoom.get("/simulator/state")).json()["meetings"]
    let_in = {each["email"]: each["join_url"] for each in meeting["registrants"] if each["status"] == "approved"}
    assert sorted(let_in) == coming
    assert let_in == ready


@each_change
async def test_where_a_worker_is_killed_before_it_notes_an_answer_what_was_said_last_counts(
    change: ReversedRsvp, database_url: str, redis_url: str, mailbox: Mailbox, tmp_path: File
) -> None:
    async with run_service(database_url, redis_url, mailbox, worker=False) as service:
        harness = Harness(service, change.scenario, tmp_path)
        snapshot = await harness.take_snapshot()
        _, boundaries = await harness.run_undisturbed(snapshot)
        await assert_last_rsvp_counts(service, snapshot.context)
        # Dying at the boundary before equals dying before the call is sent.
        calls = [place for place, at in enumerate(boundaries) if change.call in at]
        assert calls, f"no {change.call} in {boundaries}"
        for at in {boundaries[place - before] for place in calls[:1] for before in (0, 1)}:
            assert await harness.run_killed_at(snapshot, at), f"not passed again: {at}"
            await assert_last_rsvp_counts(service, snapshot.context)


@each_change
async def test_where_answers_are_lost_what_was_said_last_counts(
    change: ReversedRsvp, database_url: str, redis_url: str, mailbox: Mailbox, tmp_path: File
) -> None:
    async with run_service(database_url, redis_url, mailbox, worker=False) as service:
        harness = Harness(service, change.scenario, tmp_path)
        snapshot = await harness.take_snapshot()
        await harness.run_with_lost_responses(snapshot, change.operation)
        await assert_last_rsvp_counts(service, snapshot.context)
