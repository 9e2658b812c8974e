"""Zoom's notifications: signatures, the challenge, and parsing."""

import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.clients.zoom.notifications import (
    BadSignature,
    MalformedNotification,
    Stale,
    challenge_response,
    parse,
    verify,
)
from tests.clients.zoom.conftest import NOW

SECRET, OLD_SECRET = "new-secret", "old-secret"
MAX_AGE = timedelta(minutes=90)
# Escaped slashes, text that is not ASCII, a repeated key, unusual spacing: parsing and writing changes all of them.
BODY = '{ "event":"x","event" : "meeting.started",\n"payload":{"object":{"topic":"Grüße \\/ \\u00e9"}}}'.encode()


def signed(body: bytes, timestamp: str, secret: str = SECRET) -> str:
    return "v0=" + hmac.new(secret.encode(), b"v0:" + timestamp.encode() + b":" + body, hashlib.sha256).hexdigest()


def seconds(moment: datetime) -> str:
    return str(int(moment.timestamp()))


def check(body: bytes, timestamp: str | None, signature: str | None, secrets: tuple[str, ...] = (SECRET,)) -> str:
    return verify(secrets, timestamp, signature, body, NOW, MAX_AGE)


def test_a_signature_made_elsewhere_with_the_documented_formula_verifies() -> None:
    # Made by openssl: printf 'v0:1688752773:{"a":1}' | openssl dgst -sha256 -hmac topsecret
    signature = "v0=ec3796c101187562f157d6a825373cd25f85a542c6ed55fe22898449cb9ed212"
    now = datetime.fromtimestamp(1688752773, UTC)
    assert verify(["topsecret"], "1688752773", signature, b'{"a":1}', now, MAX_AGE) == "topsecret"


def test_raw_bytes_are_what_is_signed() -> None:
    assert check(BODY, seconds(NOW), signed(BODY, seconds(NOW))) == SECRET
    rewritten = json.dumps(json.loads(BODY)).encode()
    with pytest.raises(BadSignature):
        check(rewritten, seconds(NOW), signed(BODY, seconds(NOW)))


@given(st.binary())
def test_any_body_verifies_as_it_was_sent(body: bytes) -> None:
    assert check(body, seconds(NOW), signed(body, seconds(NOW))) == SECRET


def test_every_active_secret_is_good_and_the_one_that_signed_is_told() -> None:
    signature = signed(BODY, seconds(NOW), OLD_SECRET)
    assert check(BODY, seconds(NOW), signature, (SECRET, OLD_SECRET)) == OLD_SECRET
    with pytest.raises(BadSignature):
        check(BODY, seconds(NOW), signature)


def test_seconds_and_milliseconds_are_understood() -> None:
    milliseconds = str(int(NOW.timestamp() * 1000))
    assert check(BODY, milliseconds, signed(BODY, milliseconds)) == SECRET


@pytest.mark.parametrize(
    "signature", [None, "", "v0=", "v0=00", signed(BODY, "1"), signed(BODY, seconds(NOW))[3:], "v0=é", "\ud800"]
)
def test_a_wrong_or_missing_signature_is_refused(signature: str | None) -> None:
    with pytest.raises(BadSignature):
        check(BODY, seconds(NOW), signature)


@pytest.mark.parametrize("timestamp", [None, "", "now", "-1", "1.5", "١٢٣", "9" * 17, " 1"])
def test_a_wrong_or_missing_timestamp_is_refused(timestamp: str | None) -> None:
    with pytest.raises(BadSignature):
        check(BODY, timestamp, signed(BODY, timestamp or ""))


@pytest.mark.parametrize("age", [MAX_AGE, timedelta(), timedelta(minutes=-5)])
def test_the_window_reaches_both_ways(age: timedelta) -> None:
    timestamp = seconds(NOW - age)
    assert check(BODY, timestamp, signed(BODY, timestamp)) == SECRET


@pytest.mark.parametrize("age", [MAX_AGE + timedelta(seconds=1), timedelta(minutes=-5, seconds=-1)])
def test_what_is_outside_the_window_is_stale_though_signed(age: timedelta) -> None:
    timestamp = seconds(NOW - age)
    with pytest.raises(Stale):
        check(BODY, timestamp, signed(BODY, timestamp))


