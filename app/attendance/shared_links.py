"""Personal links that two clients used at once: passed on perhaps, or one person's second device."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from sqlalchemy import and_, func, select

from app.attendance.participants import Participant
from app.attendance.sessions import Session, overlaps
from app.attendance.zoom_report import BREAKOUT_PREFIX
from app.core import database
from app.registrants.models import Registrant, RevokedLink
from app.registrations.models import Registration


@dataclass(frozen=True)
class RegistrantLink:
    """The owner of a link, their registrant's state now, and when a link of theirs was last revoked.

    `member_id` is None if two people share the registrant and the link may be either's.
    """

    member_id: str | None
    state: str
    reason: str | None
    revoked_at: datetime | None


@dataclass(frozen=True)
class SharedLink:
    """A link, the two sessions that used it, their display names, and how long both were inside.

    `revoked_at` is when the link was revoked, if that was after the two came.
    """

    member_id: str | None
    session_ids: tuple[UUID, UUID]
    names: tuple[str | None, str | None]
    begins_at: datetime
    ends_at: datetime
    revoked_at: datetime | None
    registrant_state: str | None
    registrant_reason: str | None


async def registrant_links(tx: database.Tx, event_id: UUID) -> Mapping[str, RegistrantLink]:
    """Return every registrant of an event by each id Zoom ever gave it.

    A member and a guest with the same address share one registrant. It belongs to the one who is still coming, if only
    one is.
    """
    last_revoked = (
        select(func.max(RevokedLink.revoked_at)).where(RevokedLink.registrant_id == Registrant.id).scalar_subquery()
    )
    rows = await tx.session.execute(
        select(Registration.member_id, Registrant.state, Registrant.reason, last_revoked)
        .add_columns(Registrant.zoom_registrant_id, Registrant.former_ids)
        .add_columns(and_(Registration.rsvp == "going", Registration.waiting_since.is_(None)))
        .join(Registrant, Registrant.registration_id == Registration.id)
        .where(Registration.event_id == event_id)
        .order_by(Registrant.id)
    )
    owners: dict[str, list[tuple[bool, RegistrantLink]]] = {}
    for *link, current_id, former_ids, coming in rows:
        for registrant_id in {current_id, *former_ids} - {None}:
            owners.setdefault(registrant_id, []).append((coming, RegistrantLink(*link)))
    return {registrant_id: _single_owner(theirs) for registrant_id, theirs in owners.items()}


def _single_owner(owners: Sequence[tuple[bool, RegistrantLink]]) -> RegistrantLink:
    """Return the link of its only owner, or of the only one who is still coming; otherwise without an owner."""
    fitting = [link for coming, link in owners if coming] or [link for _, link in owners]
    return fitting[0] if len({link.member_id for link in fitting}) == 1 else replace(fitting[0], member_id=None)


def find_shared_links(
    participants: Iterable[Participant], sessions: Mapping[UUID, Sequence[Session]], links: Mapping[str, RegistrantLink]
) -> list[SharedLink]:
    """Return the links that two clients used at once, by link and then by time."""
    by_link: dict[str, dict[UUID, Participant]] = {}
    for each in participants:
        if each.registrant_id and not each.connection.startswith(BREAKOUT_PREFIX):
            by_link.setdefault(each.registrant_id, {})[each.id] = each
    found = []
    for registrant_id, link_participants in sorted(by_link.items()):
        link = links.get(registrant_id)
        for overlap in overlaps(session for session_id in link_participants for session in sessions[session_id]):
            revoked_at = link.revoked_at if link and link.revoked_at and link.revoked_at >= overlap.start else None
            found.append(
                SharedLink(
                    member_id=link.member_id if link else None,
                    session_ids=(overlap.one, overlap.other),
                    names=(link_participants[overlap.one].name, link_participants[overlap.other].name),
                    begins_at=overlap.start,
                    ends_at=overlap.end,
                    revoked_at=revoked_at,
                    registrant_state=link.state if link else None,
                    registrant_reason=link.reason if link else None,
                )
            )
    return found
