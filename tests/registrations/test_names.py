"""Names and titles are cleaned of what nobody sees before they go to Zoom, mails, pages, files and calendars."""

import re
from datetime import timedelta
from typing import Any

from tests.living import COMMUNITY, Living
from tests.meetings.house import rsvp, seen, the_meeting
from tests.registrations.test_answers import listed, native
from tests.registrations.test_feed import subscribe

UNSEEN = re.compile("[\u00ad\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
NAME = "Mia\u202e\u200b Mem\u00adber\ufeff"
TITLE = "Open\u200b eve\u2066ning\u200d"


async def typed(living: Living, event: dict[str, Any], name: str) -> Any:
    """An admin's answer on behalf of somebody, called so."""
    path = f"/api/events/{event['id']}/registrations/m-typed"
    body = {"status": "going", "name": name, "email": "typed@members.example"}
    put = await living.call("admin", "PUT", path, json=body)
    assert put.status_code == 200, put.text
    await living.quiet()
    return put.json()


async def test_a_name_and_a_title_leave_as_one_sees_them(living: Living) -> None:
    await living.connect()
    event = await living.event(title=TITLE)
    assert event["title"] == "Open evening"
    await rsvp(living, event, name=NAME)
    assert (await typed(living, event, NAME))["name"] == "Mia Member"
    meeting = await the_meeting(living)
    assert meeting["topic"] == "Open evening"
    assert {(each["first_name"], each["last_name"]) for each in meeting["registrants"]} == {("Mia", "Member")}
    for mail in living.mailbox.all():
        assert not UNSEEN.search(str(mail.message["Subject"]) + str(mail.message["To"]))
        for part in mail.message.walk():
            content = part.get_payload(decode=True)
            assert not isinstance(content, bytes) or not UNSEEN.search(content.decode())
    assert {row["name"] for row in (await listed(living, event))["items"]} == {"Mia Member"}
    file = await living.get("member", f"/api/events/{event['id']}/invite.ics")
    feed = await living.get(None, await subscribe(living))
    await living.forward(timedelta(days=2))
    csv = await living.get("admin", f"/api/events/{event['id']}/attendance?format=csv")
    for answer in (file, feed, csv):
        assert answer.status_code == 200
        assert not UNSEEN.search(answer.text.removeprefix("\ufeff"))


async def test_names_kept_from_before_are_cleaned_when_they_leave(living: Living) -> None:
    await living.connect()
    event = await native(living)
    await rsvp(living, event)
    await living.held.db.hot.execute("UPDATE registrations SET name = $1", NAME)
    await living.held.db.hot.execute("UPDATE events SET title = $1", TITLE)
    assert (await seen(living, event))["title"] == "Open evening"
    assert [row["name"] for row in (await listed(living, event))["items"]] == ["Mia Member"]
    assert (await living.post("member", f"/api/events/{event['id']}/invite")).status_code == 202
    await living.quiet()
    mail = living.mailbox.all()[-1].message
    assert str(mail["Subject"]).endswith(": Open evening")
    assert "Mia Member" in str(mail["To"])


async def test_a_title_of_which_one_sees_nothing_is_none(living: Living) -> None:
    event = await native(living)
    refused = await living.patch("admin", f"/api/events/{event['id']}", {"title": "\u200b\u2060"})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"] == "title"
    guest = {"email": "gil@guests.example", "name": "\u202e\ufeff"}
    refused = await living.post("admin", f"/api/events/{event['id']}/guests", guest)
    assert refused.json()["errors"][0]["field"] == "name"
    space = await living.post(
        "admin", f"/api/communities/{COMMUNITY['slug']}/spaces", {"name": "\u200b", "description": ""}
    )
    assert space.json()["errors"][0]["field"] == "name"
