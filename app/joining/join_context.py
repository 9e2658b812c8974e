"""Values that a decision about joining needs: member, answer, event, and the meeting at Zoom (pure)."""

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from app.events.models import status
from app.registrations.addresses import Address


@dataclass(frozen=True, slots=True)
class EventSnapshot:
    """The event. It exists in a context only if it is not deleted and its community is one of the member's."""

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
        """Return `scheduled`, `live`, `ended` or `cancelled` at `now`."""
        return status(
            cancelled=self.cancelled, live_at=self.live_at, ended_at=self.ended_at, ends_at=self.ends_at, now=now
        )


@dataclass(frozen=True, slots=True)
class RegistrationSnapshot:
    """The member's own registration.

    `join_link` is the one in their invitation. `email_verified` says whether Zoom may know them by their address.
    """

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
        """The address of the registration."""
        return Address(self.email, self.email_verified, self.email_entered_by)


@dataclass(frozen=True, slots=True)
class ZoomSnapshot:
    """The event's host account, its Zoom meeting, and the member's registrant there.

    Links are encrypted. `is_host`, `is_alternative`: the member is the host, or one of the alternative hosts; neither
    has a registrant. `protected`: only registrants get in. `registrant_link_blocked`: the member's link was revoked,
    and Zoom creates no other. `registrant_retry_at`: Zoom creates no link before that moment.
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
    """Everything a join decision looks at, as of one moment. `clicks` counts the member's clicks of the last minute."""

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
        """Whether Zoom counts the member's verified address among the hosts, while our data does not."""
        address_verified = self.registration is not None and self.registration.email_verified
        is_zoom_host = self.zoom is not None and self.zoom.registrant_state == "host"
        return address_verified and is_zoom_host and not (self.is_host or self.is_alternative)


@dataclass(frozen=True, slots=True)
class JoinLinkSnapshot:
    """A join link: its owner, its event, and the join context of the caller who used it."""

    event_id: UUID
    owner: str
    context: JoinContext


@dataclass(frozen=True, slots=True)
class TicketSnapshot:
    """A ticket as it was minted, and the join context of the member for whom it was minted."""

    event_id: UUID
    member_id: str
    purpose: str
    expires_at: datetime
    used: bool
    context: JoinContext
