"""Which holding a path speaks of (contract 3): a UUID names one, a number the latest of its meeting."""

from datetime import datetime
from urllib.parse import quote

from app.simulator.operations import Call
from app.simulator.state import Instance, Meeting


def latest(call: Call) -> tuple[Meeting, Instance] | None:
    """The holding in the path, and its meeting, deleted or not; None where the account has none. Raises 4711 beyond
    the grant's reach."""
    written, world = call.path["meeting_id"], call.simulator.world
    found: list[tuple[datetime, Meeting, Instance]] = [
        (instance.started_at, meeting, instance)
        for meeting in (*world.meetings.values(), *world.deleted.values())
        if meeting.account_id == call.account.id
        for instance in meeting.instances
        if written in (_segment(instance.uuid), str(meeting.id))
    ]
    if not found:
        return None
    _, meeting, instance = max(found, key=lambda each: each[0])
    call.reach(meeting.host_id)
    return meeting, instance


def _segment(uuid: str) -> str:
    """How a UUID arrives behind the gateway, which has decoded it once: some must be encoded twice."""
    return quote(uuid, safe="") if uuid.startswith("/") or "//" in uuid else uuid
