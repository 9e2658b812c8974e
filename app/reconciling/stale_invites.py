"""Mails invites again, or withdraws them, where calendars may show what the restored database has lost.

After a restore we do not know which invite a member last got. So the invite is stored as one that was never delivered,
and mailed again as the event is now, or it is withdrawn. Its SEQUENCE was raised before, so calendars accept it.
"""

from sqlalchemy import select

from app import commands
from app.core import database
from app.events.models import Event
from app.invitations import invite_state
from app.registrations.models import Registration


async def resend_to_event(tx: database.Tx, event: Event) -> None:
    """Mail the invite again to everybody who was invited: their calendars may show another time."""
    invited = select(Registration).where(Registration.event_id == event.id, Registration.invite.is_not(None))
    for registration in await tx.session.scalars(invited.order_by(Registration.id).with_for_update()):
        if invite_state.is_coming(registration) and (registration.invite or {}).get("method") == "REQUEST":
            resend(tx, registration, event)


def resend(tx: database.Tx, registration: Registration, event: Event) -> None:
    """Mail the invite again: it may have been withdrawn or changed after the backup."""
    registration.invite_sent_at = None
    tx.record(commands.SendInvite(registration.id, event.community_id))


def withdraw(tx: database.Tx, registration: Registration, event: Event) -> None:
    """Withdraw an invite that a member who is not coming may have got after the backup."""
    last_invite = registration.invite
    if last_invite is None or last_invite["method"] == "CANCEL":
        registration.invite_before = last_invite
        registration.invite = invite_state.request_state(event, registration)
        registration.invite_sent_at = tx.now
        registration.invite_error = None
    tx.record(commands.SendInvite(registration.id, event.community_id))