@pytest.mark.parametrize("secrets", [(), ("",), (SECRET, "")])
def test_an_empty_secret_is_our_mistake(secrets: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="secrets"):
        check(BODY, seconds(NOW), signed(BODY, seconds(NOW), ""), secrets)


def test_the_challenge_is_answered() -> None:
    token = "qgg8vlvZRS6UYooatFL8Aw"
    expected = hmac.new(SECRET.encode(), token.encode(), hashlib.sha256).hexdigest()
    assert challenge_response(SECRET, token) == {"plainToken": token, "encryptedToken": expected}


@pytest.mark.parametrize("token", ["v0:1688752773:{}", ":", "", "x" * 65, None, 5, ["x"]])
def test_nothing_that_could_be_a_signature_is_signed(token: object) -> None:
    with pytest.raises(MalformedNotification, match="plainToken"):
        challenge_response(SECRET, token)


def test_no_challenge_is_answered_with_an_empty_secret() -> None:
    with pytest.raises(ValueError, match="secret"):
        challenge_response("", "qgg8vlvZRS6UYooatFL8Aw")


def body_of(**members: Any) -> bytes:
    return json.dumps(members).encode()


@pytest.mark.parametrize("meeting_id", [9007199254740993, "9007199254740993"])
def test_ids_are_text_whatever_form_they_come_in(meeting_id: object) -> None:
    payload_object = {"id": meeting_id, "uuid": "/abc==", "host_id": "host"}
    notification = parse(
        body_of(event="meeting.started", event_ts=1688752773000, payload={"account_id": "a", "object": payload_object})
    )
    assert (notification.event, notification.event_ts, notification.account_id) == (
        "meeting.started",
        1688752773000,
        "a",
    )
    assert (notification.object_id, notification.uuid, notification.host_id) == ("9007199254740993", "/abc==", "host")


@pytest.mark.parametrize(
    "times",
    [
        {"event_ts": 1592401948632},
        {"event_ts": "1592401948632"},
        {"payload": {"event_ts": 1592401948632}},
        {"payload": {"event_ts": "1592401948632"}},
    ],
)
def test_the_time_of_a_deauthorization_is_found_wherever_it_is(times: dict[str, Any]) -> None:
    payload = {"account_id": "a", "user_id": "u", **times.get("payload", {})}
    notification = parse(body_of(**{"event": "app_deauthorized", **times, "payload": payload}))
    assert (notification.event_ts, notification.account_id, notification.payload["user_id"]) == (
        1592401948632,
        "a",
        "u",
    )


def test_a_time_in_seconds_becomes_milliseconds() -> None:
    assert parse(body_of(event="x", event_ts=1592401948)).event_ts == 1592401948000


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"payload": None},
        {"payload": {}},
        {"payload": {"object": None}},
        {"payload": {"object": []}},
        {"payload": {"object": {"id": None}}},
        {"payload": {"object": {"id": True, "uuid": ""}}},
        {"payload": {"object": {"id": 1.5}}},
        {"event_ts": "soon", "something_new": [{}]},
    ],
)
def test_unknown_notifications_with_anything_missing_are_read(members: dict[str, Any]) -> None:
    notification = parse(body_of(event="meeting.invented_in_2030", **members))
    assert notification.event == "meeting.invented_in_2030"
    assert (notification.object_id, notification.uuid, notification.account_id, notification.event_ts) == (
        None,
        None,
        None,
        None,
    )


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b"", "body"),
        (b"{", "body"),
        (b"[]", "body"),
        (b"\xff\xfe", "body"),
        (b"[" * 100_000, "body"),
        (b"{}", "event"),
        (body_of(event=5), "event"),
        (body_of(event=""), "event"),
        (body_of(event="x", payload=[1]), "payload"),
    ],
)
def test_what_is_no_notification_is_refused_by_name(body: bytes, named: str) -> None:
    with pytest.raises(MalformedNotification, match=named):
        parse(body)


def test_the_payload_does_not_show() -> None:
    assert "the-key" not in repr(parse(body_of(event="x", payload={"stream_key": "the-key"})))
