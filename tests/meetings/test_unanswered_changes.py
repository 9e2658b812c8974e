"""Which fields are unknown after changes without an answer, and which reported values are our own."""

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from app.meetings import unanswered_changes
from app.meetings.plan import Plan, patch_body

NOW = datetime(2027, 3, 1, 12, tzinfo=UTC)
READABLE = (
    "topic",
    "duration",
    "waiting_room",
)  # fields that Zoom reports when the meeting is read; it does not report the others
FIELDS = ("topic", "duration", "agenda", "waiting_room", "mute_upon_entry")
SETTINGS = {"waiting_room", "mute_upon_entry", "approval_type"}
values = st.integers(1, 3)
flat = st.fixed_dictionaries(dict.fromkeys(FIELDS, values))
bodies = st.dictionaries(st.sampled_from(FIELDS), values, min_size=1)


def plan(fields: dict[str, Any]) -> Plan:
    """Return fields in the shape of a plan."""
    inside = {name: value for name, value in fields.items() if name in SETTINGS}
    return {name: value for name, value in fields.items() if name not in SETTINGS} | {"settings": inside}


def flattened(document: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a plan or a body."""
    return {**{name: value for name, value in document.items() if name != "settings"}, **document.get("settings", {})}


@given(
    accepted=flat,
    attempts=st.lists(st.tuples(bodies, st.booleans()), min_size=1, max_size=4),
    wanted=flat,
    readable=st.booleans(),
)
def test_whichever_changes_were_made_the_next_one_makes_zoom_what_is_wanted(
    accepted: dict[str, int], attempts: list[tuple[dict[str, int], bool]], wanted: dict[str, int], readable: bool
) -> None:
    at_zoom = dict(accepted)
    last_sent = plan(accepted)
    changes = list[unanswered_changes.Change]()
    for body, made in attempts:
        change = unanswered_changes.new_change(plan(body), NOW)
        changes = unanswered_changes.with_change(changes, change)
        last_sent = unanswered_changes.without_unknown(last_sent, [change]) or {}
        at_zoom |= body if made else {}
    reported = plan({name: at_zoom[name] for name in READABLE}) if readable else {}
    sent = patch_body(
        unanswered_changes.known_plan(last_sent, reported, changes), reported, plan(wanted | {"approval_type": 2})
    )
    assert at_zoom | flattened(dict(sent or {})) == wanted | {"approval_type": 2}


@given(accepted=flat, tried=bodies, by_hand=bodies)
def test_what_people_changed_is_not_ours_unless_we_asked_for_it(
    accepted: dict[str, int], tried: dict[str, int], by_hand: dict[str, int]
) -> None:
    changes = [unanswered_changes.new_change(plan(tried), NOW)]
    has = flattened(unanswered_changes.known_plan(plan(accepted), plan(by_hand), changes))
    for name in FIELDS:
        ours = name in by_hand and by_hand[name] == tried.get(name)
        assert has[name] == (by_hand[name] if ours else accepted[name])


@given(accepted=flat, body=bodies)
def test_only_what_a_change_names_is_unknown(accepted: dict[str, int], body: dict[str, int]) -> None:
    change = unanswered_changes.new_change(plan(body), NOW)
    left = unanswered_changes.without_unknown(plan(accepted), [change])
    assert flattened(left or {}) == {name: value for name, value in accepted.items() if name not in body}
    assert unanswered_changes.has_unknown(left or {}, plan(accepted))
    assert not unanswered_changes.has_unknown(plan(accepted), plan(accepted))
    assert unanswered_changes.without_unknown(plan(accepted), [change], plan(body)) == plan(accepted), (
        "Zoom has said what it is"
    )


def test_ten_minutes_on_zoom_makes_no_change_any_more() -> None:
    changes = [
        unanswered_changes.new_change({"topic": str(minute)}, NOW + timedelta(minutes=minute)) for minute in (0, 4)
    ]
    assert unanswered_changes.next_deadline(changes) == NOW + timedelta(minutes=10)
    assert unanswered_changes.overdue(changes, NOW + timedelta(minutes=9)) == []
    assert unanswered_changes.overdue(changes, NOW + timedelta(minutes=10)) == changes[:1]
    assert unanswered_changes.next_deadline([]) is None


def test_changes_without_an_answer_are_kept_within_bounds() -> None:
    changes = list[unanswered_changes.Change]()
    for minute in range(100):
        changes = unanswered_changes.with_change(
            changes, unanswered_changes.new_change({"topic": "x"}, NOW + timedelta(minutes=minute))
        )
    assert len(changes) == unanswered_changes.MAX_CHANGES
    assert unanswered_changes.without_change(changes, changes[-1]) == changes[:-1]
