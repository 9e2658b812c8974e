"""Events stored in any order, and any number of times, leave the same rows."""

import random
from datetime import timedelta
from typing import Any
from uuid import UUID

from app.attendance import service as attendance_service
from app.attendance.participant_event import ParticipantEvent
from app.meetings.models import Meeting
from tests.support.attendance_steps import advance_to_minute, by_member, fetch_attendance
from tests.support.service import RunningService
from tests.support.steps import meeting_rows

HISTORIES = 150
COLUMNS = "connection, joins, leaves, waits, registrant_id, zoom_user_id, email, name"


def history(dice: random.Random, instance: str, service: RunningService) -> list[ParticipantEvent]:
    """Return events of some clients; identity fields of one client differ from time to time."""
    participant_events = []
    for client in range(dice.randint(1, 4)):
        for _ in range(dice.randint(1, 5)):
            email = dice.choice([None, "a@x.example"])
            name = dice.choice(["A", "B", None])
            registrant = "r" * client
            at = service.clock.now().replace(microsecond=0) + timedelta(seconds=dice.randint(0, 3600))
            kind: Any = dice.choice(["joins", "leaves", "waits"])
            participant_events.append(
                ParticipantEvent(instance, f"user_id:{client}", kind, at, registrant or None, None, email, name)
            )
    return participant_events


async def test_any_order_and_any_repetition_leave_the_same_rows(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    (meeting,) = await meeting_rows(service, event)
    async with service.resources.db.transaction() as tx:
        row = await tx.session.get_one(Meeting, meeting["id"])
        for seed in range(HISTORIES):
            dice = random.Random(seed)
            participant_events = history(dice, f"{seed}-in-order", service)
            received = [*participant_events, *dice.choices(participant_events, k=4)]
            dice.shuffle(received)
            for participant_event in participant_events:
                await attendance_service.store(tx, [(row, participant_event)])
            shuffled = [
                (row, ParticipantEvent(**vars(participant_event) | {"instance_uuid": f"{seed}-shuffled"}))
                for participant_event in received
            ]
            for some in range(0, len(shuffled), 3):
                await attendance_service.store(tx, shuffled[some : some + 3])
    for seed in range(HISTORIES):
        rows = [
            await service.resources.db.pool.fetch(
                f"SELECT {COLUMNS} FROM participant_sessions WHERE instance_uuid = $1 ORDER BY connection",  # noqa: S608 - constants
                f"{seed}-{order}",
            )
            for order in ("in-order", "shuffled")
        ]
        assert rows[0]
        assert rows[0] == rows[1]


async def test_a_thousand_people_are_reported_exactly(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    (meeting,) = await meeting_rows(service, event)
    await advance_to_minute(service, event, 61)
    began = service.clock.now().replace(microsecond=0) - timedelta(minutes=61)
    async with service.resources.db.transaction() as tx:
        await tx.execute(
            "INSERT INTO registrations (id, event_id, member_id, email, email_verified, name, rsvp, join_link,"
            " created_at, updated_at) SELECT gen_random_uuid(), :event, 'm-' || n, n || '@members.example', true,"
            " 'Member ' || n, 'not_going', 'link-' || n, :now, :now FROM generate_series(1, 1000) AS n",
            event=UUID(event["id"]),
            now=tx.now,
        )
        row = await tx.session.get_one(Meeting, meeting["id"])
        for number in range(1, 1001):
            client = ("an-instance==", f"user_id:{number}")
            identity = (None, None, f"{number}@members.example", f"Member {number}")
            left = began + timedelta(minutes=number % 60 + 1)
            participant_events = (
                ParticipantEvent(*client, "joins", began, *identity),
                ParticipantEvent(*client, "leaves", left, *identity),
            )
            await attendance_service.store(tx, [(row, one) for one in participant_events])
    members = by_member(await fetch_attendance(service, event))
    assert {member_id: each["minutes"] for member_id, each in members.items()} == {
        f"m-{number}": number % 60 + 1 for number in range(1, 1001)
    }
