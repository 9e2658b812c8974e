"""Plan what to do with the registrants of one meeting after a restore. Pure.

The plan compares the answers we know with Zoom's lists. To Zoom an address is one person. Addresses are in lower case
here.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True)
class ListedRegistrant:
    """A registrant in one of Zoom's lists. `is_new` tells whether they registered after the backup."""

    id: str
    email: str
    status: str
    is_new: bool
    has_link: bool = True


@dataclass(frozen=True)
class KnownRegistrant:
    """Our record of a registrant. `cancel_due` tells whether a job will cancel it already."""

    state: str
    zoom_id: str | None
    cancel_due: bool = False


@dataclass(frozen=True)
class Rsvp:
    """An answer to the event.

    `should_be_registered` tells whether the event needs a registrant for it, `email_verified` whether its address
    identifies a person at Zoom. A guest (`is_guest`) may share a registrant with somebody else.
    """

    registration_id: UUID
    email: str
    should_be_registered: bool
    email_verified: bool = True
    is_guest: bool = False
    record: KnownRegistrant | None = None


@dataclass(frozen=True)
class Adopt:
    """Give the registrant at Zoom to a registration that is coming and has no link here."""

    registration_id: UUID
    registrant_id: str


@dataclass(frozen=True)
class CancelRegistrant:
    """Cancel the registrant of somebody who is not coming."""

    registration_id: UUID
    registrant_id: str


@dataclass(frozen=True)
class AddAgain:
    """Add somebody again who is coming and whom Zoom no longer has as a registrant."""

    registration_id: UUID


@dataclass(frozen=True)
class MarkDenied:
    """Store that a host denied somebody inside Zoom, so that they are not added again."""

    registration_id: UUID


@dataclass(frozen=True)
class RemoveStray:
    """Remove a registrant whose answer is lost."""

    registrant_id: str


Action = Adopt | CancelRegistrant | AddAgain | MarkDenied | RemoveStray
PRESENT_STATUSES = frozenset({"approved", "pending"})


def plan(listed: Sequence[ListedRegistrant], rsvps: Sequence[Rsvp]) -> list[Action]:
    """Return what to do with the meeting's registrants. `rsvps` are in the order in which the answers came."""
    for_listed = [action for one in listed if one.status in PRESENT_STATUSES for action in _plan_listed(one, rsvps)]
    return [*for_listed, *_plan_missing(listed, rsvps)]


def _plan_listed(one: ListedRegistrant, rsvps: Sequence[Rsvp]) -> Iterator[Action]:
    """Yield the actions for one registrant that Zoom has."""
    matching = [each for each in rsvps if _belongs_to(one, each)]
    coming = list(_sharing(each for each in matching if each.should_be_registered and each.email == one.email))
    for each in coming:
        record = each.record
        if record is not None and (record.cancel_due or record.state == "denied"):
            continue
        if record is not None and record.state == "ready" and record.zoom_id == one.id and one.status == "approved":
            continue
        if one.status == "approved" and one.has_link:
            yield Adopt(each.registration_id, one.id)
    if coming:
        return
    if not matching:
        if one.is_new:
            yield RemoveStray(one.id)
        return
    last = next((each for each in matching if each.record and each.record.zoom_id == one.id), matching[0])
    known = last.record is not None and last.record.state in {"ready", "pending"} and last.record.zoom_id == one.id
    kept_out = last.record is not None and (last.record.cancel_due or last.record.state == "denied")
    # If our record says that the registrant is in, the job of the registration cancels it.
    if not known and not kept_out:
        yield CancelRegistrant(last.registration_id, one.id)


def _belongs_to(one: ListedRegistrant, rsvp: Rsvp) -> bool:
    """Return whether the registrant is that of the answer, by its id or by a verified address."""
    linked = rsvp.record is not None and rsvp.record.zoom_id == one.id
    return linked or (rsvp.email_verified and rsvp.email == one.email)


def _sharing(coming: Iterator[Rsvp]) -> Iterator[Rsvp]:
    """Yield the answers that may use one registrant: one member, and every guest.

    The member is the one who already has the registrant, else the first.
    """
    rsvps = list(coming)
    members = [each for each in rsvps if not each.is_guest]
    first = next((each for each in members if each.record and each.record.state == "ready"), None)
    yield from [first] if first else members[:1]
    yield from (each for each in rsvps if each.is_guest)


def _plan_missing(listed: Sequence[ListedRegistrant], rsvps: Sequence[Rsvp]) -> Iterator[Action]:
    """Yield the actions for members who are coming and whose link Zoom does not accept any more."""
    approved = [one for one in listed if one.status == "approved"]
    ids = {one.id for one in approved}
    emails = {one.email for one in approved if one.has_link}
    denied = {one.id for one in listed if one.status == "denied"}
    for each in rsvps:
        record = each.record
        if (
            record is None
            or record.state != "ready"
            or record.cancel_due
            or not each.should_be_registered
            or record.zoom_id in ids
        ):
            continue
        if record.zoom_id in denied:
            yield MarkDenied(each.registration_id)
        elif each.email not in emails:
            yield AddAgain(each.registration_id)
