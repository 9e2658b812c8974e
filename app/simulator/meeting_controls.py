"""Controls for what people do inside Zoom with one meeting, under /simulator/meetings/{id}."""

from dataclasses import asdict
from typing import Annotated, Any
from urllib.parse import parse_qs, urlsplit

from fastapi import APIRouter, Body, Depends, HTTPException
from pydantic import BaseModel, ConfigDict, Field

from app.simulator import inside, meetings, scheduling
from app.simulator.controls import Sim, meeting_shown
from app.simulator.errors import RefusalError
from app.simulator.inside import NotPossibleError
from app.simulator.state import Meeting, Participant, Registrant

router = APIRouter(prefix="/simulator/meetings/{meeting_id}", tags=["inside Zoom"])


class Start(BaseModel):
    """How the host starts."""

    model_config = ConfigDict(extra="forbid")
    host_joins: bool = True


class Who(BaseModel):
    """Who joins or leaves: by personal link, or by name (and e-mail); to leave, `user_id` also says who."""

    model_config = ConfigDict(extra="forbid")
    join_url: str | None = None
    name: str | None = None
    email: str = ""
    user_id: int | None = None
    waits: bool = Field(False, description="joins no further than the waiting room")


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
    try:
        said = inside.start(simulator, meeting, host_joins=(how or Start()).host_joins)
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
        if who.join_url is not None:
            someone, said = inside.join_by_link(simulator, meeting, _registrant(meeting, who.join_url), waits=who.waits)
        else:
            someone, said = inside.join_by_name(simulator, meeting, who.name or "", who.email, waits=who.waits)
    except NotPossibleError as reason:
        raise HTTPException(409, str(reason)) from None
    simulator.announce(said)
    return asdict(someone)


@router.post("/admit")
async def admit(simulator: Sim, meeting: TheMeeting, who: Who) -> dict[str, Any]:
    """The host lets somebody in from the waiting room."""
    someone = _one_of(meeting.running.waiting if meeting.running else [], meeting, who)
    simulator.announce(inside.admit(simulator, meeting, someone))
    return asdict(someone)


@router.post("/leave")
async def leave(simulator: Sim, meeting: TheMeeting, who: Who) -> dict[str, Any]:
    """Somebody leaves."""
    here = [each for each in (meeting.running.participants if meeting.running else []) if each.leave_time is None]
    someone = _one_of(here, meeting, who)
    simulator.announce(inside.leave(simulator, meeting, someone))
    return asdict(someone)


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
