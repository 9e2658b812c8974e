"""What a decision about joining rests on: the member, their answer, the event, and its meeting at Zoom (values)."""

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from app.events.models import status
from app.registrations.addresses import Address


@dataclass(frozen=True, slots=True)
class EventSnapshot:
    """The event, if it is one of the member's communities' and not deleted."""

    id: UUID
    community_id: str
    community_slug: str
    starts_at: datetime
    ends_at: datetime
    timezone: str
    on_zoom: bool
    cancelled: bool = False
    live_at: datetime | None = None
    ended_at: datetime | None = None

    def status(self, now: datetime) -> str:
        """`scheduled`, `live`, `ended` or `cancelled` at `now`."""
        return status(
            cancelled=self.cancelled, live_at=self.live_at, ended_at=self.ended_at, ends_at=self.ends_at, now=now
        )


@dataclass(frozen=True, slots=True)
class RegistrationSnapshot:
    """The member's own answer; `join_link` is what stands in their invite, `email_verified` says whether Zoom may know
    them by their address."""

    id: UUID
    rsvp: str
    join_link: str
    waiting: bool = False
    no_show: bool = False
    email: str = field(default="", repr=False)
    email_verified: bool = False
    email_entered_by: str | None = None
    locale: str = ""

    @property
    def address(self) -> Address:
        """The address they answered with."""
        return Address(self.email, self.email_verified, self.email_entered_by)


@dataclass(frozen=True, slots=True)
class ZoomSnapshot:
    """What stands behind the event at Zoom: its host's account, and the meeting there with the member's registrant.

    Links are sealed. `is_host`, `is_alternative`: the member is the host, or one of the alternative hosts; neither has
    a registrant. `protected`: only registrants get in. `registrant_link_blocked`: the member's link was taken back, and Zoom
    makes no other. `registrant_retry_at`: before that moment Zoom makes none.
    """

    account_id: UUID
    account_status: str
    host_id: UUID
    host_member_id: str | None = None
    is_alternative: bool = False
    meeting_id: UUID | None = None
    meeting_state: str | None = None
    zoom_meeting_id: int | None = None
    meeting_link: bytes | None = field(default=None, repr=False)
    registrant_id: UUID | None = None
    registrant_state: str | None = None
    registrant_reason: str | None = None
    registrant_retry_at: datetime | None = None
    registrant_link: bytes | None = field(default=None, repr=False)
    registrant_link_blocked: bool = False
    is_host: bool = False
    protected: bool = True


@dataclass(frozen=True, slots=True)
class JoinContext:
    """Everything the door looks at, as of one moment. `clicks` counts the member's of the last minute."""

    member_id: str
    clicks: int = 0
    event: EventSnapshot | None = None
    registration: RegistrationSnapshot | None = None
    zoom: ZoomSnapshot | None = None

    @property
    def is_host(self) -> bool:
        """Whether the member is the host."""
        return self.zoom is not None and (self.zoom.is_host or self.zoom.host_member_id == self.member_id)

    @property
    def is_alternative(self) -> bool:
        """Whether the member is an alternative host."""
        return self.zoom is not None and self.zoom.is_alternative and not self.is_host

    @property
    def hosts_at_zoom_only(self) -> bool:
        """Whether Zoom counts the member's address among the hosts, and we do not."""
        address_verified = self.registration is not None and self.registration.email_verified
        is_zoom_host = self.zoom is not None and self.zoom.registrant_state == "host"
        return address_verified and is_zoom_host and not (self.is_host or self.is_alternative)


@dataclass(frozen=True, slots=True)
class JoinLinkSnapshot:
    """A join link: whose it is, for which event, and the situation of whoever came with it."""

    event_id: UUID
    owner: str
    context: JoinContext


@dataclass(frozen=True, slots=True)
class TicketSnapshot:
    """A ticket as it was minted, and the situation of the member it was minted for."""

    event_id: UUID
    member_id: str
    purpose: str
    expires_at: datetime
    used: bool
    context: JoinContext
