"""The calls that change one registrant at Zoom, each counted, and written down before it is made."""

from typing import Literal

from app.accounts import quotas
from app.clients.zoom import AccountClient, RegistrantBody, RegistrantReference
from app.clients.zoom import Registrant as ZoomRegistrant
from app.core.job_runner import JobContext
from app.core.text_cleaning import single_line
from app.registrants import attempts, daily_additions
from app.registrants.registrant_state import RegistrantContext, RegistrantRecord
from app.resources import Resources

MAX_NAME_LENGTH = 64  # characters, of the first and of the last name
STATUS_CHANGES_EXHAUSTED = "Zoom takes ten changes of one registrant a day; this one is made after midnight UTC."


async def add(
    job: JobContext[Resources], zoom: AccountClient, context: RegistrantContext
) -> tuple[RegistrantContext, ZoomRegistrant]:
    """Add the member. The same address added again is the same registrant, so repeating it is harmless, but counts."""
    async with daily_additions.consuming(job, context), attempts.attempting(job, context, "add") as updated:
        zoom_registrant = await zoom.add_registrant(
            context.zoom_meeting_id, registrant_body(context.name, context.email)
        )
    return updated, zoom_registrant


async def set_status(
    job: JobContext[Resources],
    zoom: AccountClient,
    context: RegistrantContext,
    record: RegistrantRecord,
    action: Literal["approve", "cancel"],
) -> RegistrantContext:
    """Approve or cancel a registrant; what Zoom confirms need not be true."""
    quota_key, limit = f"status:{record.id}", quotas.STATUS_CHANGES_PER_REGISTRANT
    async with (
        quotas.consuming(job.resources, quota_key, limit, STATUS_CHANGES_EXHAUSTED),
        attempts.attempting(job, context, action) as updated,
    ):
        await zoom.set_registrants_status(context.zoom_meeting_id, action, [_reference(record)])
    return updated


async def find_approved(zoom: AccountClient, context: RegistrantContext) -> ZoomRegistrant | None:
    """The member among those Zoom lets in, with their link."""
    async for registrant in zoom.list_registrants(context.zoom_meeting_id):
        if registrant.email.casefold() == context.email.casefold() and registrant.join_url:
            return registrant
    return None


def _reference(record: RegistrantRecord) -> RegistrantReference:
    """Who is meant: by the address alone where the answer to the addition never came."""
    reference: RegistrantReference = {"email": record.email}
    if record.zoom_registrant_id:
        reference["id"] = record.zoom_registrant_id
    return reference


def registrant_body(name: str, email: str) -> RegistrantBody:
    """Zoom needs a first name: of somebody without a name it is what stands before the @."""
    full_name = " ".join(single_line(name).split()) or email.partition("@")[0]
    first, _, last = full_name.partition(" ")
    body: RegistrantBody = {"email": email, "first_name": first[:MAX_NAME_LENGTH], "auto_approve": True}
    if last:
        body["last_name"] = last[:MAX_NAME_LENGTH]
    return body
