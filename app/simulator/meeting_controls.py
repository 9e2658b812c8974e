"""Controls for what people do inside Zoom with one meeting, under /simulator/meetings/{id}."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any, Literal
from urllib.parse import parse_qs, urlsplit

from fastapi import APIRouter, Body, Depends, HTTPException
from pydantic import BaseModel, ConfigDict, Field

from app.simulator import inside, meetings, recordings, registrants, scheduling
from app.simulator.controls import Sim, meeting_shown
from app.simulator.errors import RefusalError
from app.simulator.inside import NotPossibleError
from app.simulator.notifications import Notification
from app.simulator.simulator import Simulator
from app.simulator.state import Meeting, Participant, Registrant

router = APIRouter(prefix="/simulator/meetings/{meeting_id}", tags=["inside Zoom"])


Ago = Annotated[float, Field(ge=0, description="when it was; Zoom says so only now")]


class Start(BaseModel):
    """How the host starts."""

    model_config = ConfigDict(extra="forbid")
    host_joins: bool = True
    minutes_ago: Ago = 0


class Who(BaseModel):
    """Who joins or leaves: by personal link, or by name (and e-mail); to leave, `user_id` also says who."""

    model_config = ConfigDict(extra="forbid")
    join_url: str | None = None
    name: str | None = None
    email: str = ""
    user_id: int | None = None
    waits: bool = Field(False, description="joins no further than the waiting room")
    minutes_ago: Ago = 0


class RegistrantChange(BaseModel):
    """What the host does to the registrant of an address, the last one where there were several."""

    model_config = ConfigDict(extra="forbid")
    email: str
    action: Literal["approve", "cancel", "deny"]


class FileWish(BaseModel):
    """A file of a recording."""

    model_config = ConfigDict(extra="forbid")
    file_type: recordings.FileType
    file_size: int = Field(50_000_000, ge=0, description="bytes")


class RecordingWish(BaseModel):
    """What was recorded."""

    model_config = ConfigDict(extra="forbid")
    files: list[FileWish] = Field([FileWish(file_type="MP4"), FileWish(file_type="M4A")], min_length=1)
    minutes: float | None = Field(None, gt=0, description="the last so many; all of it, if absent")


def the_meeting(simulator: Sim, meeting_id: int) -> Meeting:
    """The meeting in the path."""
    meeting = simulator.world.meetings.get(meeting_id)
    if meeting is None:
        raise HTTPException(404, f"no meeting {meeting_id}")
    return meeting


TheMeeting = Annotated[Meeting, Depends(the_meeting)]


@router.post("/start")
async def start(simulator: Sim, meeting: TheMeeting, how: Start | None = None) -> dict[str, Any]:
    """The host starts the meeting and is in it."""
    how = how or Start()
    try:
        with simulator.earlier(how.minutes_ago):
            said = inside.start(simulator, meeting, host_joins=how.host_joins)
    except NotPossibleError as reason:
        raise HTTPException(409, str(reason)) from None
    simulator.announce(said)
    return meeting_shown(meeting)


@router.post("/end")
async def end(simulator: Sim, meeting: TheMeeting) -> dict[str, Any]:
    """The host ends the meeting for all."""
    if meeting.running is None:
        raise HTTPException(409, "The meeting is not running.")
    simulator.announce(inside.end(simulator, meeting))
    return meeting_shown(meeting)


@router.post("/join")
async def join(simulator: Sim, meeting: TheMeeting, who: Who) -> dict[str, Any]:
    """Somebody joins, with a personal link or by name."""
    if who.join_url is None and who.name is None:
        raise HTTPException(422, "join_url or name is needed")
    try:
        with simulator.earlier(who.minutes_ago):
            someone, said = _joined(simulator, meeting, who)
    except NotPossibleError as reason:
        simulator.announce(reason.said)
        raise HTTPException(409, str(reason)) from None
    simulator.announce(said)
    return asdict(someone)


def _joined(simulator: Simulator, meeting: Meeting, who: Who) -> tuple[Participant, list[Notification]]:
    if who.join_url is not None:
        return inside.join_by_link(simulator, meeting, _registrant(meeting, who.join_url), waits=who.waits)
    return inside.join_by_name(simulator, meeting, who.name or "", who.email, waits=who.waits)


@router.post("/admit")
async def admit(simulator: Sim, meeting: TheMeeting, who: Who) -> dict[str, Any]:
    """The host lets somebody in from the waiting room."""
    someone = _one_of(_waiting(meeting), meeting, who)
    simulator.announce(inside.admit(simulator, meeting, someone))
    return asdict(someone)


@router.post("/send-back")
async def send_back(simulator: Sim, meeting: TheMeeting, who: Who) -> dict[str, Any]:
    """The host sends somebody back to the waiting room."""
    someone = _one_of(_here(meeting), meeting, who)
    simulator.announce(inside.send_back(simulator, meeting, someone))
    return asdict(someone)


@router.post("/breakout")
async def break_out(simulator: Sim, meeting: TheMeeting, who: Who) -> dict[str, Any]:
    """Somebody goes into a breakout room, or comes back from it; who they are from now on."""
    someone = _one_of(_here(meeting), meeting, who)
    with simulator.earlier(who.minutes_ago):
        moved, said = inside.break_out(simulator, meeting, someone)
    simulator.announce(said)
    return asdict(moved)


@router.post("/leave")
async def leave(simulator: Sim, meeting: TheMeeting, who: Who) -> dict[str, Any]:
    """Somebody leaves, from inside or from the waiting room."""
    someone = _one_of([*_here(meeting), *_waiting(meeting)], meeting, who)
    with simulator.earlier(who.minutes_ago):
        said = inside.leave(simulator, meeting, someone)
    simulator.announce(said)
    return asdict(someone)


@router.post("/record")
async def record(simulator: Sim, meeting: TheMeeting, wanted: RecordingWish | None = None) -> dict[str, Any]:
    """A cloud recording of the holding that runs, or of the last one, is made and announced."""
    wanted = wanted or RecordingWish()
    files = [recordings.File(file.file_type, file.file_size) for file in wanted.files]
    return _announced(simulator, meeting, lambda: recordings.record(simulator, meeting, files, wanted.minutes))


@router.post("/transcript")
async def transcript(simulator: Sim, meeting: TheMeeting) -> dict[str, Any]:
    """The last recording is transcribed, which is announced by itself."""
    return _announced(simulator, meeting, lambda: recordings.transcribe(simulator, meeting))


def _announced(simulator: Simulator, meeting: Meeting, happen: Callable[[], list[Notification]]) -> dict[str, Any]:
    try:
        said = happen()
    except NotPossibleError as reason:
        raise HTTPException(409, str(reason)) from None
    simulator.announce(said)
    return meeting_shown(meeting)


@router.post("/registrants")
async def change_registrant(simulator: Sim, meeting: TheMeeting, change: RegistrantChange) -> dict[str, Any]:
    """The host approves, cancels or denies a registrant in Zoom's web portal."""
    same = [each for each in meeting.registrants.values() if each.email.lower() == change.email.lower()]
    if not same:
        raise HTTPException(404, f"no registrant {change.email!r}")
    registrants.set_status(simulator, meeting, same[-1], change.action, simulator.world.host(meeting))
    return asdict(same[-1])


