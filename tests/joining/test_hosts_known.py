"""Hosts and alternative hosts are known everywhere alike, by verified address or assignment, and come in."""

from datetime import timedelta
from typing import Any

import pytest

from tests.living import Living
from tests.meetings.house import CARD, rsvp

ADA, BEN = "ada@riverside.example", "ben@riverside.example"


async def evening(living: Living) -> Any:
    """An event of Ada's at Zoom, which Ben may start too. The account is connected by somebody who is neither."""
    await living.connect("owner")
    hosts = await living.hosts("owner")
    return await living.event("owner", host_id=hosts[ADA]["id"], alternative_hosts=[hosts[BEN]["id"]])


async def asked(living: Living, method: str, path: str, email: str, *, verified: bool = True) -> Any:
    """One request of a member, whose token says that address."""
    claims = {"email": email, "email_verified": verified}
    headers = {"Authorization": f"Bearer {living.platform.token('member', living.clock.now(), **claims)}"}
    return await living.call("member", method, path, headers=headers)


async def hosted(living: Living, email: str, *, verified: bool = True) -> list[str]:
    found = await asked(living, "GET", "/api/me/events?role=hosting", email, verified=verified)
    return [event["id"] for event in found.json()["items"]]


@pytest.mark.parametrize(("email", "reason"), [(ADA, "use-start"), (BEN, None)])
async def test_a_host_known_by_address_only_sees_their_events_and_the_way_in(
    living: Living, email: str, reason: str | None
) -> None:
    event = await evening(living)
    path = f"/api/events/{event['id']}"
    await living.forward(timedelta(hours=24))
    assert await hosted(living, email.upper()) == [event["id"]]
    assert await hosted(living, email, verified=False) == []
    assert (await asked(living, "GET", path, email)).json()["join"]["reason"] == reason
    unknown = (await asked(living, "GET", path, email, verified=False)).json()["join"]
    assert unknown["reason"] == "not-registered"
    assert (await asked(living, "GET", f"{path}/messages", email)).status_code == 200


async def test_an_alternative_host_comes_in_by_the_meetings_own_link_and_nobody_else_does(living: Living) -> None:
    event = await evening(living)
    path = f"/api/events/{event['id']}"
    early = await asked(living, "POST", f"{path}/zoom-join", BEN)
    assert early.json()["type"].endswith("too-early")
    for door in ("zoom-start", "zoom-join"):  # of which only the first opens before the time
        let_in = await asked(living, "POST", f"{path}/{door}", BEN)
        assert let_in.status_code == 200, let_in.text
        redirect = await living.get(None, let_in.json()["url"])
        assert redirect.status_code == 303
        assert "/j/" in redirect.headers["location"], "not the host's start URL, which signs in as Ada"
        assert "tk=" not in redirect.headers["location"]
        await living.forward(timedelta(hours=24))


async def test_a_host_starts_without_having_answered(living: Living) -> None:
    event = await evening(living)
    path = f"/api/events/{event['id']}"
    started = await asked(living, "POST", f"{path}/zoom-start", ADA)
    assert started.status_code == 200, started.text
    assert "/s/" in (await living.get(None, started.json()["url"])).headers["location"]


async def test_whom_an_admin_made_the_host_is_the_host_and_the_address_no_longer_counts(living: Living) -> None:
    event = await evening(living)
    mine = f"{CARD}/hosts/{event['host_id']}/member"
    assert (await living.call("owner", "PUT", mine, json={"member_id": "m-coach"})).status_code == 200
    await rsvp(living, event, "member", email=ADA)
    path = f"/api/events/{event['id']}"
    await living.forward(timedelta(hours=24))
    refused = await asked(living, "POST", f"{path}/zoom-start", ADA)
    assert refused.status_code == 403
    assert refused.json()["detail"].endswith(f"start it in Zoom itself, signed in there as {ADA}.")
    joined = await asked(living, "POST", f"{path}/zoom-join", ADA)
    assert (joined.status_code, joined.json()["detail"]) == (409, refused.json()["detail"])
    listed = (await living.get("coach", "/api/me/events?role=hosting")).json()["items"]
    assert [each["id"] for each in listed] == [event["id"]]
