"""Whatever order, number and delay Zoom's notifications of a meeting come in, the database ends up the same."""

import contextlib
import json
import random
from collections import deque
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.attendance.tasks import note_participant
from app.core.outbox import NotNow
from app.core.work import Work
from app.meetings.tasks import note_instance
from app.reactions import TABLE
from app.resources import Resources
from tests.inbox.house import NOW, House, open_house

EXAMPLES = 200
ACCOUNT, HOST, COMMUNITY = UUID(int=1), UUID(int=2), "c-1"
STARTS = NOW
Json = dict[str, Any]
KEPT = {
    "instances": """
        SELECT split_part(uuid, '/', 2) AS uuid, started_at, ended_at FROM instances WHERE meeting_id = $1 ORDER BY uuid
    """,
    "participant_sessions": """
        SELECT split_part(instance_uuid, '/', 2) AS uuid, connection, joins, leaves, waits, registrant_id, zoom_user_id,
            email, name
        FROM participant_sessions WHERE meeting_id = $1 ORDER BY instance_uuid, connection
    """,
    "events": "SELECT live_at, ended_at FROM events WHERE id = $1",
}


class AtOnce(Work[Resources]):
    """A run of a reaction for a delivery, without a row of the outbox."""

    def __init__(self, resources: Resources, key: str) -> None:
        self.resources, self.key = resources, key

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        async with self.resources.db.transaction() as tx:
            yield tx

    @contextlib.asynccontextmanager
    async def done(self, again_at: datetime | None = None) -> AsyncIterator[Any]:
        assert again_at is None
        async with self.transaction() as tx:
            yield tx


def stamp(minute: float) -> str:
    """A moment so many minutes after the event's start, as Zoom writes it."""
    return (STARTS + timedelta(minutes=minute)).strftime("%Y-%m-%dT%H:%M:%SZ")


