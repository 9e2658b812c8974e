"""Routes for admins and the coach: an event's attendance as JSON, CSV or SVG; assigning a session to a member."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Path, Query, Response
from fastapi.responses import JSONResponse

from app.attendance import report, service
from app.attendance.csv_export import to_csv
from app.attendance.schemas import AssignBody, AssignedView, AttendanceView, to_view
from app.attendance.svg_timeline import to_svg
from app.events import access
from app.web import Caller, Tx

router = APIRouter(tags=["Attendance"])
EventId = Annotated[UUID, Path(description="An event of one of your communities")]
SessionId = Annotated[UUID, Path(description="A session of the event, known or unknown")]
Format = Annotated[
    Literal["json", "csv", "svg"],
    Query(
        alias="format",
        description="`csv` is a file for spreadsheets, `svg` a picture of who was there when",
        examples=["csv"],
    ),
]
# The response names people, so no cache may store it. It also contains text that strangers typed, so browsers must not
# guess its type.
_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_SVG_HEADERS = {"Content-Security-Policy": "default-src 'none'; sandbox"}
_TEXT_SCHEMA = {"schema": {"type": "string"}}


@router.get(
    "/api/events/{event_id}/attendance",
    summary="Who came, and for how long",
    response_model=AttendanceView,
    responses={200: {"content": {"text/csv": _TEXT_SCHEMA, "image/svg+xml": _TEXT_SCHEMA}}},
)
async def get_attendance(event_id: EventId, caller: Caller, tx: Tx, format_: Format = "json") -> Response:
    """Returns everybody Zoom reported: how long each was there, and whether they count as having attended.

    Each session says whose it is, how certain that is and why. The response also lists members who clicked Join and
    were never seen, participants who are unknown, and members who were coming and did not come. What is enough is a
    setting of the community; its present value applies.

    The CSV has the columns `status` (`present`, `unknown`, `clicked`, `no_show`), `member_id`, `name`, `email`, `role`,
    `joined_at`, `left_at`, `minutes`, `share`, `sessions`, `confidence`, `explanation`, `clicked_at` and `attended`
    (`yes`, `no`). If the community asks for a minimum, the picture shows the bars of those who did not reach it pale.
    """
    event = await access.get_managed(tx, event_id, caller)
    attendance = await report.build(tx, event)
    if format_ == "svg":
        return Response(to_svg(attendance), media_type="image/svg+xml", headers=_HEADERS | _SVG_HEADERS)
    body = to_view(attendance, tx.now)
    if format_ == "csv":
        disposition = {"Content-Disposition": 'attachment; filename="attendance.csv"'}
        return Response(to_csv(body), media_type="text/csv; charset=utf-8", headers=_HEADERS | disposition)
    return JSONResponse(body.model_dump(mode="json"), headers=_HEADERS)


@router.put("/api/events/{event_id}/attendance/{session_id}", summary="Say whose session it is")
async def put_attendance(
    event_id: EventId, session_id: SessionId, body: AssignBody, caller: Caller, tx: Tx
) -> AssignedView:
    """Assigns the session of an unknown participant, or one that Zoom assigns to the wrong member.

    The caller is recorded; null withdraws the assignment.
    """
    event = await access.get_managed(tx, event_id, caller)
    session = await service.assign(tx, event, session_id, body.member_id, caller.member_id)
    return AssignedView.model_validate(
        {
            "session_id": session.id,
            "member_id": session.assigned_to,
            "assigned_by": session.assigned_by,
            "assigned_at": session.assigned_at,
        }
    )
