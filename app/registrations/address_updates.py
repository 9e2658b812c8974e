"""Applies what a member's token says of their e-mail address when they join."""

from uuid import UUID

from app import commands, facts
from app.core import database
from app.core.identity import Caller
from app.events import service as events
from app.registrations import addresses, service
from app.registrations.addresses import Address


async def apply_token(tx: database.Tx, event_id: UUID, caller: Caller) -> None:
    """Store whether the address of the caller's registration is verified, if their token says otherwise.

    The member's registrant and their other registrations follow.
    """
    event = await events.lock(tx, event_id)
    registration = await service.get_for_member(tx, event_id, caller.member_id)
    address = addresses.address_from_token(Address.from_registration(registration), caller) if registration else None
    if event is None or registration is None or address is None:
        return
    address.apply_to(registration)
    registration.updated_at = tx.now
    await tx.session.flush()
    account_id = await service.host_account_id(tx, event)
    tx.record(commands.SyncRegistration(registration.id, account_id, event.community_id))
    if await service.has_other_address(tx, registration):
        tx.record(facts.RegistrationEmailChanged(registration.id))
