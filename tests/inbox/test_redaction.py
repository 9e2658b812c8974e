"""An operator sees the structure of a delivery, and nothing personal or secret."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.inbox.redaction import HIDDEN, MAX_DEPTH, VISIBLE_FIELDS, redact

SECRETS = {
    "topic": "Mia and her coach",
    "password": "pass-code",
    "encrypted_password": "sealed-passcode",
    "join_url": "https://zoom.us/w/1?tk=the-link",
    "host_email": "ada@riverside.example",
    "operator": "ada@riverside.example",
    "share_url": "https://zoom.us/rec/share/x",
    "recording_play_passcode": "play-code",
}
NOTIFICATION: dict[str, Any] = {
    "event": "recording.completed",
    "event_ts": 1799582400000,
    "download_token": "the-token",
    "payload": {
        "account_id": "riverside",
        "object": SECRETS
        | {
            "id": 81234567890,
            "uuid": "u==",
            "registrant": {"id": "r1", "email": "mia@x.example", "first_name": "Mia", "status": "approved"},
            "participant": {
                "user_id": "16778240",
                "user_name": "Mia",
                "phone_number": 49151,
                "leave_reason": "Mia left",
            },
            "live_streaming": {"service": "Custom", "custom_live_streaming_settings": {"stream_key": "the-key"}},
            "recording_files": [
                {"id": "f1", "file_type": "MP4", "file_size": 5, "download_url": "https://zoom.us/rec"}
            ],
        },
    },
}


def test_nothing_personal_and_no_secret_is_shown() -> None:
    shown = json.dumps(redact(NOTIFICATION))
    hidden = [*SECRETS.values(), "the-token", "mia@x.example", "Mia", "49151", "the-key", "https://zoom.us/rec"]
    assert [text for text in hidden if text in shown] == []


def test_what_an_operator_needs_is() -> None:
    shown = redact(NOTIFICATION)
    assert (shown["event"], shown["event_ts"], shown["download_token"]) == (
        "recording.completed",
        1799582400000,
        HIDDEN,
    )
    about = shown["payload"]["object"]
    assert (about["id"], about["uuid"], about["topic"]) == (81234567890, "u==", HIDDEN)
    assert about["registrant"] == {"id": "r1", "email": HIDDEN, "first_name": HIDDEN, "status": "approved"}
    assert about["recording_files"] == [{"id": "f1", "file_type": "MP4", "file_size": 5, "download_url": HIDDEN}]


@given(st.text().filter(lambda name: name not in VISIBLE_FIELDS), st.text(min_size=1))
def test_what_nobody_has_named_is_hidden(name: str, value: str) -> None:
    assert redact({"payload": {"object": [{name: value}]}}) == {"payload": {"object": [{name: HIDDEN}]}}


@given(st.emails())
def test_an_address_is_hidden_wherever_it_stands(address: str) -> None:
    assert redact({"id": address}) == {"id": HIDDEN}


@pytest.mark.parametrize("kind", ["list", "object"])
def test_however_deep_a_delivery_is_it_is_shown(kind: str) -> None:
    data: Any = "x"
    for _ in range(5000):
        data = [data] if kind == "list" else {"object": data}
    shown = json.dumps(redact(data))
    assert shown.count("[" if kind == "list" else "{") <= MAX_DEPTH + 1
    assert HIDDEN in shown
    assert MAX_DEPTH > 8, "deeper than anything Zoom sends"
