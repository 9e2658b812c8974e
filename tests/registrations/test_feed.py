"""A member's calendar feed: their events, at a secret address that they can replace and take back."""

from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import vobject

from app.core.logs import redact
from tests.living import Living
from tests.meetings.house import cancel, change, rsvp
from tests.registrations.test_answers import native, slug
from tests.registrations.test_mailing import ZOOM_LINK, letters, settle

MINE = "/api/me/calendar-feed"


async def subscribe(living: Living, who: str = "member") -> str:
    """The path of a new feed of somebody."""
    made = await living.post(who, MINE)
    assert made.status_code == 201, made.text
    url = str(made.json()["url"])
    assert url.startswith(f"{living.settings.public_url}/calendar/")
    return urlsplit(url).path


async def shown(living: Living, path: str) -> list[Any]:
    """The entries of a feed."""
    answer = await living.get(None, path)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/calendar; charset=utf-8"
    calendar = vobject.readOne(answer.text)
    assert not hasattr(calendar, "method")
    return list(getattr(calendar, "vevent_list", []))


async def test_the_feed_shows_what_one_comes_to_as_the_invites_say(living: Living) -> None:
    await living.connect()
    event = await living.event()
    maybe = await native(living, title="Tea; or, coffee")
    others = await native(living, title="Not mine")
    await rsvp(living, event)
    await rsvp(living, maybe, status="maybe")
    await rsvp(living, others, "member2")
    await change(living, event, title="Ängste & Mut")
    await settle(living)
    feed = await shown(living, await subscribe(living))
    by_title = {entry.summary.value: entry for entry in feed}
    assert set(by_title) == {"Ängste & Mut", "Tea; or, coffee"}
    entry = by_title["Ängste & Mut"]
    last = [mail for mail in letters(living) if mail.title == "Ängste & Mut"][-1]
    assert (entry.uid.value, int(entry.sequence.value)) == (last.uid, last.sequence) == (last.uid, 1)
    assert entry.dtstart.value == datetime.fromisoformat(event["starts_at"])
    assert f"{living.settings.public_url}/join/" in entry.location.value
    assert by_title["Tea; or, coffee"].status.value == "TENTATIVE"


async def test_the_feed_holds_no_zoom_link_and_names_nobody(living: Living) -> None:
    await living.connect()
    await rsvp(living, await living.event())
    text = (await living.get(None, await subscribe(living))).text.replace("\r\n ", "")
    assert not ZOOM_LINK.search(text)
    assert "ATTENDEE" not in text
    assert "member@members.example" not in text


async def test_what_is_cancelled_declined_or_long_over_is_not_in_the_feed(living: Living) -> None:
    cancelled, declined, full, kept = [await native(living, title=t) for t in ("Cancelled", "Declined", "Full", "Kept")]
    await change(living, full, capacity=1)
    await rsvp(living, full, "member2")
    for event in (cancelled, declined, full, kept):
        await rsvp(living, event)
    await rsvp(living, declined, status="not_going")
    await cancel(living, cancelled)
    path = await subscribe(living)
    assert [entry.summary.value for entry in await shown(living, path)] == ["Kept"]
    await living.forward(timedelta(days=29))
    assert [entry.summary.value for entry in await shown(living, path)] == ["Kept"]
    await living.forward(timedelta(days=3))
    assert await shown(living, path) == []


