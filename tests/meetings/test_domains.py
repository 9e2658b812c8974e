"""Zoom is not only zoom.us, and a link that leads elsewhere is told to admins before anybody is invited."""

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from app.demo.mailbox import Mail, Mailbox
from tests.living import Living, alive
from tests.meetings.house import later, rsvp, seen, switch, sync
from tests.meetings.test_token_trouble import registrant

FOREIGN = [
    "https://acme.zoom.us.evil.example",
    "https://user@zoom.us",
    "https://zoom.us:8443",
    "http://acme.zoom.us",
    "https://xn--zm-bcaa.us",
    "https://acme.zoom.example",
]


@pytest.fixture
async def told(database_url: str, redis_url: str, mailbox: Mailbox) -> AsyncIterator[Living]:
    """The service, told of one more domain of Zoom's."""
    async with alive(database_url, redis_url, mailbox, zoom_domains="zoom.example, zoom.example.org") as living:
        yield living


async def went_to(living: Living, event: dict[str, Any], who: str = "member") -> str:
    """Where a click on Join ends."""
    await living.forward((await starts(living, event)) - living.clock.now())
    joined = await living.post(who, f"/api/events/{event['id']}/zoom-join")
    assert joined.status_code == 200, joined.text
    sent = await living.api.get(joined.json()["url"], follow_redirects=False)
    assert sent.status_code == 303, sent.text
    return sent.headers["location"]


async def starts(living: Living, event: dict[str, Any]) -> Any:
    return await living.held.db.hot.fetchval("SELECT starts_at FROM events WHERE id::text = $1", event["id"])


@pytest.mark.parametrize(
    "base",
    ["https://acme.zoom-x.de", "https://acme.zoom.com", "https://acme.zoomgov.com", "https://zoom.com.cn"],
)
async def test_a_click_ends_in_a_meeting_on_any_domain_of_zooms(living: Living, base: str) -> None:
    await living.connect()
    await switch(living, link_base=base)
    event = await living.event()
    assert event["zoom"]["state"] == "scheduled"
    await rsvp(living, event)
    assert (await registrant(living, event))["state"] == "ready"
    went = urlsplit(await went_to(living, event))
    assert f"{went.scheme}://{went.netloc}" == base
    started = await living.post("admin", f"/api/events/{event['id']}/zoom-start")
    sent = await living.api.get(started.json()["url"], follow_redirects=False)
    assert sent.headers["location"].startswith(f"{base}/s/")


@pytest.mark.parametrize("base", FOREIGN)
async def test_a_link_that_leads_elsewhere_is_told_to_admins_before_anybody_is_invited(
    living: Living, every_mail: list[Mail], base: str
) -> None:
    await living.connect()
    await switch(living, link_base=base)
    event = await living.event()
    assert event["zoom"]["state"] == "failed"
    assert event["zoom"]["last_error"]["type"] == "foreign-link"
    assert "ZOOM_DOMAINS" in event["zoom"]["last_error"]["detail"]
    await rsvp(living, event)
    told = await registrant(living, event)
    assert (told["state"], told["reason"]) == ("failed", "Zoom answered with a link that is not Zoom's.")
    assert [mail for mail in every_mail if "member@members.example" in mail.recipients] == []
    await living.forward((await starts(living, event)) - living.clock.now())
    joined = await living.post("member", f"/api/events/{event['id']}/zoom-join")
    assert joined.status_code == 503
    assert joined.json()["type"].endswith("/not-ready")
    assert "tell the organisers" in joined.json()["detail"]


async def test_a_host_without_a_licence_sends_nobody_elsewhere_either(living: Living) -> None:
    await living.connect()
    await switch(living, link_base=FOREIGN[0])
    event = await living.event(host_id=(await living.hosts())["cleo@riverside.example"]["id"])
    assert event["zoom"]["last_error"]["type"] == "foreign-link"
    await rsvp(living, event)
    await living.forward((await starts(living, event)) - living.clock.now())
    joined = await living.post("member", f"/api/events/{event['id']}/zoom-join")
    assert joined.status_code == 503
    assert "tell the organisers" in joined.json()["detail"]


async def test_once_the_link_is_right_everybody_is_registered_and_invited(
    living: Living, every_mail: list[Mail]
) -> None:
    await living.connect()
    await switch(living, link_base="https://acme.zoom.example")
    event = await living.event()
    await rsvp(living, event)
    # The operator adds the domain.
    living.held.zoom._domains = ["zoom.example"]
    shown = await sync(living, event)
    assert (shown["zoom"]["state"], shown["zoom"]["last_error"]) == ("scheduled", None)
    await later(living, 2)
    assert (await registrant(living, event))["state"] == "ready"
    assert len([mail for mail in every_mail if "member@members.example" in mail.recipients]) == 1


async def test_the_operator_can_add_a_domain_of_zooms(told: Living) -> None:
    await told.connect()
    await switch(told, link_base="https://acme.zoom.example")
    event = await told.event()
    assert (await seen(told, event))["zoom"]["state"] == "scheduled"
    await rsvp(told, event)
    assert (await went_to(told, event)).startswith("https://acme.zoom.example/w/")


async def test_a_link_is_checked_once_more_when_it_is_used(living: Living) -> None:
    await living.connect()
    living.held.zoom._domains = ["zoom.example"]
    await switch(living, link_base="https://acme.zoom.example")
    event = await living.event()
    await rsvp(living, event)
    assert (await registrant(living, event))["state"] == "ready"
    living.held.zoom._domains = []
    await living.forward((await starts(living, event)) - living.clock.now())
    joined = await living.post("member", f"/api/events/{event['id']}/zoom-join")
    sent = await living.api.get(joined.json()["url"], follow_redirects=False)
    assert sent.status_code == 409
    assert "location" not in sent.headers
