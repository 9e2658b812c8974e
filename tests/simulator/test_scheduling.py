"""One field that Zoom does not accept makes it refuse the call; links on a customer's own domain."""

from typing import Any

import pytest

from tests.simulator.driver import ZoomDriver

MEETING_BODY = {"topic": "T", "type": 2, "start_time": "2031-01-01T10:00:00Z", "timezone": "Europe/Berlin"}
SETTINGS = {"approval_type": 1, "auto_recording": "cloud"}


async def set_switches(zoom: ZoomDriver, **switches: object) -> None:
    await zoom.control("PUT", "/switches", switches)


@pytest.mark.parametrize(
    ("shape", "code", "message"),
    [
        ("errors", 300, "Validation Failed."),
        ("sentence", 300, "The value that you entered in the `timezone` field is invalid. Enter a valid value and try"),
        ("unnamed", 300, "Validation Failed."),
        ("paid", 200, "Only available for paid users: "),
    ],
)
async def test_a_create_and_an_update_are_refused_for_one_field(
    zoom: ZoomDriver, shape: str, code: int, message: str
) -> None:
    await zoom.connect()
    made = await zoom.call("POST", "/users/me/meetings", MEETING_BODY)
    await set_switches(zoom, refused_fields=["timezone"], field_refusal=shape)
    tries: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", "/users/me/meetings", MEETING_BODY),
        ("PATCH", f"/meetings/{made.json()['id']}", {"timezone": "Europe/Paris"}),
    ]
    for method, path, body in tries:
        refused = await zoom.call(method, path, body)
        assert (refused.status_code, refused.json()["code"]) == (400, code)
        assert refused.json()["message"].startswith(message)
        assert ("errors" in refused.json()) == (shape == "errors")
    rest = {name: value for name, value in MEETING_BODY.items() if name != "timezone"}
    assert (await zoom.call("POST", "/users/me/meetings", rest)).status_code == 201


async def test_what_asks_for_nothing_is_not_refused(zoom: ZoomDriver) -> None:
    await zoom.connect()
    await set_switches(zoom, refused_fields=["settings.auto_recording", "settings.alternative_hosts"])
    settings = {"auto_recording": "none", "alternative_hosts": ""}
    made = await zoom.call("POST", "/users/me/meetings", MEETING_BODY | {"settings": settings})
    assert made.status_code == 201


async def test_links_lead_to_the_customers_own_domain(zoom: ZoomDriver) -> None:
    await zoom.connect()
    await set_switches(zoom, link_base="https://acme.zoom-x.de")
    made = (await zoom.call("POST", "/users/me/meetings", MEETING_BODY | {"settings": SETTINGS})).json()
    assert made["join_url"].startswith("https://acme.zoom-x.de/j/")
    person = {"email": "pia@example.org", "first_name": "Pia", "auto_approve": True}
    added = await zoom.call("POST", f"/meetings/{made['id']}/registrants", person)
    assert added.json()["join_url"].startswith("https://acme.zoom-x.de/w/")
