"""The platform accepts a hook only by its signature, which the demo verifies with code of its own."""

from datetime import UTC, datetime, timedelta

import pytest
from standardwebhooks import Webhook

from app.clients import hooks
from app.devstack.webhook_receiver import TOLERANCE, BadSignature, WebhookReceiver, verify

SECRET, OTHER = hooks.new_secret(), hooks.new_secret()
BODY = '{"type":"event.live","data":{"event_id":"e1"}}'


def signed_headers(secret: str = SECRET, at: datetime | None = None) -> dict[str, str]:
    at = at or datetime.now(UTC)
    signature = Webhook(secret).sign("m1", at, BODY)
    return {"webhook-id": "m1", "webhook-timestamp": str(int(at.timestamp())), "webhook-signature": signature}


def test_what_the_published_library_signs_is_proved() -> None:
    assert verify(SECRET, signed_headers(), BODY.encode())["type"] == "event.live"


def test_one_of_two_signatures_is_enough_while_a_secret_is_rotated() -> None:
    both = signed_headers(OTHER)["webhook-signature"] + " " + signed_headers()["webhook-signature"]
    assert verify(SECRET, signed_headers() | {"webhook-signature": both}, BODY.encode())


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (signed_headers(OTHER), BODY),
        (signed_headers(), BODY + " "),
        (signed_headers() | {"webhook-id": "m2"}, BODY),
        (signed_headers(at=datetime.now(UTC) - timedelta(seconds=TOLERANCE + 5)), BODY),
        (signed_headers() | {"webhook-timestamp": "now"}, BODY),
        ({}, BODY),
    ],
)
def test_what_is_not_ours_or_not_from_now_is_refused(headers: dict[str, str], body: str) -> None:
    with pytest.raises(BadSignature):
        verify(SECRET, headers, body.encode())


async def test_a_message_sent_again_is_received_once() -> None:
    receiver = WebhookReceiver()
    receiver.secret = SECRET
    for _ in range(2):
        await receiver.receive(signed_headers(), BODY.encode())
    assert await receiver.wait_for("event.live", "e1", seconds=1) == {"type": "event.live", "data": {"event_id": "e1"}}
    with pytest.raises(TimeoutError):
        await receiver.wait_for("event.ended", "e1", seconds=0.01)
