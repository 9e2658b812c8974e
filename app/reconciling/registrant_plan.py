"""What is to become of the registrants of one meeting: the answers we know and Zoom's lists, to actions.

Pure. An address is one person to Zoom; addresses here are in lower case.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True)
class Listed:
    """A registrant as Zoom lists them. `since` tells whether they registered after the backup was made."""

    id: str
    email: str
    status: str
    since: bool
    has_link: bool = True


@dataclass(frozen=True)
class Record:
    """What we know of Zoom's record of an answer. `due` tells whether it is to be cancelled already."""

    state: str
    zoom_id: str | None
    due: bool = False


@dataclass(frozen=True)
class Answer:
    """An answer to the event, in the order they came: whether its address counts at Zoom, whether it `wants` to be
    registered there, and whether it is a guest's, who may share a registrant."""

    registration_id: UUID
    email: str
    wants: bool
    counts: bool = True
    is_guest: bool = False
    record: Record | None = None


@dataclass(frozen=True)
class Adopt:
    """Zoom has a registrant for somebody who is coming and has no link here: it is theirs."""

    registration_id: UUID
    registrant_id: str


@dataclass(frozen=True)
class TakeOff:
    """Zoom has a registrant for somebody who is not coming: it is cancelled."""

    registration_id: UUID
    registrant_id: str


@dataclass(frozen=True)
class AddAgain:
    """Zoom has no registrant any more for somebody who is coming: they are added again."""

    registration_id: UUID


@dataclass(frozen=True)
class TakenOff:
    """A host has denied somebody inside Zoom, who stays out."""

    registration_id: UUID


@dataclass(frozen=True)
class Remove:
    """A registrant whose answer is lost is taken away."""

    registrant_id: str


Action = Adopt | TakeOff | AddAgain | TakenOff | Remove
HERE = frozenset({"approved", "pending"})


def plan(listed: Sequence[Listed], answers: Sequence[Answer]) -> list[Action]:
    """What is to be done."""
    of_listed = [action for one in listed if one.status in HERE for action in _of_listed(one, answers)]
    return [*of_listed, *_of_missing(listed, answers)]


def _of_listed(one: Listed, answers: Sequence[Answer]) -> Iterator[Action]:
    theirs = [each for each in answers if _is_of(one, each)]
    coming = list(_who_share(each for each in theirs if each.wants and each.email == one.email))
    for each in coming:
        record = each.record
        if record is not None and (record.due or record.state == "denied"):
            continue
        if record is not None and record.state == "ready" and record.zoom_id == one.id and one.status == "approved":
            continue
        if one.status == "approved" and one.has_link:
            yield Adopt(each.registration_id, one.id)
    if coming:
        return
    if not theirs:
        if one.since:
            yield Remove(one.id)
        return
    last = next((each for each in theirs if each.record and each.record.zoom_id == one.id), theirs[0])
    known = last.record is not None and last.record.state in {"ready", "pending"} and last.record.zoom_id == one.id
    kept_out = last.record is not None and (last.record.due or last.record.state == "denied")
    # One that is known and not wanted is cancelled by its own job.
    if not known and not kept_out:
        yield TakeOff(last.registration_id, one.id)


def _is_of(one: Listed, answer: Answer) -> bool:
    had = answer.record is not None and answer.record.zoom_id == one.id
    return had or (answer.counts and answer.email == one.email)


def _who_share(coming: Iterator[Answer]) -> Iterator[Answer]:
    """Of the members who come under one address the first, or who has it already; and every guest."""
    everybody = list(coming)
    members = [each for each in everybody if not each.is_guest]
    first = next((each for each in members if each.record and each.record.state == "ready"), None)
    yield from [first] if first else members[:1]
    yield from (each for each in everybody if each.is_guest)


def _of_missing(listed: Sequence[Listed], answers: Sequence[Answer]) -> Iterator[Action]:
    """Of those who have a link and are coming, whom Zoom does not let in any more."""
    approved = [one for one in listed if one.status == "approved"]
    ids, emails = {one.id for one in approved}, {one.email for one in approved if one.has_link}
    denied = {one.id for one in listed if one.status == "denied"}
    for each in answers:
        record = each.record
        if record is None or record.state != "ready" or record.due or not each.wants or record.zoom_id in ids:
            continue
        if record.zoom_id in denied:
            yield TakenOff(each.registration_id)
        elif each.email not in emails:
            yield AddAgain(each.registration_id)
