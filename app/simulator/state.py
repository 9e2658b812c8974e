"""What Zoom stores: accounts, users, meetings, registrants, instances, and grants to the app."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from app.simulator.clock import zoom_time

Plan = Literal["free", "pro", "business"]
Role = Literal["owner", "admin", "member"]
Json = dict[str, Any]

BASIC = 1
LICENSED = 2
SCHEDULED = 2
NO_FIXED_TIME = 3
RECURRING = 8


@dataclass
class User:
    """A Zoom user. `type` is 1 basic, 2 licensed, 4 unassigned, 99 none.

    Only the first two may host meetings.
    """

    id: str
    account_id: str
    email: str
    first_name: str
    last_name: str
    type: int
    role: Role
    pmi: int
    created_at: datetime
    settings: dict[str, Json]
    status: str = "active"
    timezone: str = "Europe/Berlin"

    @property
    def name(self) -> str:
        """The name Zoom displays."""
        return f"{self.first_name} {self.last_name}".strip()


@dataclass
class Account:
    """A Zoom account. Its plan decides limits and which notifications exist."""

    id: str
    number: int
    name: str
    plan: Plan
    users: list[User] = field(default_factory=list)


@dataclass
class Participant:
    """One connection to one instance, in one of its rooms, from join to leave.

    `user_id` is unique only in the instance and changes at each room move. `participant_uuid` stays for the whole
    connection (contract 21). `waited_from` is when the participant entered the waiting room, if they did; they waited
    until the join. `breakout` is the breakout room, or None for the main room.
    """

    user_id: int
    name: str
    email: str
    join_time: datetime
    participant_uuid: str
    registrant_id: str | None = None
    participant_user_id: str = ""
    leave_time: datetime | None = None
    leave_reason: str | None = None
    waited_from: datetime | None = None
    breakout: str | None = None


@dataclass
class RecordingFile:
    """One file of a recording, with `size` in bytes."""

    id: str
    file_type: str
    size: int
    starts_at: datetime
    ends_at: datetime


@dataclass
class Recording:
    """The cloud recording of an instance, and the secrets that open it to people."""

    share_url: str
    password: str
    play_passcode: str
    files: list[RecordingFile] = field(default_factory=list)


@dataclass
class Instance:
    """One instance of a meeting."""

    uuid: str
    started_at: datetime
    participants: list[Participant] = field(default_factory=list)
    waiting: list[Participant] = field(default_factory=list)
    ended_at: datetime | None = None
    recording: Recording | None = None


@dataclass
class Registrant:
    """Zoom's record of a person who registered. `tk` is the secret in the personal link."""

    id: str
    email: str
    first_name: str
    last_name: str
    status: Literal["approved", "pending", "denied", "cancelled"]
    created_at: datetime
    tk: str
    join_url: str
    pin: int
    profile: Json = field(default_factory=dict)


@dataclass
class Occurrence:
    """One dated occurrence of a recurring meeting."""

    id: str
    start_time: datetime
    duration: int
    status: Literal["available", "deleted"] = "available"


@dataclass
class Meeting:
    """A Zoom meeting as it is stored, which may differ from what the client sent."""

    id: int
    uuid: str
    host_id: str
    account_id: str
    base_url: str
    registration_key: str
    created_at: datetime
    timezone: str
    creation_source: Literal["open_api", "web_portal", "other"] = "open_api"
    type: int = SCHEDULED
    topic: str = "Zoom Meeting"
    agenda: str = ""
    start_time: datetime | None = None
    duration: int = 60
    password: str = ""
    pwd: str = ""
    pre_schedule: bool = False
    tracking_fields: list[Json] = field(default_factory=list)
    settings: Json = field(default_factory=dict)
    recurrence: Json | None = None
    occurrences: list[Occurrence] = field(default_factory=list)
    registrants: dict[str, Registrant] = field(default_factory=dict)
    instances: list[Instance] = field(default_factory=list)

    @property
    def running_instance(self) -> Instance | None:
        """The instance that is running now."""
        return next((instance for instance in self.instances if instance.ended_at is None), None)

    @property
    def requires_registration(self) -> bool:
        """Whether people must register."""
        return bool(self.settings.get("approval_type", 2) != 2)

    @property
    def join_url(self) -> str:
        """The link that belongs to no person. With registration on, it leads to the registration form."""
        return f"{self.base_url}/j/{self.id}" + (f"?pwd={self.pwd}" if self.pwd else "")

    @property
    def registration_url(self) -> str:
        """The page where strangers register."""
        return f"{self.base_url}/meeting/register/{self.registration_key}"

    def occurrence_list(self) -> list[Json]:
        """Return the occurrences as the API and notifications write them."""
        return [
            {"occurrence_id": o.id, "start_time": zoom_time(o.start_time), "duration": o.duration, "status": o.status}
            for o in self.occurrences
        ]

    def is_over(self, now: datetime) -> bool:
        """Return whether the last planned occurrence is over, so that nobody can register any more."""
        last = self._last_end()
        return last is not None and last < now and self.running_instance is None

    def is_expired(self, now: datetime) -> bool:
        """Return whether Zoom has forgotten the number.

        It does so thirty days after the last planned occurrence (contract 5.2).
        """
        last = self._last_end()
        return last is not None and last + timedelta(days=30) < now and self.running_instance is None

    def _last_end(self) -> datetime | None:
        ends = [o.start_time + timedelta(minutes=o.duration) for o in self.occurrences if o.status == "available"]
        if self.type == SCHEDULED and self.start_time is not None:
            ends = [self.start_time + timedelta(minutes=self.duration)]
        return max(ends, default=None)


@dataclass
class Grant:
    """What one person granted the app: scopes, one valid refresh token, and access tokens."""

    user_id: str
    account_id: str
    scopes: tuple[str, ...]
    created_at: datetime
    access_tokens: dict[str, datetime] = field(default_factory=dict)
    refresh_token: str = ""
    refresh_expires: datetime | None = None
    rotated: dict[str, datetime] = field(default_factory=dict)
    alive: bool = True


@dataclass
class ZoomState:
    """The state of one simulated Zoom."""

    accounts: dict[str, Account] = field(default_factory=dict)
    meetings: dict[int, Meeting] = field(default_factory=dict)
    deleted: dict[int, Meeting] = field(default_factory=dict)
    grants: list[Grant] = field(default_factory=list)
    serial: int = 0

    def next_serial(self) -> int:
        """Return the next serial number."""
        self.serial += 1
        return self.serial

    def users(self) -> Iterator[User]:
        """Yield every user of every account."""
        for account in self.accounts.values():
            yield from account.users

    def user(self, key: str) -> User | None:
        """Return a user by id or e-mail address."""
        return next((user for user in self.users() if key == user.id or key.lower() == user.email.lower()), None)

    def host(self, meeting: Meeting) -> User:
        """Return the owner of a meeting."""
        return next(user for user in self.users() if user.id == meeting.host_id)
