"""Zoom's notifications about a meeting lead to the same rows in any order, number and delay.

If some of them are lost, Zoom's later responses make the attendance report what it would have been.
"""

import contextlib
import heapq
import itertools
import json
import random
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.attendance import report, service
from app.attendance.tasks import handle_participant
from app.clients.zoom import Meeting as Answer
from app.clients.zoom import ReportedParticipant
from app.core.job_runner import JobContext
from app.core.outbox import RetryLater
from app.events.models import Event
from app.jobs import JOBS
from app.meetings import drift, instance_store
from app.meetings.instance_rules import InstanceTimes
from app.meetings.models import Meeting
from app.meetings.tasks import handle_instance
from app.resources import Resources
from tests.inbox.harness import NOW, InboxHarness, open_harness

EXAMPLES = 150
ACCOUNT, HOST, COMMUNITY = UUID(int=1), UUID(int=2), "c-1"
STARTS = NOW
LENGTH = 60  # minutes of the event
MIA, MAIL = "m-mia", "mia@members.example"
HOSTS_CLIENT = 99
MOVED = 1000  # what the test adds to a client's `user_id` at each room move
# Zoom repeats a failed delivery for 85 minutes at most.
DELAYS = (0, 0, 0, 1, 5, 25, 85)
Json = dict[str, Any]
KEPT = {
    "instances": """
        SELECT split_part(uuid, '/', 2) AS uuid, started_at, ended_at, end_inferred FROM instances
        WHERE meeting_id = $1 ORDER BY uuid
    """,
    "participant_sessions": """
        SELECT split_part(instance_uuid, '/', 2) AS uuid, connection, joins, leaves, waits,
            participant_uuid, registrant_id, email, name
        FROM participant_sessions WHERE meeting_id = $1 ORDER BY instance_uuid, connection
    """,
    "events": "SELECT live_at, ended_at FROM events WHERE id = $1",
}


class ImmediateJob(JobContext[Resources]):
    """The context of a job for one delivery, without an outbox row."""

    def __init__(self, resources: Resources, key: str) -> None:
        self.resources = resources
        self.key = key

    @property
    def queue(self) -> str:
        """No queue: no other row waits."""
        return ""

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        async with self.resources.db.transaction() as tx:
            yield tx

    @contextlib.asynccontextmanager
    async def complete(self, repeat_at: datetime | Callable[[], datetime | None] | None = None) -> AsyncIterator[Any]:
        assert repeat_at is None
        async with self.transaction() as tx:
            yield tx


def at(minute: float) -> datetime:
    """Return the time this many minutes after the event's start."""
    return STARTS + timedelta(minutes=minute)


def stamp(minute: float) -> str:
    """Return the same time in Zoom's format."""
    return at(minute).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True)
class Session:
    """One stay of a client inside an instance."""

    uuid: str
    client: int
    came: int
    went: int

    @property
    def person(self) -> str:
        """Return who that is to us: the first client is a member in every room; the others are unknown."""
        return MIA if self.client % MOVED == 100 else f"{self.uuid} user_id:{self.client}"


@dataclass(frozen=True)
class History:
    """What happened: the instances in order, who was inside, and every notification in order.

    The host is inside each instance from its beginning to its end.
    """

    runs: dict[str, tuple[int, int]]
    sessions: list[Session]
    notifications: list[Json]

    @property
    def counting(self) -> dict[str, tuple[int, int]]:
        """Return the instances that are no rehearsals."""
        return {uuid: (began, ended) for uuid, (began, ended) in self.runs.items() if ended >= 0}

    def running(self, minute: int) -> str | None:
        """Return the instance that is running in a minute."""
        return next((uuid for uuid, (began, ended) in self.runs.items() if began <= minute < ended), None)

    def expected_report(self) -> dict[str, tuple[int, float, datetime, datetime]]:
        """Return minutes, share, first join and last leave of everybody, counted minute by minute."""
        open_minutes = {minute for span in self.counting.values() for minute in range(*span)}
        scheduled = open_minutes & set(range(LENGTH)) or open_minutes
        minutes_inside: dict[str, set[int]] = {}
        for session in self.sessions:
            if session.uuid in self.counting:
                minutes_inside.setdefault(session.person, set()).update(range(session.came, session.went))
        return {
            who: (
                len(minutes),
                round(len(minutes & scheduled) / len(scheduled), 4),
                at(min(minutes)),
                at(max(minutes) + 1),
            )
            for who, minutes in minutes_inside.items()
        }


