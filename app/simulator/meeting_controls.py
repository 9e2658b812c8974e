"""Controls under /simulator/meetings/{id}: start, join, admit, leave, end, record, edit, delete, registrants."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any, Literal
from urllib.parse import parse_qs, urlsplit

from fastapi import APIRouter, Body, Depends, HTTPException
from pydantic import BaseModel, ConfigDict, Field

from app.simulator import meeting_actions, meetings, recordings, registrants, scheduling
from app.simulator.controls import Sim, meeting_json
from app.simulator.errors import RefusalError
from app.simulator.meeting_actions import NotPossibleError
from app.simulator.notifications import Notification
from app.simulator.simulator import Simulator
from app.simulator.state import Meeting, Participant, Registrant

router = APIRouter(prefix="/simulator/meetings/{meeting_id}", tags=["inside Zoom"])


Ago = Annotated[float, Field(ge=0, description="when it was; Zoom says so only now")]


class Start(BaseModel):
    """How the host starts the meeting."""

    model_config = ConfigDict(extra="forbid")
    host_joins: bool = True
    minutes_ago: Ago = 0


class ParticipantRef(BaseModel):
    """A participant: by personal link, by name (and e-mail), or by `user_id` if they are inside."""

    model_config = ConfigDict(extra="forbid")
    join_url: str | None = None
    name: str | None = None
    email: str = ""
    user_id: int | None = None
    waits: bool = Field(False, description="joins no further than the waiting room")
    minutes_ago: Ago = 0


class RegistrantChange(BaseModel):
    """The host's change to the registrant with an address. If there were several, it is the last one."""

    model_config = ConfigDict(extra="forbid")
    email: str
    action: Literal["approve", "cancel", "deny"]


class RecordingFileRequest(BaseModel):
    """A file of a recording."""

    model_config = ConfigDict(extra="forbid")
    file_type: recordings.FileType
    file_size: int = Field(50_000_000, ge=0, description="bytes")


class RecordingRequest(BaseModel):
    """A recording to make."""

    model_config = ConfigDict(extra="forbid")
    files: list[RecordingFileRequest] = Field(
        [RecordingFileRequest(file_type="MP4"), RecordingFileRequest(file_type="M4A")], min_length=1
    )
    minutes: float | None = Field(None, gt=0, description="the last so many; all of it, if absent")


def get_meeting(simulator: Sim, meeting_id: int) -> Meeting:
    """Return the meeting in the path."""
    meeting = simulator.state.meetings.get(meeting_id)
    if meeting is None:
        raise HTTPException(404, f"no meeting {meeting_id}")
    return meeting


PathMeeting = Annotated[Meeting, Depends(get_meeting)]


@router.post("/start")
async def start(simulator: Sim, meeting: PathMeeting, options: Start | None = None) -> dict[str, Any]:
    """Start the meeting, with the host inside."""
    options = options or Start()
    try:
        with simulator.backdated(options.minutes_ago):
            outgoing = meeting_actions.start(simulator, meeting, host_joins=options.host_joins)
    except NotPossibleError as reason:
        raise HTTPException(409, str(reason)) from None
    simulator.send_notifications(outgoing)
    return meeting_json(meeting)


@router.post("/end")
async def end(simulator: Sim, meeting: PathMeeting) -> dict[str, Any]:
    """End the meeting for all."""
    if meeting.running_instance is None:
        raise HTTPException(409, "The meeting is not running.")
    simulator.send_notifications(meeting_actions.end(simulator, meeting))
    return meeting_json(meeting)


@router.post("/join")
async def join(simulator: Sim, meeting: PathMeeting, who: ParticipantRef) -> dict[str, Any]:
    """Join, with a personal link or by name."""
    if who.join_url is None and who.name is None:
        raise HTTPException(422, "join_url or name is needed")
    try:
        with simulator.backdated(who.minutes_ago):
            someone, outgoing = _join(simulator, meeting, who)
    except NotPossibleError as reason:
        simulator.send_notifications(reason.notifications_to_send)
        raise HTTPException(409, str(reason)) from None
    simulator.send_notifications(outgoing)
    return asdict(someone)


def _join(simulator: Simulator, meeting: Meeting, who: ParticipantRef) -> tuple[Participant, list[Notification]]:
    if who.join_url is not None:
        return meeting_actions.join_by_link(simulator, meeting, _registrant(meeting, who.join_url), waits=who.waits)
    return meeting_actions.join_by_name(simulator, meeting, who.name or "", who.email, waits=who.waits)


@router.post("/admit")
async def admit(simulator: Sim, meeting: PathMeeting, who: ParticipantRef) -> dict[str, Any]:
    """Admit a participant from the waiting room."""
    someone = _find_participant(_waiting(meeting), meeting, who)
    simulator.send_notifications(meeting_actions.admit(simulator, meeting, someone))
    return asdict(someone)


