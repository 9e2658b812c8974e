"""If Zoom refuses one optional field, only that field is lost, and admins see which."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.clients.zoom import InvalidRequest, NotAllowed, NotFound, NotLicensed, Refused, ZoomError
from app.clients.zoom.errors import FieldError
from app.meetings.optional_fields import (
    GUESS_ORDER,
    MAX_TRIES,
    OPTIONAL,
    Tries,
    fields_named_by,
    optional_fields_of,
    remember_refused,
    without_fields,
    without_refused,
)
from tests.support.service import RunningService
from tests.support.steps import (
    CREATE,
    PATCH,
    advance,
    change,
    get_event,
    host_quota_key,
    lost_answer,
    meeting_rows,
    only_meeting,
    quota_used,
    rsvp,
    set_behavior,
    set_faults,
    sync,
    zoom_calls,
)

SHAPES = ["errors", "sentence", "unnamed", "paid"]


def invalid_request(message: str = "Validation Failed.", *fields: str, code: int = 300) -> InvalidRequest:
    """Return Zoom's refusal of a create."""
    error = InvalidRequest(message, operation="create_meeting", status=400, code=code)
    error.fields = tuple(FieldError(field, "Invalid field.") for field in fields)
    return error


@pytest.mark.parametrize(
    ("refusal", "named"),
    [
        (invalid_request("Validation Failed.", "timezone"), {"timezone"}),
        (invalid_request("Validation Failed.", "settings.auto_recording"), {"settings.auto_recording"}),
        (invalid_request("Validation Failed.", "auto_recording", "timezone"), {"settings.auto_recording", "timezone"}),
        (invalid_request("Validation Failed.", "topic"), {"topic"}),
        (invalid_request("The value that you entered in the `timezone` field is invalid."), {"timezone"}),
        (invalid_request("The value that you entered in the `schedule_for` field is invalid."), {"schedule_for"}),
        (invalid_request("settings.alternative_hosts: Invalid field."), {"settings.alternative_hosts"}),
        (invalid_request("Invalid time zone."), {"timezone"}),
        (invalid_request("You cannot choose this alternative host.", code=3000), {"settings.alternative_hosts"}),
        (invalid_request("Passcode does not meet the requirements."), {"password"}),
        (invalid_request("Validation Failed."), set()),
        (NotLicensed("Only available for paid users: abc.", operation="o", status=400, code=200), set()),
    ],
)
def test_zoom_names_a_field_in_several_ways(refusal: ZoomError, named: set[str]) -> None:
    assert fields_named_by(refusal) == named


@pytest.mark.parametrize(
    "refusal",
    [
        invalid_request("Validation Failed.", "topic"),
        invalid_request("Validation Failed.", "timezone", "topic"),
        invalid_request("Invalid parameter: `occurrence_id`."),
        invalid_request("This API endpoint is not recognized.", code=2300),
        NotLicensed("Your user account is not allowed meeting hosting.", operation="o", status=400, code=3161),
        NotAllowed("No permission.", operation="o", status=400, code=200),
        NotFound("User does not exist: abc.", operation="o", status=404, code=1001),
        Refused("Meeting is in progress.", operation="o", status=400, code=3002),
    ],
    ids=str,
)
def test_what_is_not_about_an_optional_field_is_final(refusal: ZoomError) -> None:
    assert Tries(frozenset(OPTIONAL)).next(refusal) is None


def test_where_no_field_is_named_one_after_the_other_is_left_out_and_then_all() -> None:
    tries = Tries(frozenset(OPTIONAL))
    left = list[frozenset[str]]()
    while (following := tries.next(invalid_request())) is not None:
        tries = following
        left.append(tries.left_out)
    rest = frozenset(OPTIONAL).difference(GUESS_ORDER)
    assert left == [*(frozenset({field}) for field in GUESS_ORDER), rest, frozenset(OPTIONAL)]


REFUSALS = st.sampled_from(
    [
        invalid_request(),
        invalid_request("", "timezone"),
        invalid_request("", "settings.auto_recording"),
        invalid_request("", "password"),
    ]
)


@given(st.frozensets(st.sampled_from(OPTIONAL)), st.lists(REFUSALS, min_size=20, max_size=20))
def test_tries_end_and_leave_out_only_what_was_there(present: frozenset[str], refusals: list[ZoomError]) -> None:
    tries: Tries | None = Tries(present)
    made = 0
    for refusal in refusals:
        if tries is None:
            break
        made += 1
        assert tries.left_out <= present
        tries = tries.next(refusal)
    assert tries is None
    assert made <= MAX_TRIES


VALUES = st.sampled_from(["Europe/Berlin", "Europe/Paris", "Antarctica/Troll"])
PLANS = st.fixed_dictionaries(
    {"topic": st.text(max_size=3), "settings": st.just({"approval_type": 1})}, optional={"timezone": VALUES}
)


@given(PLANS, PLANS)
def test_a_field_is_asked_for_again_only_with_another_value(plan: dict[str, Any], other: dict[str, Any]) -> None:
    kept = remember_refused(plan, {}, optional_fields_of(plan))
    assert optional_fields_of(without_refused(plan, kept)) == frozenset()
    same = plan.get("timezone") == other.get("timezone")
    assert without_refused(other, kept) == (without_fields(other, kept) if same else other)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("field", ["timezone", "settings.auto_recording", "settings.alternative_hosts"])
