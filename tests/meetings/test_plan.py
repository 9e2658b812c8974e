"""The plan stays within Zoom's limits, and a change names only the fields that differ."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from hypothesis import given
from hypothesis import strategies as st

from app.clients.zoom import Meeting
from app.core.crypto import Encryption
from app.meetings.marker import has_marker, new_marker
from app.meetings.plan import (
    MeetingSpec,
    Plan,
    create_body,
    diff_body,
    differences,
    duration_minutes,
    from_zoom,
    is_protected,
    merged_with_zoom,
    new_passcode,
    plan,
)

OURS = Encryption.parse("k1:" + "A" * 43)
START = datetime(2027, 3, 1, 19, 0, tzinfo=UTC)
moments = st.integers(-(10**8), 10**8).map(lambda seconds: START + timedelta(seconds=seconds))
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=3000)


@st.composite
def specs(draw: st.DrawFn) -> MeetingSpec:
    starts_at = draw(moments)
    return MeetingSpec(
        title=draw(st.text(min_size=1, max_size=300)),
        description=draw(texts),
        starts_at=starts_at,
        ends_at=starts_at + draw(st.timedeltas(timedelta(seconds=1), timedelta(days=2))),
        timezone=draw(st.sampled_from(["Europe/Berlin", "UTC", "America/New_York"])),
        marker=new_marker(OURS, draw(st.uuids())),
        licensed=draw(st.booleans()),
        can_record=draw(st.booleans()),
        record=draw(st.booleans()),
        waiting_room=draw(st.booleans()),
        mute_upon_entry=draw(st.booleans()),
        participant_video=draw(st.booleans()),
        alternative_hosts=draw(st.lists(st.sampled_from(["zoom-user-1", "zoom-user-2", "zoom-user-3"]), unique=True)),
    )


def spec(**overrides: Any) -> MeetingSpec:
    known: dict[str, Any] = {
        "title": "Open evening",
        "description": "Bring tea.",
        "starts_at": START,
        "ends_at": START + timedelta(hours=1),
        "timezone": "Europe/Berlin",
        "marker": "kindryn:nonce",
        "licensed": True,
        "can_record": True,
    }
    return MeetingSpec(**(known | overrides))


def applied(before: Plan, body: Any) -> Plan:
    """Return what Zoom has after it applied a PATCH completely."""
    fields = {name: value for name, value in (body or {}).items() if name != "settings"}
    if "start_time" in fields:
        fields["start_time"] = fields["start_time"].strftime("%Y-%m-%dT%H:%M:%SZ")
    return {**before, **fields, "settings": {**before.get("settings", {}), **(body or {}).get("settings", {})}}


@given(specs())
def test_a_plan_stays_within_zooms_limits(wanted: MeetingSpec) -> None:
    made = plan(wanted)
    assert 1 <= len(made["topic"]) <= 200
    assert len(made["agenda"]) <= 2000
    assert 1 <= made["duration"] <= 1440


@given(specs())
def test_the_marker_heads_the_agenda_also_where_a_list_cuts_it(wanted: MeetingSpec) -> None:
    agenda = plan(wanted)["agenda"]
    assert has_marker(agenda, wanted.marker)
    assert has_marker(agenda[:250], wanted.marker)
    assert not has_marker(agenda, new_marker(OURS, uuid4()))


@given(specs(), specs())
def test_applying_the_changes_makes_the_wanted_of_the_pushed(before: MeetingSpec, after: MeetingSpec) -> None:
    last_sent, wanted = plan(before), plan(after)
    assert applied(last_sent, diff_body(last_sent, wanted)) == wanted


@given(specs())
def test_nothing_changes_where_nothing_differs(wanted: MeetingSpec) -> None:
    assert diff_body(plan(wanted), plan(wanted)) is None


@given(specs(), specs())
def test_changes_name_only_what_differs(before: MeetingSpec, after: MeetingSpec) -> None:
    last_sent, wanted = plan(before), plan(after)
    body: Any = diff_body(last_sent, wanted) or {}
    settings = body.get("settings", {})
    assert {name for name in settings if last_sent["settings"][name] == wanted["settings"][name]} == set()
    same = {name for name in body if name != "settings" and last_sent[name] == wanted[name]}
    assert same <= {"start_time", "timezone"}, "a start is read by its zone, so the two travel together"


def test_a_rename_names_only_the_topic() -> None:
    assert diff_body(plan(spec()), plan(spec(title="Another evening"))) == {"topic": "Another evening"}


def test_minutes_are_rounded_up() -> None:
    assert duration_minutes(START, START + timedelta(seconds=61)) == 2
    assert duration_minutes(START, START + timedelta(minutes=60)) == 60
    assert duration_minutes(START, START + timedelta(days=3)) == 1440


def test_strangers_wait_for_approval_and_nobody_shares_a_link() -> None:
    settings = plan(spec())["settings"]
    assert settings["approval_type"] == 1
    assert settings["allow_multiple_devices"] is False
    assert settings["show_share_button"] is False
    body: Any = create_body(plan(spec()), "abcDEF2345")
    assert body["settings"]["show_join_info"] is False


def test_without_a_licence_the_waiting_room_stands_in_for_registration() -> None:
    settings = plan(spec(licensed=False))["settings"]
    assert (settings["approval_type"], settings["waiting_room"]) == (2, True)


def test_recording_is_asked_for_only_where_the_host_can_and_the_space_wants_it() -> None:
    assert plan(spec())["settings"]["auto_recording"] == "cloud"
    assert plan(spec(can_record=False))["settings"]["auto_recording"] == "none"
    assert plan(spec(record=False))["settings"]["auto_recording"] == "none"


def test_what_zoom_keeps_otherwise_is_a_difference() -> None:
    wanted = plan(spec())
    zoom_meeting = Meeting.model_validate(
        {
            "id": 85746065123,
            "topic": "Renamed inside",
            "start_time": "2027-03-01T19:00:00Z",
            "duration": 60,
            "settings": {"approval_type": 2, "waiting_room": False, "auto_recording": "cloud"},
        }
    )
    observed = from_zoom(zoom_meeting)
    assert differences(wanted, observed) == [
        {"field": "topic", "wanted": "Open evening", "observed": "Renamed inside"},
        {"field": "settings.approval_type", "wanted": 1, "observed": 2},
    ]
    assert not is_protected(observed)
    again = diff_body(merged_with_zoom(wanted, observed), wanted)
    assert again == {"topic": "Open evening", "settings": {"approval_type": 1}}


def test_a_passcode_has_letters_and_digits_and_fits() -> None:
    passcode = new_passcode()
    assert len(passcode) == 10
    assert any(letter.isalpha() for letter in passcode)
    assert any(letter.isdigit() for letter in passcode)
