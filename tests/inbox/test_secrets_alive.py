"""Webhook secrets are replaced while Zoom goes on speaking, and nothing it says is lost."""

import json
from typing import Any

from app.demo.mailbox import Mailbox
from tests.living import WEBHOOK_SECRET, Living, alive
from tests.meetings.house import CARD, seen

NEW_SECRET = "the-next-webhook-secret-of-the-app"


async def inside(living: Living, event: dict[str, Any], what: str) -> str:
    """The meeting is started or ended inside Zoom; the status of the event after that."""
    (await living.zoom.post(f"/simulator/meetings/{event['zoom']['meeting_id']}/{what}")).raise_for_status()
    await living.quiet()
    status: str = (await seen(living, event))["status"]
    return status


async def signs_with(living: Living, secret: str, **subscription: str) -> None:
    """What Zoom signs with from now on."""
    (await living.zoom.put("/simulator/webhooks", json={"secret": secret} | subscription)).raise_for_status()


async def passes(living: Living, account_id: str | None = None) -> bool:
    """Whether the endpoint passes Zoom's URL challenge."""
    asked = {"account_id": account_id} if account_id else {}
    valid: bool = (await living.zoom.post("/simulator/webhooks/validate", params=asked)).json()["valid"]
    return valid


async def heard(living: Living) -> set[str]:
    """What became of everything Zoom said."""
    return {delivery["outcome"] for delivery in (await living.zoom.get("/simulator/deliveries")).json()}


async def test_the_apps_secret_is_replaced_without_a_lost_notification(
    database_url: str, redis_url: str, mailbox: Mailbox
) -> None:
    both = f"{NEW_SECRET},{WEBHOOK_SECRET}"
    async with alive(database_url, redis_url, mailbox, zoom_webhook_secret_token=both) as living:
        await living.connect()
        event = await living.event()
        assert await inside(living, event, "start") == "live"
        assert await passes(living)
        await signs_with(living, NEW_SECRET)
        assert await passes(living)
        assert await inside(living, event, "end") == "scheduled", "a rehearsal"
        assert await inside(living, event, "start") == "live"
        assert await heard(living) == {"delivered"}


async def test_once_the_former_secret_of_the_app_is_taken_off_the_list_it_signs_nothing(
    database_url: str, redis_url: str, mailbox: Mailbox
) -> None:
    async with alive(database_url, redis_url, mailbox, zoom_webhook_secret_token=NEW_SECRET) as living:
        await living.connect()
        event = await living.event()
        assert not await passes(living)
        assert await inside(living, event, "start") == "scheduled"
        assert await heard(living) == {"refused, not retried"}


async def test_an_accounts_own_secret_is_replaced_without_a_lost_notification(living: Living) -> None:
    account = await living.connect()
    zoom_account = (await living.zoom.get("/simulator/state")).json()["accounts"][0]["id"]
    endpoint = {
        "url": f"{living.settings.public_url}/api/integrations/zoom/webhooks/{account['id']}",
        "account_id": zoom_account,
    }
    path = f"{CARD}/accounts/{account['id']}/webhook-secret"
    first, second = "the-first-own-secret", "the-second-own-secret"
    await living.call("admin", "PUT", path, json={"secret": first})
    await signs_with(living, first, **endpoint)
    event = await living.event()
    assert await passes(living, zoom_account)
    told = (await living.call("admin", "PUT", path, json={"secret": second})).json()
    assert (told["own_secret"], told["former_secret_until"] is None) == (True, False)
    assert await inside(living, event, "start") == "live", "signed with the first still"
    await signs_with(living, second, **endpoint)
    assert await passes(living, zoom_account)
    assert await inside(living, event, "end") == "scheduled"
    assert await heard(living) == {"delivered"}
    assert second not in json.dumps((await living.get("admin", CARD)).json())
