"""Which holding a path speaks of (contract 3): a UUID names one, a number the latest of its meeting."""

from datetime import datetime
from urllib.parse import quote

from app.simulator.operations import Call
from app.simulator.state import Instance, Meeting


def latest_instance(call: Call) -> tuple[Meeting, Instance] | None:
    """The holding in the path, and its meeting, deleted or not; None where the account has none. Raises 4711 beyond
    the grant's reach."""
    path_id, zoom_state = call.path["meeting_id"], call.simulator.state
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
    """How a UUID arrives behind the gateway, which has decoded it once: some must be encoded twice."""
    return quote(uuid, safe="") if uuid.startswith("/") or "//" in uuid else uuid
