"""What is to become of the registrants of one meeting: the answers we know and Zoom's lists, to actions.

Pure. An address is one person to Zoom; addresses here are in lower case.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True)
class ListedRegistrant:
    """A registrant as Zoom lists them. `is_new` tells whether they registered after the backup was made."""

    id: str
    email: str
    status: str
    is_new: bool
    has_link: bool = True


@dataclass(frozen=True)
class KnownRegistrant:
    """What we know of Zoom's record of an answer. `cancel_due` tells whether it is to be cancelled already."""

    state: str
    zoom_id: str | None
    cancel_due: bool = False


@dataclass(frozen=True)
class Rsvp:
    """An answer to the event, in the order they came: whether its address counts at Zoom, whether it `wants` to be
    registered there, and whether it is a guest's, who may share a registrant."""

    registration_id: UUID
    email: str
    should_be_registered: bool
    email_verified: bool = True
    is_guest: bool = False
    record: KnownRegistrant | None = None


@dataclass(frozen=True)
class Adopt:
    """Zoom has a registrant for somebody who is coming and has no link here: it is theirs."""

    registration_id: UUID
    registrant_id: str


@dataclass(frozen=True)
class CancelRegistrant:
    """Zoom has a registrant for somebody who is not coming: it is cancelled."""

    registration_id: UUID
    registrant_id: str


@dataclass(frozen=True)
class AddAgain:
    """Zoom has no registrant any more for somebody who is coming: they are added again."""

    registration_id: UUID


@dataclass(frozen=True)
class MarkDenied:
    """A host has denied somebody inside Zoom, who stays out."""

    registration_id: UUID


@dataclass(frozen=True)
class RemoveStray:
    """A registrant whose answer is lost is taken away."""

    registrant_id: str


Action = Adopt | CancelRegistrant | AddAgain | MarkDenied | RemoveStray
PRESENT_STATUSES = frozenset({"approved", "pending"})


def plan(listed: Sequence[ListedRegistrant], rsvps: Sequence[Rsvp]) -> list[Action]:
    """What is to be done."""
    for_listed = [action for one in listed if one.status in PRESENT_STATUSES for action in _plan_listed(one, rsvps)]
    return [*for_listed, *_plan_missing(listed, rsvps)]


def _plan_listed(one: ListedRegistrant, rsvps: Sequence[Rsvp]) -> Iterator[Action]:
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
    # One that is known and not wanted is cancelled by its own job.
    if not known and not kept_out:
        yield CancelRegistrant(last.registration_id, one.id)


def _belongs_to(one: ListedRegistrant, rsvp: Rsvp) -> bool:
    linked = rsvp.record is not None and rsvp.record.zoom_id == one.id
    return linked or (rsvp.email_verified and rsvp.email == one.email)


def _sharing(coming: Iterator[Rsvp]) -> Iterator[Rsvp]:
    """Of the members who come under one address the first, or who has it already; and every guest."""
    rsvps = list(coming)
    members = [each for each in rsvps if not each.is_guest]
    first = next((each for each in members if each.record and each.record.state == "ready"), None)
    yield from [first] if first else members[:1]
    yield from (each for each in rsvps if each.is_guest)


def _plan_missing(listed: Sequence[ListedRegistrant], rsvps: Sequence[Rsvp]) -> Iterator[Action]:
    """Of those who have a link and are coming, whom Zoom does not let in any more."""
    approved = [one for one in listed if one.status == "approved"]
    ids, emails = {one.id for one in approved}, {one.email for one in approved if one.has_link}
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
