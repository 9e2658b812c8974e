"""Which instance a path names (contract 3): a UUID names one, a number names its meeting's latest."""

from datetime import datetime
from urllib.parse import quote

from app.simulator.operations import Call
from app.simulator.state import Instance, Meeting


def latest_instance(call: Call) -> tuple[Meeting, Instance] | None:
    """Return the instance in the path and its meeting, deleted or not, or None if the account has none.

    Raises 4711 if the grant does not reach it.
    """
    path_id = call.path["meeting_id"]
    zoom_state = call.simulator.state
    found: list[tuple[datetime, Meeting, Instance]] = [
        (instance.started_at, meeting, instance)
        for meeting in (*zoom_state.meetings.values(), *zoom_state.deleted.values())
        if meeting.account_id == call.account.id
        for instance in meeting.instances
        if path_id in (_gateway_segment(instance.uuid), str(meeting.id))
    ]
    if not found:
        return None
    _, meeting, instance = max(found, key=lambda each: each[0])
    call.require_reach(meeting.host_id)
    return meeting, instance


def _gateway_segment(uuid: str) -> str:
    """Return a UUID as it arrives behind the gateway.

    Some must be encoded twice, as the gateway decodes once.
    """
    return quote(uuid, safe="") if uuid.startswith("/") or "//" in uuid else uuid
