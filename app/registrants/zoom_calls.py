"""The calls to Zoom about one registrant: add, approve or cancel, and find in the list of approved ones.

Each call is counted, and its attempt is committed before it is made.
"""

from typing import Literal

from app.accounts import quotas
from app.clients.zoom import AccountClient, RegistrantBody, RegistrantReference
from app.clients.zoom import Registrant as ZoomRegistrant
from app.core.job_runner import JobContext
from app.core.text_cleaning import single_line
from app.registrants import attempts, daily_additions
from app.registrants.registrant_store import RegistrantContext, RegistrantRecord
from app.resources import Resources

MAX_NAME_LENGTH = 64  # characters, for the first and for the last name each
STATUS_CHANGES_EXHAUSTED = "Zoom takes ten changes of one registrant a day; this one is made after midnight UTC."


async def add(
    job: JobContext[Resources], zoom: AccountClient, context: RegistrantContext
) -> tuple[RegistrantContext, ZoomRegistrant]:
    """Add the member; returns the context after the call, and Zoom's registrant.

    An address that is added again is the same registrant, so repeating the call is harmless, but it counts.
    """
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
    """Approve or cancel a registrant; returns the context after the call.

    Zoom also confirms what it did not do.
    """
    quota_key = f"status:{record.id}"
    limit = quotas.STATUS_CHANGES_PER_REGISTRANT
    async with (
        quotas.consuming(job.resources, quota_key, limit, STATUS_CHANGES_EXHAUSTED),
        attempts.attempting(job, context, action) as updated,
    ):
        await zoom.set_registrants_status(context.zoom_meeting_id, action, [_reference(record)])
    return updated


async def find_approved(zoom: AccountClient, context: RegistrantContext) -> ZoomRegistrant | None:
    """The member's registrant, with its link, in Zoom's list of approved ones; None if it is not there."""
    async for registrant in zoom.list_registrants(context.zoom_meeting_id):
        if registrant.email.casefold() == context.email.casefold() and registrant.join_url:
            return registrant
    return None


def _reference(record: RegistrantRecord) -> RegistrantReference:
    """How to name the registrant to Zoom: by address alone if the response to the addition was lost."""
    reference: RegistrantReference = {"email": record.email}
    if record.zoom_registrant_id:
        reference["id"] = record.zoom_registrant_id
    return reference


def registrant_body(name: str, email: str) -> RegistrantBody:
    """The body of an addition.

    Zoom requires a first name. For somebody without a name it is the part of the address before the @.
    """
    full_name = " ".join(single_line(name).split()) or email.partition("@")[0]
    first, _, last = full_name.partition(" ")
    body: RegistrantBody = {"email": email, "first_name": first[:MAX_NAME_LENGTH], "auto_approve": True}
    if last:
        body["last_name"] = last[:MAX_NAME_LENGTH]
    return body
