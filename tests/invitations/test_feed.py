"""A member's calendar feed: their events, at a secret address that they can replace and revoke."""

from datetime import datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import vobject

from app.core.logs import redact
from tests.support.mail_steps import FEED, ZOOM_LINK, feed_entries, forward_past_settling, received_mails, subscribe
from tests.support.registration_steps import native_event, slug
from tests.support.service import RunningService
from tests.support.steps import cancel, change, rsvp


async def test_the_feed_shows_what_one_comes_to_as_the_invites_say(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    maybe = await native_event(service, title="Tea; or, coffee")
    others = await native_event(service, title="Not mine")
    await rsvp(service, event)
    await rsvp(service, maybe, status="maybe")
    await rsvp(service, others, "member2")
    await change(service, event, title="Ängste & Mut")
    await forward_past_settling(service)
    feed = await feed_entries(service, await subscribe(service))
    by_title = {entry.summary.value: entry for entry in feed}
    assert set(by_title) == {"Ängste & Mut", "Tea; or, coffee"}
    entry = by_title["Ängste & Mut"]
    last = [mail for mail in received_mails(service) if mail.title == "Ängste & Mut"][-1]
    assert (entry.uid.value, int(entry.sequence.value)) == (last.uid, last.sequence) == (last.uid, 1)
    assert entry.dtstart.value == datetime.fromisoformat(event["starts_at"])
    assert f"{service.settings.public_url}/join/" in entry.location.value
    assert by_title["Tea; or, coffee"].status.value == "TENTATIVE"


async def test_the_feed_holds_no_zoom_link_and_names_nobody(service: RunningService) -> None:
    await service.connect()
    await rsvp(service, await service.create_event())
    text = (await service.get(None, await subscribe(service))).text.replace("\r\n ", "")
    assert not ZOOM_LINK.search(text)
    assert "ATTENDEE" not in text
    assert "member@members.example" not in text


async def test_what_is_cancelled_declined_or_long_over_is_not_in_the_feed(service: RunningService) -> None:
    cancelled, declined, full, kept = [
        await native_event(service, title=t) for t in ("Cancelled", "Declined", "Full", "Kept")
    ]
    await change(service, full, capacity=1)
    await rsvp(service, full, "member2")
    for event in (cancelled, declined, full, kept):
        await rsvp(service, event)
    await rsvp(service, declined, status="not_going")
    await cancel(service, cancelled)
    path = await subscribe(service)
    assert [entry.summary.value for entry in await feed_entries(service, path)] == ["Kept"]
    await service.advance_clock(timedelta(days=29))
    assert [entry.summary.value for entry in await feed_entries(service, path)] == ["Kept"]
    await service.advance_clock(timedelta(days=3))
    assert await feed_entries(service, path) == []


async def test_a_calendar_program_is_told_how_often_to_look_and_gets_nothing_twice(service: RunningService) -> None:
    event = await native_event(service)
    await rsvp(service, event)
    path = await subscribe(service)
    first = await service.get(None, path)
    assert "REFRESH-INTERVAL;VALUE=DURATION:PT1H\r\n" in first.text
    assert "X-PUBLISHED-TTL:PT1H\r\n" in first.text
    assert "private" in first.headers["cache-control"]
    tag = first.headers["etag"]
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = await service.get(None, path, headers={"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    await change(service, event, title="Another evening")
    fresh = await service.get(None, path, headers={"If-None-Match": tag})
    assert fresh.status_code == 200
    assert fresh.headers["etag"] != tag
    head = await service.call(None, "HEAD", path)
    assert (head.status_code, head.content) == (200, b"")


async def test_a_change_that_is_not_mailed_yet_has_the_number_its_mail_will_have(service: RunningService) -> None:
    event = await native_event(service)
    await rsvp(service, event)
    await change(service, event, title="Another evening")
    [entry] = await feed_entries(service, await subscribe(service))
    assert len(received_mails(service)) == 1
    assert (entry.summary.value, int(entry.sequence.value)) == ("Another evening", 1)
    invite = await service.get("member", f"/api/events/{event['id']}/invite.ics")
    assert int(vobject.readOne(invite.text).vevent.sequence.value) == 1
    await forward_past_settling(service)
    assert received_mails(service)[-1].sequence == 1


async def test_the_secret_is_shown_once_and_only_the_last_one_opens(service: RunningService) -> None:
    assert (await service.get("member", FEED)).json() == {"active": False, "created_at": None}
    old = await subscribe(service)
    state = (await service.get("member", FEED)).json()
    assert (state["active"], set(state)) == (True, {"active", "created_at"})
    new = await subscribe(service)
    assert new != old
    await feed_entries(service, new)
    gone = await service.get(None, old)
    assert (gone.status_code, slug(gone)) == (404, "not-found")
    assert (await service.call("member", "DELETE", FEED)).status_code == 204
    assert (await service.call("member", "DELETE", FEED)).status_code == 204
    assert (await service.get(None, new)).content == gone.content.replace(old.encode(), new.encode())
    assert (await service.get("member", FEED)).json()["active"] is False


async def test_of_the_secret_only_a_digest_is_kept_and_nothing_is_logged(service: RunningService) -> None:
    secret = (await subscribe(service)).rpartition("/")[2].removesuffix(".ics")
    rows = await service.resources.db.pool.fetch("SELECT feed::text AS row FROM calendar_feeds AS feed")
    assert len(rows) == 1
    assert secret not in rows[0]["row"]
    for text in (f"GET /calendar/{secret}.ics", f"next=https%3A%2F%2Fx.example%2Fcalendar%2F{secret}.ics"):
        assert secret not in redact(text)
    assert "un-sub" not in redact("GET /unsubscribe/un-sub-link")


@pytest.mark.parametrize("secret", ["x", "A" * 43, "A" * 500, "%00", "%ED%A0%80", "..%2Fetc"])
async def test_an_unknown_secret_is_one_clear_sentence(service: RunningService, secret: str) -> None:
    response: httpx.Response = await service.get(None, f"/calendar/{secret}.ics")
    assert (response.status_code, slug(response)) == (404, "not-found")
    assert response.json()["detail"]


async def test_who_is_coming_gets_links_that_add_the_event_to_a_calendar(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event(title="Ängste & Mut + Tee")
    path = f"/api/events/{event['id']}/calendar-links"
    refused = await service.get("member", path)
    assert (refused.status_code, slug(refused)) == (403, "not-registered")
    await rsvp(service, event)
    links = (await service.get("member", path)).json()
    assert parse_qs(urlsplit(links["google"]).query)["text"] == ["Ängste & Mut + Tee"]
    for name in ("outlook", "office365"):
        query = parse_qs(urlsplit(links[name]).query)
        assert query["subject"] == ["Ängste & Mut + Tee"]
        assert datetime.fromisoformat(query["startdt"][0]) == datetime.fromisoformat(event["starts_at"])
        assert query["location"][0].startswith(f"{service.settings.public_url}/join/")
    assert (await service.get("member", urlsplit(links["ics"]).path)).status_code == 200
    mailed = service.mailbox.all()[-1].message.get_body(("plain",))
    assert mailed is not None
    assert links["google"] in mailed.get_content().replace("=\n", "")
    await cancel(service, event)
    assert slug(await service.get("member", path)) == "not-registered"
