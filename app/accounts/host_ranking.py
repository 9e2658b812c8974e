"""Ranks the hosts that one can choose for an event, with each one's warnings or why it is unavailable (pure)."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from app.accounts import host_warnings
from app.accounts.host_warnings import WarningItem


@dataclass(frozen=True)
class Candidate:
    """A host as the picker sees it.

    `capacity` counts people; None if Zoom has not reported it. `quota_left` counts the meetings that can still be
    created or changed today. `is_own`: this host is the caller. `duration` and `people` are the event's; None if
    unknown.
    """

    host_id: UUID
    account_id: UUID
    name: str
    email: str
    licensed: bool
    capacity: int | None
    member_id: str | None
    connected: bool
    busy: bool
    quota_left: int
    is_own: bool
    duration: timedelta | None = None
    people: int | None = None

    @property
    def available(self) -> bool:
        """Whether an event at that time can have this host. A used-up daily limit only delays the meeting."""
        return self.connected and not self.busy

    @property
    def can_register(self) -> bool:
        """Whether members get personal links: Zoom takes registrants only for meetings of licensed users."""
        return self.licensed

    @property
    def warnings(self) -> list[WarningItem]:
        """What an event does not get from this host, although it can have the host."""
        exhausted = [host_warnings.quota_exhausted()] if self.quota_left <= 0 else []
        return exhausted + host_warnings.for_host(
            licensed=self.licensed, capacity=self.capacity, duration=self.duration, people=self.people
        )

    @property
    def reason(self) -> str | None:
        """The worst thing that speaks against this host, as one sentence; None if there is nothing."""
        if not self.connected:
            return "This Zoom account must be connected again."
        if self.busy:
            return "This host is busy at that time."
        return next((warned.detail for warned in self.warnings), None)


def ranked(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Sort hosts, the best first.

    The criteria in order: available, the caller's own, licensed, large enough, daily limit left, name.
    """
    return sorted(
        candidates,
        key=lambda host: (
            not host.available,
            not host.is_own,
            not host.licensed,
            host_warnings.too_small(host.capacity, host.people),
            host.quota_left <= 0,
            host.name.casefold(),
            host.host_id,
        ),
    )
