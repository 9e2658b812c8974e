"""What the token of a member at the door says of an address they answered with before it was verified, or after."""

from uuid import UUID

from app import facts
from app.core import db
from app.core.identity import Caller
from app.events import service as events
from app.registrations import addresses, service
from app.registrations.addresses import Address


async def follow(tx: db.Tx, event_id: UUID, who: Caller) -> None:
    """Take over whether the address of the caller's answer is verified, where their token says otherwise than before;
    Zoom and their other answers follow."""
    event = await events.lock(tx, event_id)
    registration = await service.of_member(tx, event_id, who.member_id)
    told = addresses.told_by(Address.of(registration), who) if registration else None
    if event is None or registration is None or told is None:
        return
    told.keep(registration)
    registration.updated_at = tx.now
    await tx.session.flush()
    account_id = await service.account_of(tx, event)
    tx.record(facts.RegistrationChanged(registration.id, account_id, event.community_id))
    if await service.known_otherwise(tx, registration):
        tx.record(facts.AddressChanged(registration.id))