@router.post("/edit")
async def edit(simulator: Sim, meeting: TheMeeting, change: Annotated[dict[str, Any], Body()]) -> dict[str, Any]:
    """The host edits the meeting in Zoom's web portal; fields as in PATCH /meetings/{meetingId}."""
    try:
        wanted = scheduling.accepted(change)
        meetings.edit(simulator, meeting, wanted, simulator.world.host(meeting))
    except RefusalError as refused:
        raise HTTPException(422, refused.answer.body) from None
    return meeting_shown(meeting)


@router.post("/delete")
async def delete(simulator: Sim, meeting: TheMeeting) -> dict[str, bool]:
    """The host deletes the meeting in Zoom's web portal."""
    if meeting.running is not None:
        raise HTTPException(409, "The meeting is in progress.")
    meetings.remove(simulator, meeting, simulator.world.host(meeting))
    return {"deleted": True}


def _here(meeting: Meeting) -> list[Participant]:
    return [each for each in (meeting.running.participants if meeting.running else []) if each.leave_time is None]


def _waiting(meeting: Meeting) -> list[Participant]:
    return [each for each in (meeting.running.waiting if meeting.running else []) if each.leave_time is None]


def _registrant(meeting: Meeting, join_url: str) -> Registrant:
    tk = parse_qs(urlsplit(join_url).query).get("tk", [""])[0]
    registrant = next((r for r in meeting.registrants.values() if tk and r.tk == tk), None)
    if registrant is None:
        raise HTTPException(404, "join_url belongs to no registrant of this meeting")
    return registrant


def _one_of(people: list[Participant], meeting: Meeting, who: Who) -> Participant:
    registrant_id = _registrant(meeting, who.join_url).id if who.join_url else None
    for someone in people:
        if who.user_id == someone.user_id or (registrant_id and someone.registrant_id == registrant_id):
            return someone
        if who.name is not None and who.name == someone.name:
            return someone
    raise HTTPException(404, "nobody like that is there")
