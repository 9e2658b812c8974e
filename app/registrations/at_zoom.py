"""The calls that change one registrant at Zoom, each counted, and written down before it is made."""

from typing import Literal

from app.accounts import budgets
from app.clients.zoom import AccountClient, RegistrantBody, RegistrantReference
from app.clients.zoom import Registrant as Answer
from app.core.cleaning import line
from app.core.work import Work
from app.registrations import additions, attempts
from app.registrations.seats import Known, Seat
from app.resources import Resources

MAX_NAME = 64  # characters, of the first and of the last name
CHANGES_USED_UP = "Zoom takes ten changes of one registrant a day; this one is made after midnight UTC."


async def add(work: Work[Resources], zoom: AccountClient, seat: Seat) -> tuple[Seat, Answer]:
    """Add the member. The same address added again is the same registrant, so repeating it is harmless, but counts."""
    async with additions.counted(work, seat), attempts.made(work, seat, "add") as begun:
        answer = await zoom.add_registrant(seat.number, body_of(seat.name, seat.email))
    return begun, answer


async def set_status(
    work: Work[Resources], zoom: AccountClient, seat: Seat, registrant: Known, action: Literal["approve", "cancel"]
) -> Seat:
    """Approve or cancel a registrant; what Zoom confirms need not be true."""
    subject, limit = f"status:{registrant.id}", budgets.STATUS_CHANGES_PER_REGISTRANT
    async with (
        budgets.counted(work.resources, subject, limit, CHANGES_USED_UP),
        attempts.made(work, seat, action) as begun,
    ):
        await zoom.set_registrants_status(seat.number, action, [_reference(registrant)])
    return begun


async def listed(zoom: AccountClient, seat: Seat) -> Answer | None:
    """The member among those Zoom lets in, with their link."""
    async for registrant in zoom.list_registrants(seat.number):
        if registrant.email.casefold() == seat.email.casefold() and registrant.join_url:
            return registrant
    return None


def _reference(registrant: Known) -> RegistrantReference:
    """Who is meant: by the address alone where the answer to the addition never came."""
    reference: RegistrantReference = {"email": registrant.email}
    if registrant.zoom_registrant_id:
        reference["id"] = registrant.zoom_registrant_id
    return reference


def body_of(name: str, email: str) -> RegistrantBody:
    """Zoom needs a first name: of somebody without a name it is what stands before the @."""
    full = " ".join(line(name).split()) or email.partition("@")[0]
    first, _, last = full.partition(" ")
    body: RegistrantBody = {"email": email, "first_name": first[:MAX_NAME], "auto_approve": True}
    if last:
        body["last_name"] = last[:MAX_NAME]
    return body
