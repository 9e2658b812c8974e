"""Changes that were sent to Zoom and got no answer: what they name is unknown until Zoom has said it. Pure.

A change is noted before it is sent. If it is found later, nobody knows whether Zoom made it. So its fields are no
longer part of what Zoom is known to have, and they are read or sent again. Zoom may even make it yet, as a request can
be under way for a while: a value that turns up within ten minutes and that we asked for is ours, and nobody's edit.
After ten minutes the last word on its fields is read, or sent where it cannot be read.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from app.clients.zoom import BadAnswer, NoAnswer, OutcomeUnknown, ServerError
from app.meetings.plan import Plan, from_body, merged_with_zoom

# After these nobody knows whether Zoom made the change. All other errors say that it did not.
UNKNOWN_OUTCOME: Final = (NoAnswer, OutcomeUnknown, ServerError, BadAnswer)
ARRIVAL_WINDOW = timedelta(minutes=10)
MAX_CHANGES = 20  # changes of one meeting without an answer; ten minutes of retries are about ten

Change = dict[str, Any]


def new_change(body: Mapping[str, Any], at: datetime) -> Change:
    """A change that is about to be sent, as it is stored."""
    return {"at": at.isoformat(), "body": from_body(body)}


def with_change(changes: Sequence[Change], new: Change) -> list[Change]:
    """The changes without an answer, with one more."""
    return [*changes, new][-MAX_CHANGES:]


def without_change(changes: Sequence[Change], answered: Change | None) -> list[Change]:
    """The changes without an answer, without `one` that Zoom has answered."""
    return [each for each in changes if each != answered]


def overdue(changes: Sequence[Change], now: datetime) -> list[Change]:
    """Those that Zoom will not make any more if it has not made them."""
    return [each for each in changes if _deadline(each) <= now]


def next_deadline(changes: Sequence[Change]) -> datetime | None:
    """When the first of them is overdue; None where there are none."""
    return min(map(_deadline, changes), default=None)


def without_unknown(
    plan: Plan | None, changes: Sequence[Change], reported: Mapping[str, Any] | None = None
) -> Plan | None:
    """A plan without the fields that `changes` name, but for those of which Zoom has `reported` what they are."""
    if plan is None or not changes:
        return plan
    reported_fields = {field for field, _ in _fields(reported or {})}
    named = {field for each in changes for field, _ in _fields(each["body"])} - reported_fields
    settings = {name: value for name, value in plan.get("settings", {}).items() if f"settings.{name}" not in named}
    return {name: value for name, value in plan.items() if name not in named} | {"settings": settings}


def has_unknown(last_sent: Mapping[str, Any], desired: Plan) -> bool:
    """Whether something that is wanted is neither known to be at Zoom nor known not to be."""
    known = {field for field, _ in _fields(last_sent)}
    return any(field not in known for field, _ in _fields(desired))


def known_plan(last_sent: Mapping[str, Any], observed: Mapping[str, Any], changes: Sequence[Change]) -> Plan:
    """What Zoom has, but for what people changed there: the plan it last accepted, and what it says of the fields that
    are unknown or have a value which one of `changes` asked for."""
    accepted = dict(_fields(last_sent))
    tried = [pair for each in changes for pair in _fields(each["body"])]
    ours = [(field, value) for field, value in _fields(observed) if field not in accepted or (field, value) in tried]
    return merged_with_zoom(last_sent, _plan(ours))


def _deadline(change: Change) -> datetime:
    return datetime.fromisoformat(change["at"]) + ARRIVAL_WINDOW


def _fields(plan: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every field with its value; those of `settings` with a dot."""
    for name, value in plan.items():
        if name != "settings":
            yield name, value
    for name, value in plan.get("settings", {}).items():
        yield f"settings.{name}", value


def _plan(fields: Sequence[tuple[str, Any]]) -> Plan:
    settings = {field.removeprefix("settings."): value for field, value in fields if field.startswith("settings.")}
    return {field: value for field, value in fields if not field.startswith("settings.")} | {"settings": settings}
