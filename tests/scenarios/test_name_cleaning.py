"""Invisible characters are removed from names and titles.

So they reach neither Zoom nor mails, pages, files and calendars.
"""

import re
from datetime import timedelta
from typing import Any

from tests.support.mail_steps import subscribe
from tests.support.registration_steps import list_registrations, native_event
from tests.support.service import COMMUNITY, RunningService
from tests.support.steps import get_event, only_meeting, rsvp

INVISIBLE = re.compile("[\u00ad\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
NAME = "Mia\u202e\u200b Mem\u00adber\ufeff"
TITLE = "Open\u200b eve\u2066ning\u200d"


async def register_on_behalf(service: RunningService, event: dict[str, Any], name: str) -> Any:
    """RSVP as an admin on behalf of a person with this name."""
    path = f"/api/events/{event['id']}/registrations/m-typed"
    body = {"status": "going", "name": name, "email": "typed@members.example"}
    response = await service.call("admin", "PUT", path, json=body)
    assert response.status_code == 200, response.text
    await service.wait_idle()
    return response.json()


async def test_a_name_and_a_title_leave_as_one_sees_them(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event(title=TITLE)
    assert event["title"] == "Open evening"
    await rsvp(service, event, name=NAME)
    assert (await register_on_behalf(service, event, NAME))["name"] == "Mia Member"
    meeting = await only_meeting(service)
    assert meeting["topic"] == "Open evening"
    assert {(each["first_name"], each["last_name"]) for each in meeting["registrants"]} == {("Mia", "Member")}
    for mail in service.mailbox.all():
        assert not INVISIBLE.search(str(mail.message["Subject"]) + str(mail.message["To"]))
        for part in mail.message.walk():
            content = part.get_payload(decode=True)
            assert not isinstance(content, bytes) or not INVISIBLE.search(content.decode())
    assert {row["name"] for row in (await list_registrations(service, event))["items"]} == {"Mia Member"}
    file = await service.get("member", f"/api/events/{event['id']}/invite.ics")
    feed = await service.get(None, await subscribe(service))
    await service.advance_clock(timedelta(days=2))
    csv = await service.get("admin", f"/api/events/{event['id']}/attendance?format=csv")
    for response in (file, feed, csv):
        assert response.status_code == 200
        assert not INVISIBLE.search(response.text.removeprefix("\ufeff"))


async def test_names_kept_from_before_are_cleaned_when_they_leave(service: RunningService) -> None:
    await service.connect()
    event = await native_event(service)
    await rsvp(service, event)
    await service.resources.db.pool.execute("UPDATE registrations SET name = $1", NAME)
    await service.resources.db.pool.execute("UPDATE events SET title = $1", TITLE)
    assert (await get_event(service, event))["title"] == "Open evening"
    assert [row["name"] for row in (await list_registrations(service, event))["items"]] == ["Mia Member"]
    assert (await service.post("member", f"/api/events/{event['id']}/invite")).status_code == 202
    await service.wait_idle()
    mail = service.mailbox.all()[-1].message
    assert str(mail["Subject"]).endswith(": Open evening")
    assert "Mia Member" in str(mail["To"])


async def test_a_title_of_which_one_sees_nothing_is_none(service: RunningService) -> None:
    event = await native_event(service)
    refused = await service.patch("admin", f"/api/events/{event['id']}", {"title": "\u200b\u2060"})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"] == "title"
    guest = {"email": "gil@guests.example", "name": "\u202e\ufeff"}
    refused = await service.post("admin", f"/api/events/{event['id']}/guests", guest)
    assert refused.json()["errors"][0]["field"] == "name"
    space = await service.post(
        "admin", f"/api/communities/{COMMUNITY['slug']}/spaces", {"name": "\u200b", "description": ""}
    )
    assert space.json()["errors"][0]["field"] == "name"
