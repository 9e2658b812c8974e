"""Zoom has more domains than zoom.us. Admins see a link that leads elsewhere, and invites wait."""

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from app.devstack.mailbox import Mail, Mailbox
from tests.meetings.test_token_trouble import registrant
from tests.support.service import RunningService, run_service
from tests.support.steps import advance, get_event, rsvp, set_behavior, sync

FOREIGN = [
    "https://acme.zoom.us.evil.example",
    "https://user@zoom.us",
    "https://zoom.us:8443",
    "http://acme.zoom.us",
    "https://xn--zm-bcaa.us",
    "https://acme.zoom.example",
]


@pytest.fixture
async def wider_service(database_url: str, redis_url: str, mailbox: Mailbox) -> AsyncIterator[RunningService]:
    """A service with one more domain of Zoom in its settings."""
    async with run_service(database_url, redis_url, mailbox, zoom_domains="zoom.example, zoom.example.org") as service:
        yield service


async def went_to(service: RunningService, event: dict[str, Any], who: str = "member") -> str:
    """Return where a click on Join ends."""
    await service.advance_clock((await starts(service, event)) - service.clock.now())
    joined = await service.post(who, f"/api/events/{event['id']}/zoom-join")
    assert joined.status_code == 200, joined.text
    sent = await service.api.get(joined.json()["url"], follow_redirects=False)
    assert sent.status_code == 303, sent.text
    return sent.headers["location"]


async def starts(service: RunningService, event: dict[str, Any]) -> Any:
    return await service.resources.db.pool.fetchval("SELECT starts_at FROM events WHERE id::text = $1", event["id"])


@pytest.mark.parametrize(
    "base",
    ["https://acme.zoom-x.de", "https://acme.zoom.com", "https://acme.zoomgov.com", "https://zoom.com.cn"],
)
async def test_a_click_ends_in_a_meeting_on_any_domain_of_zooms(service: RunningService, base: str) -> None:
    await service.connect()
    await set_behavior(service, link_base=base)
    event = await service.create_event()
    assert event["zoom"]["state"] == "scheduled"
    await rsvp(service, event)
    assert (await registrant(service, event))["state"] == "ready"
    went = urlsplit(await went_to(service, event))
    assert f"{went.scheme}://{went.netloc}" == base
    started = await service.post("admin", f"/api/events/{event['id']}/zoom-start")
    sent = await service.api.get(started.json()["url"], follow_redirects=False)
    assert sent.headers["location"].startswith(f"{base}/s/")


@pytest.mark.parametrize("base", FOREIGN)
async def test_a_link_that_leads_elsewhere_is_told_to_admins_before_anybody_is_invited(
    service: RunningService, every_mail: list[Mail], base: str
) -> None:
    await service.connect()
    await set_behavior(service, link_base=base)
    event = await service.create_event()
    assert event["zoom"]["state"] == "failed"
    assert event["zoom"]["last_error"]["type"] == "foreign-link"
    assert "ZOOM_DOMAINS" in event["zoom"]["last_error"]["detail"]
    await rsvp(service, event)
    registrant_row = await registrant(service, event)
    assert (registrant_row["state"], registrant_row["reason"]) == (
        "failed",
        "Zoom answered with a link that is not Zoom's.",
    )
    assert [mail for mail in every_mail if "member@members.example" in mail.recipients] == []
    await service.advance_clock((await starts(service, event)) - service.clock.now())
    joined = await service.post("member", f"/api/events/{event['id']}/zoom-join")
    assert joined.status_code == 503
    assert joined.json()["type"].endswith("/not-ready")
    assert "tell the organisers" in joined.json()["detail"]


async def test_a_host_without_a_licence_sends_nobody_elsewhere_either(service: RunningService) -> None:
    await service.connect()
    await set_behavior(service, link_base=FOREIGN[0])
    event = await service.create_event(host_id=(await service.hosts())["cleo@riverside.example"]["id"])
    assert event["zoom"]["last_error"]["type"] == "foreign-link"
    await rsvp(service, event)
    await service.advance_clock((await starts(service, event)) - service.clock.now())
    joined = await service.post("member", f"/api/events/{event['id']}/zoom-join")
    assert joined.status_code == 503
    assert "tell the organisers" in joined.json()["detail"]


async def test_once_the_link_is_right_everybody_is_registered_and_invited(
    service: RunningService, every_mail: list[Mail]
) -> None:
    await service.connect()
    await set_behavior(service, link_base="https://acme.zoom.example")
    event = await service.create_event()
    await rsvp(service, event)
    # The operator adds the domain.
    service.resources.zoom._domains = ["zoom.example"]
    shown = await sync(service, event)
    assert (shown["zoom"]["state"], shown["zoom"]["last_error"]) == ("scheduled", None)
    await advance(service, 2)
    assert (await registrant(service, event))["state"] == "ready"
    assert len([mail for mail in every_mail if "member@members.example" in mail.recipients]) == 1


async def test_the_operator_can_add_a_domain_of_zooms(wider_service: RunningService) -> None:
    await wider_service.connect()
    await set_behavior(wider_service, link_base="https://acme.zoom.example")
    event = await wider_service.create_event()
    assert (await get_event(wider_service, event))["zoom"]["state"] == "scheduled"
    await rsvp(wider_service, event)
    assert (await went_to(wider_service, event)).startswith("https://acme.zoom.example/w/")


async def test_a_link_is_checked_once_more_when_it_is_used(service: RunningService) -> None:
    await service.connect()
    service.resources.zoom._domains = ["zoom.example"]
    await set_behavior(service, link_base="https://acme.zoom.example")
    event = await service.create_event()
    await rsvp(service, event)
    assert (await registrant(service, event))["state"] == "ready"
    service.resources.zoom._domains = []
    await service.advance_clock((await starts(service, event)) - service.clock.now())
    joined = await service.post("member", f"/api/events/{event['id']}/zoom-join")
    sent = await service.api.get(joined.json()["url"], follow_redirects=False)
    assert sent.status_code == 409
    assert "location" not in sent.headers