async def test_a_meeting_is_made_without_the_field_zoom_refuses(
    service: RunningService, field: str, shape: str
) -> None:
    await service.connect()
    await set_behavior(service, refused_fields=[field], field_refusal=shape)
    hosts = await service.hosts()
    event = await service.create_event(alternative_hosts=[hosts["ben@riverside.example"]["id"]])
    assert (event["zoom"]["state"], event["zoom"]["last_error"]) == ("scheduled", None)
    assert [difference["field"] for difference in event["zoom"]["differences"]] == [field]
    assert [warned["type"] for warned in event["zoom"]["warnings"]] == ["left-out"]
    await only_meeting(service)
    made = await zoom_calls(service, CREATE)
    # Refused calls count, too.
    assert len(made) <= MAX_TRIES
    assert await quota_used(service, await host_quota_key(service, event["host_id"])) == len(made)
    await rsvp(service, event)
    assert (await get_event(service, event, "member"))["my_rsvp"]["registrant"]["state"] == "ready"


async def test_a_field_zoom_refused_is_not_sent_again_at_every_sync(service: RunningService) -> None:
    await service.connect()
    await set_behavior(service, refused_fields=["timezone"])
    event = await service.create_event()
    shown = await change(service, event, title="Another evening")
    assert (shown["zoom"]["state"], (await only_meeting(service))["topic"]) == ("scheduled", "Another evening")
    assert [call["status"] for call in await zoom_calls(service, PATCH)] == [204]
    assert [difference["field"] for difference in shown["zoom"]["differences"]] == ["timezone"]


async def test_a_field_zoom_refused_is_tried_again_with_another_value(service: RunningService) -> None:
    await service.connect()
    await set_behavior(service, refused_fields=["timezone"])
    event = await service.create_event()
    await set_behavior(service, refused_fields=[])
    shown = await change(service, event, timezone="Europe/Paris")
    assert (await only_meeting(service))["timezone"] == "Europe/Paris"
    assert shown["zoom"]["differences"] == []


async def test_a_field_zoom_refused_is_tried_again_when_an_admin_asks(service: RunningService) -> None:
    await service.connect()
    await set_behavior(service, refused_fields=["timezone"])
    event = await service.create_event()
    assert (await sync(service, event))["zoom"]["state"] == "scheduled"
    await set_behavior(service, refused_fields=[])
    shown = await sync(service, event)
    assert (await only_meeting(service))["timezone"] == "Europe/Berlin"
    assert (shown["zoom"]["differences"], shown["zoom"]["warnings"]) == ([], [])


async def test_a_field_zoom_refused_is_tried_again_when_the_account_changes(service: RunningService) -> None:
    await service.connect()
    await set_behavior(service, refused_fields=["timezone"], field_refusal="paid")
    event = await service.create_event()
    await set_behavior(service, refused_fields=[])
    await service.connect()
    await advance(service, 1)
    assert (await only_meeting(service))["timezone"] == "Europe/Berlin"
    assert (await get_event(service, event))["zoom"]["differences"] == []


@pytest.mark.parametrize("shape", SHAPES)
async def test_a_change_is_made_without_the_field_zoom_refuses(service: RunningService, shape: str) -> None:
    await service.connect()
    event = await service.create_event()
    await set_behavior(service, refused_fields=["timezone"], field_refusal=shape)
    shown = await change(service, event, timezone="Europe/Paris", title="Another evening")
    assert (shown["zoom"]["state"], shown["zoom"]["last_error"]) == ("scheduled", None)
    meeting = await only_meeting(service)
    assert (meeting["topic"], meeting["timezone"]) == ("Another evening", "Europe/Berlin")
    wanted = {"field": "timezone", "wanted": "Europe/Paris", "observed": None}
    assert shown["zoom"]["differences"] == [wanted]


async def test_what_was_left_out_is_known_although_the_answer_was_lost(service: RunningService) -> None:
    await service.connect()
    await set_behavior(service, refused_fields=["timezone"])
    slow = {"kind": "latency", "operation": CREATE, "times": 1}
    await set_faults(service, slow, lost_answer(CREATE))
    event = await service.create_event()
    assert event["zoom"]["state"] == "scheduled"
    assert [difference["field"] for difference in event["zoom"]["differences"]] == ["timezone"]
    assert len(await meeting_rows(service, event)) == 1


async def test_a_refusal_that_no_field_explains_fails_as_before_after_few_tries(service: RunningService) -> None:
    await service.connect()
    never = {"kind": "status", "operation": CREATE, "status": 400, "times": None}
    await set_faults(service, never | {"body": {"code": 300, "message": "Validation Failed."}})
    event = await service.create_event()
    assert event["zoom"]["state"] == "failed"
    before = len(await zoom_calls(service, CREATE))
    assert before <= MAX_TRIES
    await set_faults(service, never | {"body": {"code": 3161, "message": "Not allowed."}})
    await sync(service, event)
    assert len(await zoom_calls(service, CREATE)) == before + 1
