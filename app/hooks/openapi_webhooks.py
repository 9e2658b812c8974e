"""The `webhooks` of the OpenAPI document: the requests an endpoint receives. Nobody calls these functions."""

from typing import Annotated, Any

from fastapi import APIRouter, Header

from app.hooks.payloads import (
    AccountState,
    AttendanceState,
    EventState,
    Message,
    RecordingState,
    RegistrationState,
    TestPayload,
)

MessageId = Annotated[
    str,
    Header(
        alias="webhook-id",
        description="The message's id, the same however often it is sent: what came before is to be ignored",
        examples=["8a1f5f0e-8a4b-4b55-9d64-0e6f3f2d7c21"],
    ),
]
Timestamp = Annotated[
    int, Header(alias="webhook-timestamp", description="Seconds since 1970, of this sending", examples=[1772391602])
]
Signature = Annotated[
    str,
    Header(
        alias="webhook-signature",
        description="`v1,` and the base64 of HMAC-SHA256 over `{id}.{timestamp}.{body}`; after a rotation two of them,"
        " separated by a space, of which one has to be right",
        examples=["v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4="],
    ),
]
_RESPONSES: dict[int | str, dict[str, Any]] = {
    204: {"description": "Any 2xx: it arrived. 410: no more messages, please. All else, redirects too: try again later"}
}
router = APIRouter(tags=["Hooks"], responses=_RESPONSES, generate_unique_id_function=lambda route: route.name)


@router.post("event.live", summary="An event went live", status_code=204)
def on_event_live(body: Message[EventState], id_: MessageId, timestamp: Timestamp, signature: Signature) -> None:
    """The host, or somebody else who may, has opened the meeting."""


@router.post("event.host_missing", summary="The host of an event has not come", status_code=204)
def on_event_host_missing(
    body: Message[EventState], id_: MessageId, timestamp: Timestamp, signature: Signature
) -> None:
    """The event began five minutes ago, and nobody has started its Zoom meeting.

    Sent once for each start; the host also gets a mail.
    """


@router.post("event.ended", summary="An event ended", status_code=204)
def on_event_ended(body: Message[EventState], id_: MessageId, timestamp: Timestamp, signature: Signature) -> None:
    """The meeting is over. This always comes after an `event.live`, even if we noticed both late.

    `status` is the event's present one: `ended`, `scheduled` if it was a rehearsal, or `cancelled`. If the meeting is
    opened again, the event goes live, and ends, once more. Messages about one event arrive in order: a message that did
    not arrive is tried again before the next one is sent.
    """


@router.post("attendance.final", summary="The attendance of an event is complete", status_code=204)
def on_attendance_final(
    body: Message[AttendanceState], id_: MessageId, timestamp: Timestamp, signature: Signature
) -> None:
    """Zoom's own report of who came was read, ten minutes after the end or later; or there is none.

    That is known an hour and a half after the end if Zoom may not be asked for a report, otherwise after six hours, or
    the next day if Zoom accepts no more calls. Sent once for each time the event ended. What Zoom reports even later
    still counts, but no message follows.
    """


@router.post("registration.changed", summary="An answer to an event changed", status_code=204)
def on_registration_changed(
    body: Message[RegistrationState], id_: MessageId, timestamp: Timestamp, signature: Signature
) -> None:
    """Somebody answered, changed the answer, or got a place."""


@router.post("recording.ready", summary="A recording is archived", status_code=204)
def on_recording_ready(
    body: Message[RecordingState], id_: MessageId, timestamp: Timestamp, signature: Signature
) -> None:
    """Every file of a recording is in the archive. Not sent yet: an endpoint can subscribe ahead of time."""


@router.post("recording.published", summary="A recording is published", status_code=204)
def on_recording_published(
    body: Message[RecordingState], id_: MessageId, timestamp: Timestamp, signature: Signature
) -> None:
    """Members may watch a recording. Not sent yet: an endpoint can subscribe ahead of time."""


@router.post("account.needs_reauth", summary="A Zoom account must be connected again", status_code=204)
def on_account_needs_reauth(
    body: Message[AccountState], id_: MessageId, timestamp: Timestamp, signature: Signature
) -> None:
    """Zoom no longer accepts the connection."""


@router.post("hook.test", summary="A test", status_code=204)
def on_test(body: Message[TestPayload], id_: MessageId, timestamp: Timestamp, signature: Signature) -> None:
    """Sent when an admin asks for it, to any endpoint, whatever its kinds."""
