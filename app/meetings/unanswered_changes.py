"""Changes that got no answer from Zoom: their fields are unknown until Zoom reports them. Pure.

A change is stored before it is sent. If a later run finds it, nobody knows whether Zoom made the change. So its fields
no longer count as known, and they are read or sent again. Zoom may even make the change later, because a request can be
under way for a while. A value that appears within ten minutes and that we asked for is therefore ours, and not an edit
by somebody else. After ten minutes the fields are read once more, or sent again if they cannot be read.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from app.clients.zoom import BadAnswer, NoAnswer, OutcomeUnknown, ServerError
from app.meetings.plan import Plan, from_body, merged_with_zoom

# After these errors nobody knows whether Zoom made the change. After all other errors it did not.
UNKNOWN_OUTCOME: Final = (NoAnswer, OutcomeUnknown, ServerError, BadAnswer)
# How long a request may be under way and still take effect at Zoom. A judgement on the safe side.
ARRIVAL_WINDOW = timedelta(minutes=10)
# Changes without an answer that are kept for one meeting. Ten minutes of retries are about ten.
MAX_CHANGES = 20

# `{at, body}`: when the change was sent, and its fields in the shape of a plan.
Change = dict[str, Any]


def new_change(body: Mapping[str, Any], at: datetime) -> Change:
    """Return the stored form of a change that is about to be sent."""
    return {"at": at.isoformat(), "body": from_body(body)}


def with_change(changes: Sequence[Change], new: Change) -> list[Change]:
    """Return the changes without an answer and one more; the oldest beyond `MAX_CHANGES` are dropped."""
    return [*changes, new][-MAX_CHANGES:]


def without_change(changes: Sequence[Change], answered: Change | None) -> list[Change]:
    """Return the changes without the one that Zoom has `answered`."""
    return [each for each in changes if each != answered]


def overdue(changes: Sequence[Change], now: datetime) -> list[Change]:
    """Return the changes whose request can no longer arrive at Zoom."""
    return [each for each in changes if _deadline(each) <= now]


def next_deadline(changes: Sequence[Change]) -> datetime | None:
    """Return when the first change is overdue; None if there are no changes."""
    return min(map(_deadline, changes), default=None)


def without_unknown(
    plan: Plan | None, changes: Sequence[Change], reported: Mapping[str, Any] | None = None
) -> Plan | None:
    """Return a plan without the fields that `changes` name, except for fields that Zoom has `reported`."""
    if plan is None or not changes:
        return plan
    reported_fields = {field for field, _ in _fields(reported or {})}
    named = {field for each in changes for field, _ in _fields(each["body"])} - reported_fields
    settings = {name: value for name, value in plan.get("settings", {}).items() if f"settings.{name}" not in named}
    return {name: value for name, value in plan.items() if name not in named} | {"settings": settings}


def has_unknown(last_sent: Mapping[str, Any], desired: Plan) -> bool:
    """Return whether the state of a desired field at Zoom is unknown."""
    known = {field for field, _ in _fields(last_sent)}
    return any(field not in known for field, _ in _fields(desired))


def known_plan(last_sent: Mapping[str, Any], observed: Mapping[str, Any], changes: Sequence[Change]) -> Plan:
    """Return what Zoom has, without the edits of other people.

    That is the plan Zoom last accepted, corrected by its report for two kinds of fields: fields whose state is unknown,
    and fields that have a value which one of `changes` asked for.
    """
    accepted = dict(_fields(last_sent))
    tried = [pair for each in changes for pair in _fields(each["body"])]
    ours = [(field, value) for field, value in _fields(observed) if field not in accepted or (field, value) in tried]
    return merged_with_zoom(last_sent, _plan(ours))


def _deadline(change: Change) -> datetime:
    return datetime.fromisoformat(change["at"]) + ARRIVAL_WINDOW


def _fields(plan: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield each field with its value; those of `settings` as `settings.name`."""
    for name, value in plan.items():
        if name != "settings":
            yield name, value
    for name, value in plan.get("settings", {}).items():
        yield f"settings.{name}", value


def _plan(fields: Sequence[tuple[str, Any]]) -> Plan:
    """Return the plan that `_fields` would split into these pairs."""
    settings = {field.removeprefix("settings."): value for field, value in fields if field.startswith("settings.")}
    return {field: value for field, value in fields if not field.startswith("settings.")} | {"settings": settings}