@st.composite
def histories(draw: st.DrawFn) -> History:
    """A meeting with one or more instances, of which the first may be a rehearsal.

    The member moves from room to room, and has another `user_id` each time.
    """
    notifications: list[Json] = []
    spans: dict[str, tuple[int, int]] = {}
    sessions: list[Session] = []
    minute = draw(st.integers(-120, 10))
    for number in range(draw(st.integers(1, 3))):
        uuid = f"instance-{number}=="
        last = minute + draw(st.integers(4, 60))
        spans[uuid] = (minute, last)
        instance = {"uuid": uuid, "start_time": stamp(minute)}
        notifications.append(notification("started", minute, instance))
        notifications.append(participant("joined", minute, instance, {"user_id": HOSTS_CLIENT}, numbered=True))
        sessions.append(Session(uuid, HOSTS_CLIENT, minute, last))
        for client in (100, 101)[: draw(st.integers(0, 2))]:
            came = minute + draw(st.integers(0, (last - minute) // 2))
            numbered = draw(st.booleans())
            person: Json = {"user_id": client, "user_name": draw(st.sampled_from(["Mia", "Max", ""]))}
            person |= {"email": MAIL, "participant_uuid": f"connection-{number}"} if client == 100 else {}
            if draw(st.booleans()):
                notifications.append(participant("joined_waiting_room", came, instance, person, numbered))
            notifications.append(participant("joined", came + 1, instance, person, draw(st.booleans())))
            entered = came + 1
            moves = draw(st.lists(st.integers(came + 2, last), max_size=3, unique=True))
            for moved in sorted(moves if client == 100 else ()):
                notifications.append(participant("left", moved, instance, person, draw(st.booleans())))
                sessions.append(Session(uuid, person["user_id"], entered, moved))
                person = person | {"user_id": person["user_id"] + MOVED}
                entered = moved
                notifications.append(participant("joined", moved, instance, person, draw(st.booleans())))
            left = entered < last and draw(st.booleans())
            if left:
                went = entered + 1
                notifications.append(
                    participant("left", went, instance, person | {"registrant_id": "r-1"}, draw(st.booleans()))
                )
            sessions.append(Session(uuid, person["user_id"], entered, went if left else last))
        # Zoom's schema does not promise that an end notification contains the start.
        about = instance if draw(st.booleans()) else {"uuid": uuid}
        notifications.append(notification("ended", last, about | {"end_time": stamp(last)}))
        minute = last + draw(st.integers(1, 20))
    return History(spans, sessions, notifications)


def notification(kind: str, minute: int, about: Json) -> Json:
    """Return a notification about an instance; the meeting's number is text or a number, as at Zoom."""
    return {
        "event": f"meeting.{kind}",
        "event_ts": int(at(minute).timestamp() * 1000) + len(kind) % 2,
        "about": about,
        "minute": minute,
    }


def participant(kind: str, minute: int, instance: Json, person: Json, numbered: bool) -> Json:
    """Return a notification about a client, with the time in one of Zoom's formats."""
    names = {"joined": "join_time", "left": "leave_time", "joined_waiting_room": "date_time"}
    about = instance | {"participant": person | {names[kind]: stamp(minute)}, "numbered": numbered}
    return notification(f"participant_{kind}", minute, about)


@pytest.fixture
async def harness(database_url: str) -> AsyncIterator[InboxHarness]:
    """A connected account with a host, without a worker."""
    async with open_harness(database_url, [], JOBS.subscriptions) as harness:
        await harness.query("INSERT INTO communities (id, slug) VALUES ($1, $1)", COMMUNITY)
        await harness.query(
            "INSERT INTO accounts (id, community_id, zoom_account_id, zoom_user_id, status, connected_by, connected_at)"
            " VALUES ($1, $2, 'riverside', 'owner', 'connected', 'ann', $3)",
            ACCOUNT, COMMUNITY, NOW,
        )  # fmt: skip
        await harness.query(
            "INSERT INTO hosts (id, account_id, zoom_user_id, licensed, listed) VALUES ($1, $2, 'host-1', true, true)",
            HOST, ACCOUNT,
        )  # fmt: skip
        harness.clock.time = NOW + timedelta(days=1)
        yield harness


async def create_event(harness: InboxHarness, number: int) -> UUID:
    """Insert an event whose meeting has this number."""
    event_id = uuid4()
    await harness.query(
        "INSERT INTO events (id, community_id, kind, title, starts_at, ends_at, timezone, is_virtual, delivery_mode,"
        " host_id, created_by, created_at, updated_at)"
        " VALUES ($1, $2, 'community_event', 'Open evening', $3, $4, 'UTC', true, 'zoom', $5, 'ann', $3, $3)",
        event_id, COMMUNITY, STARTS, at(LENGTH), HOST,
    )  # fmt: skip
    await harness.query(
        "INSERT INTO meetings (id, event_id, account_id, host_id, state, zoom_meeting_id, marker, created_at)"
        " VALUES ($1, $1, $2, $3, 'scheduled', $4, 'kindryn:x', $5)",
        event_id, ACCOUNT, HOST, number, STARTS,
    )  # fmt: skip
    await harness.query(
        "INSERT INTO registrations (id, event_id, member_id, email, email_verified, name, rsvp, join_link, created_at,"
        " updated_at) VALUES ($1, $1, $2, $3, true, 'Mia', 'going', $4, $5, $5)",
        event_id, MIA, MAIL, str(number), STARTS,
    )  # fmt: skip
    return event_id


async def replay(harness: InboxHarness, number: int, history: History, dice: random.Random, *, lost: float = 0) -> UUID:
    """Handle the notifications of a history for a new event, and return the event.

    `number` is that of its meeting. A share of the notifications is `lost`, some come twice, and each has a delay. If
    some are lost, the meeting is read a few times, and the report is fetched in the end.
    """
    event_id = await create_event(harness, number)
    notifications = [each for each in history.notifications if dice.random() >= lost]
    notifications += dice.choices(notifications, k=2) if notifications else []
    received = [each["minute"] + dice.choice(DELAYS) + dice.random() / 2 for each in notifications]
    ids = await store_deliveries(harness, number, notifications, received)
    count = itertools.count()
    due = [(minute, next(count), one, id_) for minute, one, id_ in zip(received, notifications, ids, strict=True)]
    if lost:
        first = history.notifications[0]["minute"]
        last = history.notifications[-1]["minute"]
        poll_minutes = [*(dice.randint(first, last) for _ in range(2)), last + 16]
        due += [(minute, next(count), {"event": "asked"}, event_id) for minute in poll_minutes]
        due.append((last + dice.randint(17, 120), next(count), {"event": "reported"}, event_id))
    heapq.heapify(due)
    while due:
        minute, _, one, id_ = heapq.heappop(due)
        harness.clock.time = at(minute)
        try:
            if one["event"] == "asked":
                await poll_zoom(harness, number, history, int(minute), id_)
            elif one["event"] == "reported":
                await fetch_report(harness, number, history, id_)
            else:
                handler = handle_participant if "participant_" in one["event"] else handle_instance
                await handler(ImmediateJob(harness.resources, str(id_)))
        except RetryLater as retry:
            again_at = retry.retry_at or harness.clock.time
            heapq.heappush(due, ((again_at - STARTS) / timedelta(minutes=1), next(count), one, id_))
    return event_id


async def poll_zoom(harness: InboxHarness, number: int, history: History, minute: int, event_id: UUID) -> None:
    """Read the meeting in some minute, as the periodic job does."""
    running = history.running(minute)
    answer = Answer(
        id=number,
        status="started" if running else "waiting",
        uuid=f"{number}/{running}" if running else "between-two-instances==",
    )
    async with harness.resources.db.transaction() as tx:
        await drift.reconcile_instances(tx, await tx.session.get_one(Meeting, event_id), answer, at(minute))


async def fetch_report(harness: InboxHarness, number: int, history: History, event_id: UUID) -> None:
    """Store Zoom's report of who was inside, and the times of instances of which nothing was known."""
    known = await harness.query(
        "SELECT split_part(uuid, '/', 2) AS uuid FROM instances WHERE meeting_id = $1", event_id
    )
    async with harness.resources.db.transaction() as tx:
        meeting = await tx.session.get_one(Meeting, event_id)
        for uuid in history.runs.keys() - {row["uuid"] for row in known}:
            began, ended = map(at, history.runs[uuid])
            await instance_store.store(tx, meeting, f"{number}/{uuid}", InstanceTimes(began, ended, inferred=True))
        for uuid in history.runs:
            rows = [
                ReportedParticipant(
                    join_time=at(session.came),
                    leave_time=at(session.went),
                    duration=(session.went - session.came) * 60,
                    user_id=session.client,
                    user_email=MAIL if session.person == MIA else "",
                )
                for session in history.sessions
                if session.uuid == uuid
            ]
            await service.store_report(tx, event_id, f"{number}/{uuid}", rows)


async def store_deliveries(
    harness: InboxHarness, number: int, notifications: Sequence[Json], received: Sequence[float]
) -> list[UUID]:
    """Store deliveries in the inbox, each received in its minute."""
    ids = [uuid4() for _ in notifications]
    encryption = harness.resources.encryption
    bodies = [
        encryption.encrypt(body(number, each), f"deliveries.body:{id_}")
        for id_, each in zip(ids, notifications, strict=True)
    ]
    await harness.query(
        "INSERT INTO deliveries (id, digest, kind, zoom_account_id, body, received_at)"
        " SELECT id, decode(id::text, 'escape'), 'any', 'riverside', body, received_at"
        " FROM unnest($1::uuid[], $2::bytea[], $3::timestamptz[]) AS delivery (id, body, received_at)",
        ids, bodies, [at(minute) for minute in received],
    )  # fmt: skip
    return ids


def body(number: int, message: Json) -> bytes:
    """Return the body that Zoom posts."""
    about = {name: value for name, value in message["about"].items() if name != "numbered"}
    about |= {"host_id": "host-1", "uuid": f"{number}/{about['uuid']}"}
    if message["about"].get("numbered", True):
        about["id"] = str(number) if message["event_ts"] % 2 else number
    payload = {"account_id": "riverside", "object": about}
    return json.dumps({"event": message["event"], "event_ts": message["event_ts"], "payload": payload}).encode()


async def stored_rows(harness: InboxHarness, event_id: UUID) -> dict[str, list[Json]]:
    """Return everything the database stores about the event."""
    found = {table: await harness.query(asked, event_id) for table, asked in KEPT.items()}
    return {table: [dict(row) for row in rows] for table, rows in found.items()}


def expected(history: History) -> dict[str, list[Json]]:
    """Return what the database should store if no notification is lost."""
    sessions: dict[tuple[str, str], Json] = {}
    kinds = {"joined": "joins", "left": "leaves", "joined_waiting_room": "waits"}
    for one in history.notifications:
        kind = one["event"].rpartition("participant_")[2]
        person = one["about"].get("participant")
        if person:
            key = (one["about"]["uuid"], f"user_id:{person['user_id']}")
            session = sessions.setdefault(key, {name: set() for name in kinds.values()})
            session[kinds[kind]].add(at(one["minute"]))
            session |= {"name": person.get("user_name") or None, "email": person.get("email")}
            session["registrant_id"] = person.get("registrant_id") or session.get("registrant_id")
            session["participant_uuid"] = person.get("participant_uuid")
            sessions[key] = session
    ends = [ended for _, ended in history.counting.values()]
    return {
        "instances": [
            {"uuid": uuid, "started_at": at(began), "ended_at": at(ended), "end_inferred": False}
            for uuid, (began, ended) in sorted(history.runs.items())
        ],
        "participant_sessions": [
            {"uuid": uuid, "connection": connection}
            | {name: sorted(value) if isinstance(value, set) else value for name, value in session.items()}
            for (uuid, connection), session in sorted(sessions.items())
        ],
        "events": [{"live_at": None, "ended_at": at(max(ends)) if ends else None}],
    }


async def attendance_report(
    harness: InboxHarness, event_id: UUID
) -> dict[str, tuple[int, float, datetime, datetime | None]]:
    """Return what the attendance report says about everybody, a day later."""
    harness.clock.time = NOW + timedelta(days=1)
    async with harness.resources.db.transaction() as tx:
        found = await report.build(tx, await tx.session.get_one(Event, event_id))
    people = {each.member_id: each.attendance for each in found.attendees}
    for each in found.unknown:
        people[f"{each.session.instance_uuid.partition('/')[2]} {each.session.connection}"] = each.attendance
    return {who: (was.minutes, was.shown_share, was.joined_at, was.left_at) for who, was in people.items()}


numbers = iter(range(81_000_000_000, 10**12))
many = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@given(history=histories(), seed=st.integers(0, 2**32))
@many
async def test_any_order_repetition_and_delay_ends_in_the_same_rows_and_the_same_report(
    harness: InboxHarness, history: History, seed: int
) -> None:
    event_id = await replay(harness, next(numbers), history, random.Random(seed))
    assert await stored_rows(harness, event_id) == expected(history)
    assert await attendance_report(harness, event_id) == history.expected_report()


@given(history=histories(), seed=st.integers(0, 2**32), lost=st.floats(0.1, 1))
@many
async def test_whatever_is_lost_the_sweep_and_zooms_report_make_the_report_whole(
    harness: InboxHarness, history: History, seed: int, lost: float
) -> None:
    event_id = await replay(harness, next(numbers), history, random.Random(seed), lost=lost)
    assert await attendance_report(harness, event_id) == history.expected_report()
    assert (await stored_rows(harness, event_id))["events"] == expected(history)["events"]