async def test_a_calendar_program_is_told_how_often_to_look_and_gets_nothing_twice(living: Living) -> None:
    event = await native(living)
    await rsvp(living, event)
    path = await subscribe(living)
    first = await living.get(None, path)
    assert "REFRESH-INTERVAL;VALUE=DURATION:PT1H\r\n" in first.text
    assert "X-PUBLISHED-TTL:PT1H\r\n" in first.text
    assert "private" in first.headers["cache-control"]
    tag = first.headers["etag"]
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = await living.get(None, path, headers={"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    await change(living, event, title="Another evening")
    fresh = await living.get(None, path, headers={"If-None-Match": tag})
    assert fresh.status_code == 200
    assert fresh.headers["etag"] != tag
    head = await living.call(None, "HEAD", path)
    assert (head.status_code, head.content) == (200, b"")


async def test_a_change_that_is_not_mailed_yet_has_the_number_its_mail_will_have(living: Living) -> None:
    event = await native(living)
    await rsvp(living, event)
    await change(living, event, title="Another evening")
    [entry] = await shown(living, await subscribe(living))
    assert len(letters(living)) == 1
    assert (entry.summary.value, int(entry.sequence.value)) == ("Another evening", 1)
    invite = await living.get("member", f"/api/events/{event['id']}/invite.ics")
    assert int(vobject.readOne(invite.text).vevent.sequence.value) == 1
    await settle(living)
    assert letters(living)[-1].sequence == 1


async def test_the_secret_is_shown_once_and_only_the_last_one_opens(living: Living) -> None:
    assert (await living.get("member", MINE)).json() == {"active": False, "created_at": None}
    old = await subscribe(living)
    state = (await living.get("member", MINE)).json()
    assert (state["active"], set(state)) == (True, {"active", "created_at"})
    new = await subscribe(living)
    assert new != old
    await shown(living, new)
    gone = await living.get(None, old)
    assert (gone.status_code, slug(gone)) == (404, "not-found")
    assert (await living.call("member", "DELETE", MINE)).status_code == 204
    assert (await living.call("member", "DELETE", MINE)).status_code == 204
    assert (await living.get(None, new)).content == gone.content.replace(old.encode(), new.encode())
    assert (await living.get("member", MINE)).json()["active"] is False


async def test_of_the_secret_only_a_digest_is_kept_and_nothing_is_logged(living: Living) -> None:
    secret = (await subscribe(living)).rpartition("/")[2].removesuffix(".ics")
    rows = await living.held.db.hot.fetch("SELECT feed::text AS row FROM calendar_feeds AS feed")
    assert len(rows) == 1
    assert secret not in rows[0]["row"]
    for said in (f"GET /calendar/{secret}.ics", f"next=https%3A%2F%2Fx.example%2Fcalendar%2F{secret}.ics"):
        assert secret not in redact(said)
    assert "un-sub" not in redact("GET /unsubscribe/un-sub-link")


@pytest.mark.parametrize("secret", ["x", "A" * 43, "A" * 500, "%00", "%ED%A0%80", "..%2Fetc"])
async def test_an_unknown_secret_is_one_clear_sentence(living: Living, secret: str) -> None:
    answer: httpx.Response = await living.get(None, f"/calendar/{secret}.ics")
    assert (answer.status_code, slug(answer)) == (404, "not-found")
    assert answer.json()["detail"]


async def test_who_is_coming_gets_links_that_add_the_event_to_a_calendar(living: Living) -> None:
    await living.connect()
    event = await living.event(title="Ängste & Mut + Tee")
    path = f"/api/events/{event['id']}/calendar-links"
    refused = await living.get("member", path)
    assert (refused.status_code, slug(refused)) == (403, "not-registered")
    await rsvp(living, event)
    links = (await living.get("member", path)).json()
    assert parse_qs(urlsplit(links["google"]).query)["text"] == ["Ängste & Mut + Tee"]
    for name in ("outlook", "office365"):
        query = parse_qs(urlsplit(links[name]).query)
        assert query["subject"] == ["Ängste & Mut + Tee"]
        assert datetime.fromisoformat(query["startdt"][0]) == datetime.fromisoformat(event["starts_at"])
        assert query["location"][0].startswith(f"{living.settings.public_url}/join/")
    assert (await living.get("member", urlsplit(links["ics"]).path)).status_code == 200
    mailed = living.mailbox.all()[-1].message.get_body(("plain",))
    assert mailed is not None
    assert links["google"] in mailed.get_content().replace("=\n", "")
    await cancel(living, event)
    assert slug(await living.get("member", path)) == "not-registered"
