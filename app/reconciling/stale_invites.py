"""Calendars that may show what the database has lost.

What a member may hold is not known any more. So it is written down as a mail whose fate is unknown, which is sent again
as the event is now, or as an invite that is to be taken back; its SEQUENCE was raised before.
"""

from sqlalchemy import select

from app import commands
from app.core import db
from app.events.models import Event
from app.invitations import invite_state
from app.registrations.models import Registration


async def resend_to_event(tx: db.Tx, event: Event) -> None:
    """An event, or its time, may stand otherwise in the calendars of all who were invited."""
    invited = select(Registration).where(Registration.event_id == event.id, Registration.invite.is_not(None))
    for registration in await tx.session.scalars(invited.order_by(Registration.id).with_for_update()):
        if invite_state.is_coming(registration) and (registration.invite or {}).get("method") == "REQUEST":
            resend(tx, registration, event)


def resend(tx: db.Tx, registration: Registration, event: Event) -> None:
    """What a member holds may have been taken back, or changed, since: it is mailed again."""
    registration.invite_sent_at = None
    tx.record(commands.SendInvite(registration.id, event.community_id))


def withdraw(tx: db.Tx, registration: Registration, event: Event) -> None:
    """A member who is not coming may have been invited since: that is taken back."""
    last_invite = registration.invite
    if last_invite is None or last_invite["method"] == "CANCEL":
        registration.invite_before, registration.invite = last_invite, invite_state.request_state(event, registration)
        registration.invite_sent_at, registration.invite_error = tx.now, None
    tx.record(commands.SendInvite(registration.id, event.community_id))
