"""Somebody changes their mind while nobody knows what became of a call: wherever the answer was lost, or the worker
killed, what was said last counts."""

from dataclasses import dataclass
from pathlib import Path as File

import pytest

from app.demo.mailbox import Mailbox
from tests.boundary.harness import Harness, Known, Path
from tests.boundary.test_paths import a_crowded_event, an_answered_event, an_event, change_host, come, stay_away
from tests.living import Living, alive
from tests.meetings.house import ADD, STATUS, grant
from tests.registrations.test_batch import BATCH
from tests.registrations.test_lost_answers import NOTICES
from tests.registrations.test_noticed import STRANGER

COMING = "SELECT lower(email) FROM registrations WHERE rsvp = 'going' AND event_id = $1::uuid ORDER BY 1"
READY = """
SELECT registrants.id, lower(registrations.email) AS email, registrants.join_url FROM registrants
JOIN registrations ON registration_id = registrations.id JOIN meetings ON meetings.id = meeting_id
WHERE registrants.state = 'ready' AND meetings.state = 'scheduled' AND rsvp = 'going'
  AND registrations.event_id = $1::uuid
"""


@dataclass(frozen=True)
class Change:
    """A path, the operation that changes registrants at Zoom on it, and the call as a boundary names it."""

    path: Path
    operation: str
    call: str


async def an_answer_of_yesterday(living: Living) -> Known:
    """A member is coming, and no longer only since a moment ago."""
    known = await an_answered_event(living)
    await living.quiet()
    await living.held.db.hot.execute("UPDATE registrants SET updated_at = updated_at - interval '2 minutes'")
    return known


async def somebody_unapproved(living: Living) -> Known:
    """A member is coming whom Zoom, unasked, did not approve."""
    known = await an_answered_event(living)
    await living.quiet()
    for meeting in living.simulator.state.simulator.world.meetings.values():
        for person in meeting.registrants.values():
            person.status = "pending"
    await living.held.db.hot.execute("UPDATE registrants SET state = 'pending', join_url = NULL")
    return known


async def an_event_with_notices(living: Living) -> Known:
    """An event of an account whose registrants' changes are told."""
    await grant(living, NOTICES)
    return await an_event(living)


async def sync(living: Living, known: Known) -> None:
    """An admin has everything tried again."""
    (await living.post("admin", f"/api/events/{known['event']}/zoom/sync", {})).raise_for_status()


async def take_back(living: Living, known: Known) -> None:
    """An admin takes the member's link back."""
    path = f"/api/events/{known['event']}/registrations/m-member/new-link"
    (await living.post("admin", path)).raise_for_status()


async def fill_in_the_form(living: Living, _known: Known) -> None:
    """A stranger fills in Zoom's registration form."""
    (meeting,) = (await living.zoom.get("/simulator/state")).json()["meetings"]
    form = {"first_name": "Sam", "email": STRANGER}
    (await living.zoom.post(meeting["registration_url"], data=form)).raise_for_status()


async def become_a_member(living: Living, known: Known) -> None:
    """The stranger answers the event on the platform."""
    token = living.platform.token("member", living.clock.now(), email=STRANGER)
    path, headers = f"/api/events/{known['event']}/rsvp", {"Authorization": f"Bearer {token}"}
    (await living.api.put(path, json={"status": "going"}, headers=headers)).raise_for_status()


async def come_and_go(living: Living, known: Known) -> None:
    """A member withdraws, and comes after all."""
    await stay_away(living, known)
    await come(living, known)


SYNC, PUT, POST = "registrations.sync", "answered PUT", "answered POST"
CHANGES = [
    Change(Path("adding", an_event, come, only=(SYNC,), regret=stay_away), ADD, POST),
    Change(Path("batch", a_crowded_event, change_host, only=("registrations.batch",), regret=stay_away), BATCH, POST),
    Change(Path("approving", somebody_unapproved, sync, only=(SYNC,), regret=stay_away), STATUS, PUT),
    Change(Path("cancelling", an_answer_of_yesterday, stay_away, only=(SYNC,), regret=come), STATUS, PUT),
    Change(
        Path(
            "denying",
            an_event_with_notices,
            fill_in_the_form,
            only=("registrations.note_registrant",),
            regret=become_a_member,
        ),
        STATUS,
        PUT,
    ),
    Change(Path("taking a link back", an_answered_event, take_back, only=(SYNC,), regret=come_and_go), STATUS, PUT),
]
each_change = pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.path.name.replace(" ", "-"))


async def as_was_said_last(living: Living, known: Known) -> None:
    """Zoom lets in who is coming, by the link that is ready here, and nobody else."""
    coming = [row["lower"] for row in await living.held.db.hot.fetch(COMING, known["event"])]
    rows = await living.held.db.hot.fetch(READY, known["event"])
    ready = {row["email"]: living.held.seal.open(row["join_url"], f"registrants.join_url:{row['id']}") for row in rows}
    (meeting,) = (await living.zoom.get("/simulator/state")).json()["meetings"]
    let_in = {each["email"]: each["join_url"] for each in meeting["registrants"] if each["status"] == "approved"}
    assert sorted(let_in) == coming
    assert let_in == ready


@each_change
async def test_where_a_worker_is_killed_before_it_notes_an_answer_what_was_said_last_counts(
    change: Change, database_url: str, redis_url: str, mailbox: Mailbox, tmp_path: File
) -> None:
    async with alive(database_url, redis_url, mailbox, worker=False) as living:
        harness = Harness(living, change.path, tmp_path)
        beginning = await harness.begin()
        _, boundaries = await harness.boundaries(beginning)
        await as_was_said_last(living, beginning.known)
        # Dying at the boundary before is dying before the call is sent.
        calls = [place for place, at in enumerate(boundaries) if change.call in at]
        assert calls, f"no {change.call} in {boundaries}"
        for at in {boundaries[place - before] for place in calls[:1] for before in (0, 1)}:
            assert await harness.killed(beginning, at), f"not passed again: {at}"
            await as_was_said_last(living, beginning.known)


@each_change
async def test_where_answers_are_lost_what_was_said_last_counts(
    change: Change, database_url: str, redis_url: str, mailbox: Mailbox, tmp_path: File
) -> None:
    async with alive(database_url, redis_url, mailbox, worker=False) as living:
        harness = Harness(living, change.path, tmp_path)
        beginning = await harness.begin()
        await harness.never_answered(beginning, change.operation)
        await as_was_said_last(living, beginning.known)
