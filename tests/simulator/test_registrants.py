from typing import Any

import pytest

from tests.simulator.driver import ADA, ADMIN_SCOPES, BEN, ZoomDriver

MIA = "mia@member.example"


async def statuses(zoom: ZoomDriver, meeting_id: int) -> dict[str, list[str]]:
    """Return who is in each of Zoom's lists, by e-mail address."""
    path = f"/meetings/{meeting_id}/registrants"
    return {
        status: [r["email"] for r in (await zoom.call("GET", path, status=status)).json()["registrants"]]
        for status in ("approved", "pending", "denied")
    }


async def change(zoom: ZoomDriver, meeting_id: int, action: str, *registrants: dict[str, str]) -> None:
    """Change a status, which Zoom answers without a body."""
    body = {"action": action, "registrants": list(registrants)}
    answer = await zoom.call("PUT", f"/meetings/{meeting_id}/registrants/status", body)
    assert (answer.status_code, answer.content) == (204, b"")


async def test_an_auto_approved_registrant_gets_a_personal_link(connected: ZoomDriver) -> None:
    meeting = await connected.meeting()
    answer = await connected.add(meeting["id"])
    added = answer.json()
    assert answer.status_code == 201
    assert added.keys() == {"id", "registrant_id", "join_url", "topic", "start_time", "participant_pin_code"}
    assert (added["id"], added["topic"]) == (meeting["id"], "Choir")
    assert f"/w/{meeting['id']}?tk=" in added["join_url"]


async def test_manual_approval_gives_no_link_until_approved(connected: ZoomDriver) -> None:
    meeting = await connected.meeting()
    pending = (await connected.add(meeting["id"], auto_approve=False)).json()
    assert "join_url" not in pending
    assert await statuses(connected, meeting["id"]) == {"approved": [], "pending": [MIA], "denied": []}
    await change(connected, meeting["id"], "approve", {"id": pending["registrant_id"]})
    (shown,) = (await connected.call("GET", f"/meetings/{meeting['id']}/registrants")).json()["registrants"]
    assert shown["id"] == pending["registrant_id"]
    assert shown["join_url"]
    assert shown.keys() >= {"email", "first_name", "last_name", "status", "create_time", "participant_pin_code"}


async def test_automatic_approval_needs_no_asking(connected: ZoomDriver) -> None:
    meeting = await connected.meeting(approval_type=0)
    assert "join_url" in (await connected.add(meeting["id"], auto_approve=False)).json()


async def test_the_same_email_is_the_same_registrant(connected: ZoomDriver) -> None:
    meeting = await connected.meeting()
    first = (await connected.add(meeting["id"])).json()
    assert (await connected.add(meeting["id"], "MIA@member.example")).json() == first
    await connected.control("PUT", "/switches", {"same_email": "new"})
    assert (await connected.add(meeting["id"])).json()["registrant_id"] != first["registrant_id"]


async def test_a_cancelled_registrant_is_in_no_list_and_comes_back_with_a_new_link(connected: ZoomDriver) -> None:
    meeting = await connected.meeting()
    first = (await connected.add(meeting["id"])).json()
    await change(connected, meeting["id"], "cancel", {"email": MIA})
    assert await statuses(connected, meeting["id"]) == {"approved": [], "pending": [], "denied": []}
    assert (await connected.http.get(first["join_url"])).status_code == 403
    again = (await connected.add(meeting["id"])).json()
    assert again["join_url"] != first["join_url"]
    assert (await connected.http.get(again["join_url"])).status_code == 200


async def test_a_denied_registrant_is_listed_as_such(connected: ZoomDriver) -> None:
    meeting = await connected.meeting()
    added = (await connected.add(meeting["id"], auto_approve=False)).json()
    await change(connected, meeting["id"], "deny", {"id": added["registrant_id"]})
    assert (await statuses(connected, meeting["id"]))["denied"] == [MIA]


async def test_a_wrong_key_or_an_unknown_registrant_changes_nothing(connected: ZoomDriver) -> None:
    meeting = await connected.meeting()
    await connected.add(meeting["id"])
    body = {"action": "cancel", "registrant": [{"email": MIA}]}
    assert (await connected.call("PUT", f"/meetings/{meeting['id']}/registrants/status", body)).status_code == 204
    await change(connected, meeting["id"], "cancel", {"email": "nobody@member.example"})
    assert (await statuses(connected, meeting["id"]))["approved"] == [MIA]


@pytest.mark.parametrize("body", [{"action": "CANCEL"}, {}, {"action": "cancel", "registrants": [{}] * 31}])
async def test_a_wrong_status_change_is_refused(connected: ZoomDriver, body: dict[str, Any]) -> None:
    meeting = await connected.meeting()
    refused = await connected.call("PUT", f"/meetings/{meeting['id']}/registrants/status", body)
    assert (refused.status_code, refused.json()["code"]) == (400, 300)


@pytest.mark.parametrize(
    ("person", "field"),
    [
        ({"email": "no address"}, "email"),
        ({"email": f"{'x' * 120}@long.example"}, "email"),
        ({"first_name": "x" * 65}, "first_name"),
        ({"last_name": "x" * 65}, "last_name"),
        ({"first_name": ""}, "first_name"),
        ({"first_name": None}, "first_name"),
    ],
)
async def test_wrong_fields_are_named(connected: ZoomDriver, person: dict[str, Any], field: str) -> None:
    meeting = await connected.meeting()
    refused = await connected.add(meeting["id"], **({"email": MIA} | person))
    assert refused.status_code == 400
    assert refused.json()["errors"] == [{"field": field, "message": "Invalid field."}]


