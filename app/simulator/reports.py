"""Reports about ended meetings and their participants (contract 9)."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from app.simulator.clock import zoom_time
from app.simulator.errors import ZoomResponse, meeting_missing
from app.simulator.latest_instance import latest_instance
from app.simulator.operations import Call, Handler, Operation
from app.simulator.state import Instance, Json, Meeting, Participant

PAST = Operation(
    "pastMeetingParticipants",
    "GET",
    "/past_meetings/{meeting_id}/participants",
    "Medium",
    "meeting:read:list_past_participants",
    ("meeting:read",),
)
DETAILS = Operation(
    "pastMeetingDetails",
    "GET",
    "/past_meetings/{meeting_id}",
    "Light",
    "meeting:read:past_meeting",
    ("meeting:read",),
)
REPORT = Operation(
    "reportMeetingParticipants",
    "GET",
    "/report/meetings/{meeting_id}/participants",
    "Heavy",
    "report:read:list_meeting_participants:admin",
    ("report:read",),
)


def details(call: Call) -> ZoomResponse:
    """GET /past_meetings/{meetingId}: 200 as soon as it has ended."""
    found = latest_instance(call)
    if found is None or found[1].ended_at is None:
        raise meeting_missing(call.path["meeting_id"])
    meeting, instance = found
    host = call.host(meeting)
    ended = found[1].ended_at
    people = len({each.participant_uuid for each in instance.participants})
    minutes = int((ended - instance.started_at).total_seconds() // 60)
    return ZoomResponse(
        200,
        {
            "uuid": instance.uuid,
            "id": meeting.id,
            "host_id": meeting.host_id,
            "type": meeting.type,
            "topic": meeting.topic,
            "user_name": host.name,
            "user_email": host.email,
            "start_time": zoom_time(instance.started_at),
            "end_time": zoom_time(ended),
            "duration": minutes,
            "total_minutes": minutes * people,
            "participants_count": people,
            "dept": "",
            "source": "",
            "has_meeting_summary": False,
        },
    )


def past_participants(call: Call) -> ZoomResponse:
    """GET /past_meetings/{meetingId}/participants: 200. It names no registrant and no breakout room."""
    meeting, instance = _reported_instance(call)
    rows = [row | {"internal_user": bool(row["id"])} for row in _rows(instance)]
    for row in rows:
        del row["registrant_id"], row["participant_user_id"]
        row.pop("bo_mtg_id", None)
    return _page(call, meeting, instance, rows)


def report(call: Call) -> ZoomResponse:
    """GET /report/meetings/{meetingId}/participants: 200.

    It names registrants only if the query asks for them.
    """
    meeting, instance = _reported_instance(call)
    rows = list(_rows(instance))
    if call.query.get("include_fields") != "registrant_id":
        for row in rows:
            del row["registrant_id"]
    return _page(call, meeting, instance, rows)


def _page(call: Call, meeting: Meeting, instance: Instance, rows: list[Json]) -> ZoomResponse:
    page_key = f"{call.operation.path}{meeting.id}{instance.uuid}"
    page, envelope = call.simulator.page_tokens.paginate(page_key, call.query, rows, call.now)
    return ZoomResponse(200, envelope | {"participants": list(page)})


def _reported_instance(call: Call) -> tuple[Meeting, Instance]:
    """Return the instance by UUID, or the latest one by meeting number.

    Raises 404/3001 while it runs, before the report is ready, and if only one person took part.
    """
    latest_end = call.now - timedelta(seconds=call.simulator.switches.report_after_seconds)
    found = latest_instance(call)
    if found is None:
        raise meeting_missing(call.path["meeting_id"])
    meeting, instance = found
    people = {each.participant_uuid for each in instance.participants}
    if instance.ended_at is None or instance.ended_at > latest_end or len(people) < 2:
        raise meeting_missing(call.path["meeting_id"])
    return meeting, instance


def _rows(instance: Instance) -> Iterator[Json]:
    """Yield one row for every time a participant was inside, in the waiting room, or in a breakout room."""
    ended = instance.ended_at or instance.started_at
    for someone in instance.participants:
        if someone.waited_from is not None:
            yield _row(someone, someone.waited_from, someone.join_time, "in_waiting_room")
        row = _row(someone, someone.join_time, someone.leave_time or ended, "in_meeting")
        yield row | ({"bo_mtg_id": someone.breakout} if someone.breakout else {})
    for someone in instance.waiting:
        waited_from = someone.waited_from or someone.join_time
        yield _row(someone, waited_from, someone.leave_time or ended, "in_waiting_room")


def _row(someone: Participant, start: datetime, end: datetime, status: str) -> Json:
    return {
        "id": someone.participant_user_id,
        "user_id": str(someone.user_id),
        "participant_user_id": someone.participant_user_id,
        "registrant_id": someone.registrant_id or "",
        "name": someone.name,
        "user_email": someone.email,
        "join_time": zoom_time(start),
        "leave_time": zoom_time(end),
        "duration": int((end - start).total_seconds()),
        "failover": False,
        "status": status,
    }


OPERATIONS: list[tuple[Operation, Handler]] = [(DETAILS, details), (PAST, past_participants), (REPORT, report)]
