"""A refusal of one optional field loses that field, not the meeting, and admins see which."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.clients.zoom import InvalidRequest, NotAllowed, NotFound, NotLicensed, Refused, ZoomError
from app.clients.zoom.errors import FieldError
from app.meetings.optional import GUESSED, MOST_TRIES, OPTIONAL, Tries, named_in, noted, optional_in, trimmed, without
from tests.living import Living
from tests.meetings.house import (
    CREATE,
    PATCH,
    budget_of,
    calls,
    change,
    faults,
    later,
    lost_answer,
    meeting_rows,
    rsvp,
    seen,
    switch,
    sync,
    the_meeting,
    used,
)

SHAPES = ["errors", "sentence", "unnamed", "paid"]


def said(message: str = "Validation Failed.", *fields: str, code: int = 300) -> InvalidRequest:
    """A refusal of a create."""
    error = InvalidRequest(message, operation="create_meeting", status=400, code=code)
    error.fields = tuple(FieldError(field, "Invalid field.") for field in fields)
    return error


@pytest.mark.parametrize(
    ("refusal", "named"),
    [
        (said("Validation Failed.", "timezone"), {"timezone"}),
        (said("Validation Failed.", "settings.auto_recording"), {"settings.auto_recording"}),
        (said("Validation Failed.", "auto_recording", "timezone"), {"settings.auto_recording", "timezone"}),
        (said("Validation Failed.", "topic"), {"topic"}),
        (said("The value that you entered in the `timezone` field is invalid."), {"timezone"}),
        (said("The value that you entered in the `schedule_for` field is invalid."), {"schedule_for"}),
        (said("settings.alternative_hosts: Invalid field."), {"settings.alternative_hosts"}),
        (said("Invalid time zone."), {"timezone"}),
        (said("You cannot choose this alternative host.", code=3000), {"settings.alternative_hosts"}),
        (said("Passcode does not meet the requirements."), {"password"}),
        (said("Validation Failed."), set()),
        (NotLicensed("Only available for paid users: abc.", operation="o", status=400, code=200), set()),
    ],
)
def test_zoom_names_a_field_in_several_ways(refusal: ZoomError, named: set[str]) -> None:
    assert named_in(refusal) == named


@pytest.mark.parametrize(
    "refusal",
    [
        said("Validation Failed.", "topic"),
        said("Validation Failed.", "timezone", "topic"),
        said("Invalid parameter: `occurrence_id`."),
        said("This API endpoint is not recognized.", code=2300),
        NotLicensed("Your user account is not allowed meeting hosting.", operation="o", status=400, code=3161),
        NotAllowed("No permission.", operation="o", status=400, code=200),
        NotFound("User does not exist: abc.", operation="o", status=404, code=1001),
        Refused("Meeting is in progress.", operation="o", status=400, code=3002),
    ],
    ids=str,
)
def test_what_is_not_about_an_optional_field_is_final(refusal: ZoomError) -> None:
    assert Tries(frozenset(OPTIONAL)).after(refusal) is None


def test_where_no_field_is_named_one_after_the_other_is_left_out_and_then_all() -> None:
    tries, left = Tries(frozenset(OPTIONAL)), list[frozenset[str]]()
    while (following := tries.after(said())) is not None:
        tries = following
        left.append(tries.left_out)
    rest = frozenset(OPTIONAL).difference(GUESSED)
    assert left == [*(frozenset({field}) for field in GUESSED), rest, frozenset(OPTIONAL)]


REFUSALS = st.sampled_from([said(), said("", "timezone"), said("", "settings.auto_recording"), said("", "password")])


@given(st.frozensets(st.sampled_from(OPTIONAL)), st.lists(REFUSALS, min_size=20, max_size=20))
def test_tries_end_and_leave_out_only_what_was_there(present: frozenset[str], refusals: list[ZoomError]) -> None:
    tries: Tries | None = Tries(present)
    made = 0
    for refusal in refusals:
        if tries is None:
            break
        made += 1
        assert tries.left_out <= present
        tries = tries.after(refusal)
    assert tries is None
    assert made <= MOST_TRIES


VALUES = st.sampled_from(["Europe/Berlin", "Europe/Paris", "Antarctica/Troll"])
PLANS = st.fixed_dictionaries(
    {"topic": st.text(max_size=3), "settings": st.just({"approval_type": 1})}, optional={"timezone": VALUES}
)


@given(PLANS, PLANS)
def test_a_field_is_asked_for_again_only_with_another_value(plan: dict[str, Any], other: dict[str, Any]) -> None:
    kept = noted(plan, {}, optional_in(plan))
    assert optional_in(trimmed(plan, kept)) == frozenset()
    same = plan.get("timezone") == other.get("timezone")
    assert trimmed(other, kept) == (without(other, kept) if same else other)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("field", ["timezone", "settings.auto_recording", "settings.alternative_hosts"])
async def test_a_meeting_is_made_without_the_field_zoom_refuses(living: Living, field: str, shape: str) -> None:
    await living.connect()
    await switch(living, refused_fields=[field], field_refusal=shape)
    hosts = await living.hosts()
    event = await living.event(alternative_hosts=[hosts["ben@riverside.example"]["id"]])
    assert (event["zoom"]["state"], event["zoom"]["last_error"]) == ("scheduled", None)
    assert [difference["field"] for difference in event["zoom"]["differences"]] == [field]
    assert [warned["type"] for warned in event["zoom"]["warnings"]] == ["left-out"]
    await the_meeting(living)
    made = await calls(living, CREATE)
    # Each call counts, also those Zoom refused.
    assert len(made) <= MOST_TRIES
    assert await used(living, await budget_of(living, event["host_id"])) == len(made)
    await rsvp(living, event)
    assert (await seen(living, event, "member"))["my_rsvp"]["registrant"]["state"] == "ready"


async def test_a_field_zoom_refused_is_not_sent_again_at_every_sync(living: Living) -> None:
    await living.connect()
    await switch(living, refused_fields=["timezone"])
    event = await living.event()
    shown = await change(living, event, title="Another evening")
    assert (shown["zoom"]["state"], (await the_meeting(living))["topic"]) == ("scheduled", "Another evening")
    assert [call["status"] for call in await calls(living, PATCH)] == [204]
    assert [difference["field"] for difference in shown["zoom"]["differences"]] == ["timezone"]


async def test_a_field_zoom_refused_is_tried_again_with_another_value(living: Living) -> None:
    await living.connect()
    await switch(living, refused_fields=["timezone"])
    event = await living.event()
    await switch(living, refused_fields=[])
    shown = await change(living, event, timezone="Europe/Paris")
    assert (await the_meeting(living))["timezone"] == "Europe/Paris"
    assert shown["zoom"]["differences"] == []


async def test_a_field_zoom_refused_is_tried_again_when_an_admin_asks(living: Living) -> None:
    await living.connect()
    await switch(living, refused_fields=["timezone"])
    event = await living.event()
    assert (await sync(living, event))["zoom"]["state"] == "scheduled"
    await switch(living, refused_fields=[])
    shown = await sync(living, event)
    assert (await the_meeting(living))["timezone"] == "Europe/Berlin"
    assert (shown["zoom"]["differences"], shown["zoom"]["warnings"]) == ([], [])


async def test_a_field_zoom_refused_is_tried_again_when_the_account_changes(living: Living) -> None:
    await living.connect()
    await switch(living, refused_fields=["timezone"], field_refusal="paid")
    event = await living.event()
    await switch(living, refused_fields=[])
    await living.connect()
    await later(living, 1)
    assert (await the_meeting(living))["timezone"] == "Europe/Berlin"
    assert (await seen(living, event))["zoom"]["differences"] == []


@pytest.mark.parametrize("shape", SHAPES)
async def test_a_change_is_made_without_the_field_zoom_refuses(living: Living, shape: str) -> None:
    await living.connect()
    event = await living.event()
    await switch(living, refused_fields=["timezone"], field_refusal=shape)
    shown = await change(living, event, timezone="Europe/Paris", title="Another evening")
    assert (shown["zoom"]["state"], shown["zoom"]["last_error"]) == ("scheduled", None)
    meeting = await the_meeting(living)
    assert (meeting["topic"], meeting["timezone"]) == ("Another evening", "Europe/Berlin")
    wanted = {"field": "timezone", "wanted": "Europe/Paris", "observed": None}
    assert shown["zoom"]["differences"] == [wanted]


async def test_what_was_left_out_is_known_although_the_answer_was_lost(living: Living) -> None:
    await living.connect()
    await switch(living, refused_fields=["timezone"])
    slow = {"kind": "latency", "operation": CREATE, "times": 1}
    await faults(living, slow, lost_answer(CREATE))
    event = await living.event()
    assert event["zoom"]["state"] == "scheduled"
    assert [difference["field"] for difference in event["zoom"]["differences"]] == ["timezone"]
    assert len(await meeting_rows(living, event)) == 1


async def test_a_refusal_that_no_field_explains_fails_as_before_after_few_tries(living: Living) -> None:
    await living.connect()
    never = {"kind": "status", "operation": CREATE, "status": 400, "times": None}
    await faults(living, never | {"body": {"code": 300, "message": "Validation Failed."}})
    event = await living.event()
    assert event["zoom"]["state"] == "failed"
    before = len(await calls(living, CREATE))
    assert before <= MOST_TRIES
    await faults(living, never | {"body": {"code": 3161, "message": "Not allowed."}})
    await sync(living, event)
    assert len(await calls(living, CREATE)) == before + 1
