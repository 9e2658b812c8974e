"""Webhook secrets are replaced while Zoom goes on sending, and no notification is lost."""

import json
from typing import Any

from app.devstack.mailbox import Mailbox
from tests.support.service import WEBHOOK_SECRET, RunningService, run_service
from tests.support.steps import CARD, get_event

NEW_SECRET = "the-next-webhook-secret-of-the-app"


async def simulate_meeting(service: RunningService, event: dict[str, Any], action: str) -> str:
    """Start or end the meeting inside Zoom; return the status of the event afterwards."""
    (await service.zoom.post(f"/simulator/meetings/{event['zoom']['meeting_id']}/{action}")).raise_for_status()
    await service.wait_idle()
    status: str = (await get_event(service, event))["status"]
    return status


async def sign_with(service: RunningService, secret: str, **subscription: str) -> None:
    """Make Zoom sign with this secret from now on."""
    (await service.zoom.put("/simulator/webhooks", json={"secret": secret} | subscription)).raise_for_status()


async def passes_challenge(service: RunningService, account_id: str | None = None) -> bool:
    """Return whether the endpoint passes Zoom's URL challenge."""
    params = {"account_id": account_id} if account_id else {}
    valid: bool = (await service.zoom.post("/simulator/webhooks/validate", params=params)).json()["valid"]
    return valid


async def delivery_outcomes(service: RunningService) -> set[str]:
    """The outcomes of all deliveries."""
    return {delivery["outcome"] for delivery in (await service.zoom.get("/simulator/deliveries")).json()}


async def test_the_apps_secret_is_replaced_without_a_lost_notification(
    database_url: str, redis_url: str, mailbox: Mailbox
) -> None:
    both = f"{NEW_SECRET},{WEBHOOK_SECRET}"
    async with run_service(database_url, redis_url, mailbox, zoom_webhook_secret_token=both) as service:
        await service.connect()
        event = await service.create_event()
        assert await simulate_meeting(service, event, "start") == "live"
        assert await passes_challenge(service)
        await sign_with(service, NEW_SECRET)
        assert await passes_challenge(service)
        assert await simulate_meeting(service, event, "end") == "scheduled", "a rehearsal"
        assert await simulate_meeting(service, event, "start") == "live"
        assert await delivery_outcomes(service) == {"delivered"}


async def test_once_the_former_secret_of_the_app_is_taken_off_the_list_it_signs_nothing(
    database_url: str, redis_url: str, mailbox: Mailbox
) -> None:
    async with run_service(database_url, redis_url, mailbox, zoom_webhook_secret_token=NEW_SECRET) as service:
        await service.connect()
        event = await service.create_event()
        assert not await passes_challenge(service)
        assert await simulate_meeting(service, event, "start") == "scheduled"
        assert await delivery_outcomes(service) == {"refused, not retried"}


async def test_an_accounts_own_secret_is_replaced_without_a_lost_notification(service: RunningService) -> None:
    account = await service.connect()
    zoom_account = (await service.zoom.get("/simulator/state")).json()["accounts"][0]["id"]
    endpoint = {
        "url": f"{service.settings.public_url}/api/integrations/zoom/webhooks/{account['id']}",
        "account_id": zoom_account,
    }
    path = f"{CARD}/accounts/{account['id']}/webhook-secret"
    first, second = "the-first-own-secret", "the-second-own-secret"
    await service.call("admin", "PUT", path, json={"secret": first})
    await sign_with(service, first, **endpoint)
    event = await service.create_event()
    assert await passes_challenge(service, zoom_account)
    body = (await service.call("admin", "PUT", path, json={"secret": second})).json()
    assert (body["own_secret"], body["former_secret_until"] is None) == (True, False)
    assert await simulate_meeting(service, event, "start") == "live", "signed with the first still"
    await sign_with(service, second, **endpoint)
    assert await passes_challenge(service, zoom_account)
    assert await simulate_meeting(service, event, "end") == "scheduled"
    assert await delivery_outcomes(service) == {"delivered"}
    assert second not in json.dumps((await service.get("admin", CARD)).json())