@pytest.mark.parametrize("email", [ADA, "Ben@Riverside.example"])
async def test_host_and_alternative_hosts_cannot_register(connected: ZoomDriver, email: str) -> None:
    meeting = await connected.meeting(settings={"approval_type": 1, "alternative_hosts": BEN})
    refused = await connected.add(meeting["id"], email)
    assert (refused.status_code, refused.json()) == (400, {"code": 3027, "message": "Host can not register"})


async def test_nobody_registers_for_what_is_over(connected: ZoomDriver) -> None:
    meeting = await connected.meeting(start_time=None)
    await connected.control("PUT", "/clock", {"seconds": 3700})
    await connected.connect()
    refused = await connected.add(meeting["id"])
    assert (refused.status_code, refused.json()["code"]) == (400, 3038)


async def test_a_full_meeting_takes_nobody_but_those_it_has(connected: ZoomDriver) -> None:
    await connected.control("PUT", "/switches", {"registrant_capacity": 1})
    meeting = await connected.meeting()
    assert (await connected.add(meeting["id"])).status_code == 201
    refused = await connected.add(meeting["id"], "noa@member.example")
    assert (refused.status_code, refused.json()["code"]) == (400, 3043)
    assert (await connected.add(meeting["id"])).status_code == 201


async def test_an_unknown_meeting_is_3001(connected: ZoomDriver) -> None:
    refused = await connected.add(99999999999)
    assert (refused.status_code, refused.json()["code"]) == (404, 3001)


async def test_without_registration_there_are_no_lists(connected: ZoomDriver) -> None:
    meeting = await connected.meeting(approval_type=2)
    refused = await connected.call("GET", f"/meetings/{meeting['id']}/registrants")
    assert (refused.status_code, refused.json()["code"]) == (400, 404)


async def test_one_registrant_can_be_read_and_removed(connected: ZoomDriver) -> None:
    meeting = await connected.meeting()
    added = (await connected.add(meeting["id"], org="Riverside Choir")).json()
    path = f"/meetings/{meeting['id']}/registrants/{added['registrant_id']}"
    assert (await connected.call("GET", path)).json()["org"] == "Riverside Choir"
    assert (await connected.call("DELETE", path)).status_code == 204
    assert (await connected.call("GET", path)).json()["code"] == 300
    assert (await connected.http.get(added["join_url"])).status_code == 403


async def test_a_batch_adds_up_to_thirty_to_a_scheduled_meeting(connected: ZoomDriver) -> None:
    meeting = await connected.meeting()
    people = [{"email": f"m{n}@member.example", "first_name": "M"} for n in range(30)]
    path = f"/meetings/{meeting['id']}/batch_registrants"
    added = await connected.call("POST", path, {"auto_approve": True, "registrants": people})
    assert added.status_code == 201
    assert len({registrant["join_url"] for registrant in added.json()["registrants"]}) == 30
    too_many = await connected.call("POST", path, {"registrants": [*people, people[0]]})
    assert too_many.status_code == 400
    series = await connected.meeting(type=8, recurrence={"type": 1, "end_times": 2})
    refused = await connected.call("POST", f"/meetings/{series['id']}/batch_registrants", {"registrants": people})
    assert refused.json()["code"] == 303


async def test_a_batch_with_one_who_cannot_register_adds_nobody(connected: ZoomDriver) -> None:
    meeting = await connected.meeting()
    people = [{"email": MIA, "first_name": "Mia"}, {"email": ADA, "first_name": "Ada"}]
    refused = await connected.call("POST", f"/meetings/{meeting['id']}/batch_registrants", {"registrants": people})
    assert (refused.status_code, refused.json()["code"]) == (400, 3027)
    assert await statuses(connected, meeting["id"]) == {"approved": [], "pending": [], "denied": []}


async def test_a_batch_costs_each_address_one_of_its_three_additions(connected: ZoomDriver) -> None:
    meeting = await connected.meeting()
    await connected.control("PUT", "/switches", {"enforce_limits": True})
    path = f"/meetings/{meeting['id']}/batch_registrants"
    people = [{"email": MIA, "first_name": "Mia"}]
    for _ in range(2):
        assert (await connected.call("POST", path, {"registrants": people})).status_code == 201
    assert (await connected.add(meeting["id"])).status_code == 201
    refused = await connected.call("POST", path, {"registrants": people})
    assert (refused.status_code, "daily rate limit of (3)" in refused.json()["message"]) == (429, True)


async def test_a_batch_needs_a_scope_of_its_own(zoom: ZoomDriver) -> None:
    scopes = [scope for scope in ADMIN_SCOPES if "batch" not in scope]
    await zoom.control("PUT", "/app", {"scopes": scopes})
    await zoom.connect()
    meeting = await zoom.meeting()
    people = {"registrants": [{"email": MIA, "first_name": "Mia"}]}
    refused = await zoom.call("POST", f"/meetings/{meeting['id']}/batch_registrants", people)
    assert (refused.status_code, refused.json()["code"]) == (400, 4711)
    assert "meeting:write:batch_registrants" in refused.json()["message"]


async def test_registrants_are_paged(connected: ZoomDriver) -> None:
    meeting = await connected.meeting()
    for number in range(5):
        await connected.add(meeting["id"], f"m{number}@member.example")
    path = f"/meetings/{meeting['id']}/registrants"
    emails = []
    token = ""
    while True:
        page = (await connected.call("GET", path, page_size="2", next_page_token=token)).json()
        emails += [registrant["email"] for registrant in page["registrants"]]
        token = page["next_page_token"]
        if not token:
            break
    assert emails == [f"m{number}@member.example" for number in range(5)]