@st.composite
def histories(draw: st.DrawFn) -> list[Json]:
    """What Zoom says of a meeting that was held once or more, the first time perhaps as a rehearsal, in order."""
    said: list[Json] = []
    minute = draw(st.integers(-120, 10))
    for number in range(draw(st.integers(1, 3))):
        held, length = {"uuid": f"instance-{number}==", "start_time": stamp(minute)}, draw(st.integers(4, 60))
        said.append(notification("started", minute, held))
        for client in range(draw(st.integers(0, 2))):
            came = minute + draw(st.integers(0, length // 2))
            person = {"user_id": 100 + client, "user_name": draw(st.sampled_from(["Mia", "Max", ""]))}
            if draw(st.booleans()):
                said.append(participant("joined_waiting_room", came, held, person, draw(st.booleans())))
            said.append(participant("joined", came + 1, held, person, draw(st.booleans())))
            if draw(st.booleans()):
                said.append(participant("left", came + 2, held, person | {"registrant_id": "r-1"}, draw(st.booleans())))
        last = minute + length
        if draw(st.integers(0, 4)):
            said.append(notification("ended", last, held | {"end_time": stamp(last)}))
        minute = last + draw(st.integers(1, 20))
    return said


def notification(kind: str, minute: float, about: Json) -> Json:
    """One thing Zoom says of an instance; its number as text or as a number."""
    return {
        "event": f"meeting.{kind}",
        "event_ts": int((STARTS.timestamp() + minute * 60) * 1000) + len(kind) % 2,
        "about": about,
    }


def participant(kind: str, minute: float, held: Json, person: Json, numbered: bool) -> Json:
    """One thing Zoom says of a client, in one of the ways it names the time, and perhaps without the meeting."""
    names = {"joined": "join_time", "left": "leave_time", "joined_waiting_room": "date_time"}
    about = held | {"participant": person | {names[kind]: stamp(minute)}, "numbered": numbered}
    return notification(f"participant_{kind}", minute, about)


@pytest.fixture
async def house(database_url: str) -> AsyncIterator[House]:
    """A connected account with a host; nothing happens by itself."""
    async with open_house(database_url, [], TABLE.facts) as house:
        await house.rows("INSERT INTO communities (id, slug) VALUES ($1, $1)", COMMUNITY)
        await house.rows(
            "INSERT INTO accounts (id, community_id, zoom_account_id, zoom_user_id, status, connected_by, connected_at)"
            " VALUES ($1, $2, 'riverside', 'owner', 'connected', 'ann', $3)",
            ACCOUNT, COMMUNITY, NOW,
        )  # fmt: skip
        await house.rows(
            "INSERT INTO hosts (id, account_id, zoom_user_id, licensed, listed) VALUES ($1, $2, 'host-1', true, true)",
            HOST, ACCOUNT,
        )  # fmt: skip
        house.clock.time = NOW + timedelta(days=1)
        yield house


async def held(house: House, number: int) -> UUID:
    """An event with a meeting of that number."""
    event_id = uuid4()
    await house.rows(
        "INSERT INTO events (id, community_id, kind, title, starts_at, ends_at, timezone, is_virtual, delivery_mode,"
        " host_id, created_by, created_at, updated_at)"
        " VALUES ($1, $2, 'community_event', 'Open evening', $3, $4, 'UTC', true, 'zoom', $5, 'ann', $3, $3)",
        event_id, COMMUNITY, STARTS, STARTS + timedelta(hours=1), HOST,
    )  # fmt: skip
    await house.rows(
        "INSERT INTO meetings (id, event_id, account_id, host_id, state, zoom_meeting_id, marker, created_at)"
        " VALUES ($1, $1, $2, $3, 'scheduled', $4, 'kindryn:x', $5)",
        event_id, ACCOUNT, HOST, number, STARTS,
    )  # fmt: skip
    return event_id


async def hear(house: House, number: int, said: Sequence[Json]) -> None:
    """Zoom says these, in this order; what cannot be placed yet is looked at again later."""
    waiting = deque(zip(await stored(house, number, said), said, strict=True))
    while waiting:
        delivery_id, one = waiting.popleft()
        react = note_participant if "participant_" in one["event"] else note_instance
        try:
            await react(AtOnce(house.held, str(delivery_id)))
        except NotNow:
            waiting.append((delivery_id, one))


async def stored(house: House, number: int, said: Sequence[Json]) -> list[UUID]:
    """Deliveries in the inbox."""
    ids, seal = [uuid4() for _ in said], house.held.seal
    bodies = [seal.seal(body(number, each), f"deliveries.body:{id_}") for id_, each in zip(ids, said, strict=True)]
    await house.rows(
        "INSERT INTO deliveries (id, digest, kind, zoom_account_id, body, received_at)"
        " SELECT id, decode(id::text, 'escape'), 'any', 'riverside', body, $3"
        " FROM unnest($1::uuid[], $2::bytea[]) AS given (id, body)",
        ids, bodies, house.clock.now(),
    )  # fmt: skip
    return ids


def body(number: int, said: Json) -> bytes:
    """What Zoom posts."""
    about = {name: value for name, value in said["about"].items() if name != "numbered"}
    about |= {"host_id": "host-1", "uuid": f"{number}/{about['uuid']}"}
    if said["about"].get("numbered", True):
        about["id"] = str(number) if said["event_ts"] % 2 else number
    payload = {"account_id": "riverside", "object": about}
    return json.dumps({"event": said["event"], "event_ts": said["event_ts"], "payload": payload}).encode()


async def ended_up(house: House, event_id: UUID) -> dict[str, list[Json]]:
    """Everything the database keeps of it."""
    found = {table: await house.rows(asked, event_id) for table, asked in KEPT.items()}
    return {table: [dict(row) for row in rows] for table, rows in found.items()}


numbers = iter(range(81_000_000_000, 10**12))


@given(history=histories(), seed=st.integers(0, 2**32))
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
async def test_any_order_repetition_and_delay_ends_in_the_same_rows(
    house: House, history: list[Json], seed: int
) -> None:
    dice = random.Random(seed)
    shuffled = [*history, *dice.choices(history, k=2)]
    dice.shuffle(shuffled)
    found = []
    for said in (history, shuffled):
        number = next(numbers)
        event_id = await held(house, number)
        await hear(house, number, said)
        found.append(await ended_up(house, event_id))
    assert found[0] == found[1]
    assert len(found[0]["instances"]) == len({each["about"]["uuid"] for each in history})
