"""Hosts and alternative hosts are recognized by verified address or assignment, by every route alike."""

from datetime import timedelta
from typing import Any

import pytest

from tests.support.service import RunningService
from tests.support.steps import CARD, rsvp

ADA, BEN = "ada@riverside.example", "ben@riverside.example"


async def hosted_event(service: RunningService) -> Any:
    """Create an event of Ada's on Zoom that Ben may start too. The account is connected by somebody else."""
    await service.connect("owner")
    hosts = await service.hosts("owner")
    return await service.create_event("owner", host_id=hosts[ADA]["id"], alternative_hosts=[hosts[BEN]["id"]])


async def request_as(service: RunningService, method: str, path: str, email: str, *, verified: bool = True) -> Any:
    """Send a request of a member whose token has this address."""
    claims = {"email": email, "email_verified": verified}
    headers = {"Authorization": f"Bearer {service.platform.token('member', service.clock.now(), **claims)}"}
    return await service.call("member", method, path, headers=headers)


async def hosted_event_ids(service: RunningService, email: str, *, verified: bool = True) -> list[str]:
    found = await request_as(service, "GET", "/api/me/events?role=hosting", email, verified=verified)
    return [event["id"] for event in found.json()["items"]]


@pytest.mark.parametrize(("email", "reason"), [(ADA, "use-start"), (BEN, None)])
async def test_a_host_known_by_address_only_sees_their_events_and_the_way_in(
    service: RunningService, email: str, reason: str | None
) -> None:
    event = await hosted_event(service)
    path = f"/api/events/{event['id']}"
    await service.advance_clock(timedelta(hours=24))
    assert await hosted_event_ids(service, email.upper()) == [event["id"]]
    assert await hosted_event_ids(service, email, verified=False) == []
    assert (await request_as(service, "GET", path, email)).json()["join"]["reason"] == reason
    unknown = (await request_as(service, "GET", path, email, verified=False)).json()["join"]
    assert unknown["reason"] == "not-registered"
    assert (await request_as(service, "GET", f"{path}/messages", email)).status_code == 200


async def test_an_alternative_host_comes_in_by_the_meetings_own_link_and_nobody_else_does(
    service: RunningService,
) -> None:
    event = await hosted_event(service)
    path = f"/api/events/{event['id']}"
    early = await request_as(service, "POST", f"{path}/zoom-join", BEN)
    assert early.json()["type"].endswith("too-early")
    for route in ("zoom-start", "zoom-join"):  # only zoom-start works before joining opens
        minted = await request_as(service, "POST", f"{path}/{route}", BEN)
        assert minted.status_code == 200, minted.text
        redirect = await service.get(None, minted.json()["url"])
        assert redirect.status_code == 303
        assert "/j/" in redirect.headers["location"], "not the host's start URL, which signs in as Ada"
        assert "tk=" not in redirect.headers["location"]
        await service.advance_clock(timedelta(hours=24))


async def test_a_host_starts_without_having_answered(service: RunningService) -> None:
    event = await hosted_event(service)
    path = f"/api/events/{event['id']}"
    started = await request_as(service, "POST", f"{path}/zoom-start", ADA)
    assert started.status_code == 200, started.text
    assert "/s/" in (await service.get(None, started.json()["url"])).headers["location"]


async def test_whom_an_admin_made_the_host_is_the_host_and_the_address_no_longer_counts(
    service: RunningService,
) -> None:
    event = await hosted_event(service)
    mine = f"{CARD}/hosts/{event['host_id']}/member"
    assert (await service.call("owner", "PUT", mine, json={"member_id": "m-coach"})).status_code == 200
    await rsvp(service, event, "member", email=ADA)
    path = f"/api/events/{event['id']}"
    await service.advance_clock(timedelta(hours=24))
    refused = await request_as(service, "POST", f"{path}/zoom-start", ADA)
    assert refused.status_code == 403
    assert refused.json()["detail"].endswith(f"start it in Zoom itself, signed in there as {ADA}.")
    joined = await request_as(service, "POST", f"{path}/zoom-join", ADA)
    assert (joined.status_code, joined.json()["detail"]) == (409, refused.json()["detail"])
    listed = (await service.get("coach", "/api/me/events?role=hosting")).json()["items"]
    assert [each["id"] for each in listed] == [event["id"]]
