"""Which host an admin or coach is offered first, and why one cannot be had (pure)."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from app.accounts import warnings
from app.accounts.warnings import Warned


@dataclass(frozen=True)
class Candidate:
    """A host as the picker weighs it. `capacity` counts people, None where Zoom has not said; `budget_left` counts the
    meetings that can still be made or changed today; `mine`: this host is the caller. `length` and `people` are the
    event's, None where nobody has said."""

    host_id: UUID
    account_id: UUID
    name: str
    email: str
    licensed: bool
    capacity: int | None
    member_id: str | None
    connected: bool
    busy: bool
    budget_left: int
    mine: bool
    length: timedelta | None = None
    people: int | None = None

    @property
    def available(self) -> bool:
        """Whether an event at that time can be given this host. A spent budget only delays the meeting."""
        return self.connected and not self.busy

    @property
    def can_register(self) -> bool:
        """Whether members get personal links: Zoom takes registrants for meetings of licensed users only."""
        return self.licensed

    @property
    def warnings(self) -> list[Warned]:
        """What an event does not get from this host, which can be had for it all the same."""
        spent = [warnings.used_up()] if self.budget_left <= 0 else []
        return spent + warnings.of_host(
            licensed=self.licensed, capacity=self.capacity, length=self.length, people=self.people
        )

    @property
    def reason(self) -> str | None:
        """What speaks against this host, the worst first, as one sentence."""
        if not self.connected:
            return "This Zoom account must be connected again."
        if self.busy:
            return "This host is busy at that time."
        return next((warned.detail for warned in self.warnings), None)


def in_order(candidates: Iterable[Candidate]) -> list[Candidate]:
    """The best first: available, the caller's own, licensed, roomy enough, with budget, and by name within those."""
    return sorted(
        candidates,
        key=lambda host: (
            not host.available,
            not host.mine,
            not host.licensed,
            warnings.too_small(host.capacity, host.people),
            host.budget_left <= 0,
            host.name.casefold(),
            host.host_id,
        ),
    )
