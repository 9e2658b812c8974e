"""The database keeps of a history what it keeps of any other order of it, however often each thing was said."""

import random
from datetime import timedelta
from typing import Any
from uuid import UUID

from app.attendance import service as attendance_service
from app.attendance.heard import Heard
from app.meetings.models import Meeting
from tests.attendance.house import attendance, by_member, to_minute
from tests.living import Living
from tests.meetings.house import meeting_rows

HISTORIES = 150
KEPT = "connection, joins, leaves, waits, registrant_id, zoom_user_id, email, name"


def history(dice: random.Random, instance: str, living: Living) -> list[Heard]:
    """Some clients that come and go; what is said of one of them differs from time to time."""
    said = []
    for client in range(dice.randint(1, 4)):
        for _ in range(dice.randint(1, 5)):
            email, name, registrant = dice.choice([None, "a@x.example"]), dice.choice(["A", "B", None]), "r" * client
            at = living.clock.now().replace(microsecond=0) + timedelta(seconds=dice.randint(0, 3600))
            kind: Any = dice.choice(["joins", "leaves", "waits"])
            said.append(Heard(instance, f"user_id:{client}", kind, at, registrant or None, None, email, name))
    return said


async def test_any_order_and_any_repetition_leave_the_same_rows(living: Living) -> None:
    await living.connect()
    event = await living.event()
    (meeting,) = await meeting_rows(living, event)
    async with living.held.db.transaction() as tx:
        row = await tx.session.get_one(Meeting, meeting["id"])
        for seed in range(HISTORIES):
            dice = random.Random(seed)
            said = history(dice, f"{seed}-in-order", living)
            heard = [*said, *dice.choices(said, k=4)]
            dice.shuffle(heard)
            for one in said:
                await attendance_service.note(tx, [(row, one)])
            shuffled = [(row, Heard(**vars(one) | {"instance_uuid": f"{seed}-shuffled"})) for one in heard]
            for some in range(0, len(shuffled), 3):
                await attendance_service.note(tx, shuffled[some : some + 3])
    for seed in range(HISTORIES):
        rows = [
            await living.held.db.hot.fetch(
                f"SELECT {KEPT} FROM participant_sessions WHERE instance_uuid = $1 ORDER BY connection",  # noqa: S608 - constants
                f"{seed}-{order}",
            )
            for order in ("in-order", "shuffled")
        ]
        assert rows[0]
        assert rows[0] == rows[1]


async def test_a_thousand_people_are_reported_exactly(living: Living) -> None:
    await living.connect()
    event = await living.event()
    (meeting,) = await meeting_rows(living, event)
    await to_minute(living, event, 61)
    began = living.clock.now().replace(microsecond=0) - timedelta(minutes=61)
    async with living.held.db.transaction() as tx:
        await tx.run(
            "INSERT INTO registrations (id, event_id, member_id, email, email_verified, name, rsvp, join_link,"
            " created_at, updated_at) SELECT gen_random_uuid(), :event, 'm-' || n, n || '@members.example', true,"
            " 'Member ' || n, 'not_going', 'link-' || n, :now, :now FROM generate_series(1, 1000) AS n",
            event=UUID(event["id"]),
            now=tx.now,
        )
        row = await tx.session.get_one(Meeting, meeting["id"])
        for number in range(1, 1001):
            about = ("an-instance==", f"user_id:{number}")
            who = (None, None, f"{number}@members.example", f"Member {number}")
            left = began + timedelta(minutes=number % 60 + 1)
            said = (Heard(*about, "joins", began, *who), Heard(*about, "leaves", left, *who))
            await attendance_service.note(tx, [(row, one) for one in said])
    seen = by_member(await attendance(living, event))
    assert {member_id: each["minutes"] for member_id, each in seen.items()} == {
        f"m-{number}": number % 60 + 1 for number in range(1, 1001)
    }