@router.post("/send-back")
async def send_to_waiting_room(simulator: Sim, meeting: PathMeeting, who: ParticipantRef) -> dict[str, Any]:
    """Send a participant back to the waiting room."""
    someone = _find_participant(_present(meeting), meeting, who)
    simulator.send_notifications(meeting_actions.send_to_waiting_room(simulator, meeting, someone))
    return asdict(someone)


@router.post("/breakout")
async def toggle_breakout_room(simulator: Sim, meeting: PathMeeting, who: ParticipantRef) -> dict[str, Any]:
    """Move a participant into a breakout room or back. Returns their new ids."""
    someone = _find_participant(_present(meeting), meeting, who)
    with simulator.backdated(who.minutes_ago):
        moved, outgoing = meeting_actions.toggle_breakout_room(simulator, meeting, someone)
    simulator.send_notifications(outgoing)
    return asdict(moved)


@router.post("/leave")
async def leave(simulator: Sim, meeting: PathMeeting, who: ParticipantRef) -> dict[str, Any]:
    """Leave, from inside or from the waiting room."""
    someone = _find_participant([*_present(meeting), *_waiting(meeting)], meeting, who)
    with simulator.backdated(who.minutes_ago):
        outgoing = meeting_actions.leave(simulator, meeting, someone)
    simulator.send_notifications(outgoing)
    return asdict(someone)


@router.post("/record")
async def record(simulator: Sim, meeting: PathMeeting, request: RecordingRequest | None = None) -> dict[str, Any]:
    """Make a cloud recording of the running instance, or of the last one, and notify the app."""
    request = request or RecordingRequest()
    files = [recordings.NewFile(file.file_type, file.file_size) for file in request.files]
    return _perform(simulator, meeting, lambda: recordings.record(simulator, meeting, files, request.minutes))


@router.post("/transcript")
async def transcript(simulator: Sim, meeting: PathMeeting) -> dict[str, Any]:
    """Transcribe the last recording and notify the app with a notification of its own."""
    return _perform(simulator, meeting, lambda: recordings.transcribe(simulator, meeting))


def _perform(simulator: Simulator, meeting: Meeting, action: Callable[[], list[Notification]]) -> dict[str, Any]:
    try:
        outgoing = action()
    except NotPossibleError as reason:
        raise HTTPException(409, str(reason)) from None
    simulator.send_notifications(outgoing)
    return meeting_json(meeting)


@router.post("/registrants")
async def change_registrant(simulator: Sim, meeting: PathMeeting, change: RegistrantChange) -> dict[str, Any]:
    """Approve, cancel or deny a registrant, as the host does in Zoom's web portal."""
    matching = [each for each in meeting.registrants.values() if each.email.lower() == change.email.lower()]
    if not matching:
        raise HTTPException(404, f"no registrant {change.email!r}")
    registrants.set_status(simulator, meeting, matching[-1], change.action, simulator.state.host(meeting))
    return asdict(matching[-1])


@router.post("/edit")
async def edit(simulator: Sim, meeting: PathMeeting, change: Annotated[dict[str, Any], Body()]) -> dict[str, Any]:
    """Edit the meeting, as the host does in Zoom's web portal.

    The fields are those of PATCH /meetings/{meetingId}.
    """
    try:
        fields = scheduling.accept_fields(change)
        meetings.edit(simulator, meeting, fields, simulator.state.host(meeting))
    except RefusalError as error:
        raise HTTPException(422, error.response.body) from None
    return meeting_json(meeting)


@router.post("/delete")
async def delete(simulator: Sim, meeting: PathMeeting) -> dict[str, bool]:
    """Delete the meeting, as the host does in Zoom's web portal."""
    if meeting.running_instance is not None:
        raise HTTPException(409, "The meeting is in progress.")
    meetings.remove(simulator, meeting, simulator.state.host(meeting))
    return {"deleted": True}


def _present(meeting: Meeting) -> list[Participant]:
    return [
        each
        for each in (meeting.running_instance.participants if meeting.running_instance else [])
        if each.leave_time is None
    ]


def _waiting(meeting: Meeting) -> list[Participant]:
    return [
        each
        for each in (meeting.running_instance.waiting if meeting.running_instance else [])
        if each.leave_time is None
    ]


def _registrant(meeting: Meeting, join_url: str) -> Registrant:
    tk = parse_qs(urlsplit(join_url).query).get("tk", [""])[0]
    registrant = next((r for r in meeting.registrants.values() if tk and r.tk == tk), None)
    if registrant is None:
        raise HTTPException(404, "join_url belongs to no registrant of this meeting")
    return registrant


def _find_participant(people: list[Participant], meeting: Meeting, who: ParticipantRef) -> Participant:
    registrant_id = _registrant(meeting, who.join_url).id if who.join_url else None
    for someone in people:
        if who.user_id == someone.user_id or (registrant_id and someone.registrant_id == registrant_id):
            return someone
        if who.name is not None and who.name == someone.name:
            return someone
    raise HTTPException(404, "nobody like that is there")
