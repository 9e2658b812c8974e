"""The platform's keys over real HTTP: cached, rotated, throttled, and kept while the platform fails."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from app.clients import jwks as module
from app.clients.jwks import Jwks, KeysUnavailable, UnknownKey, read_keys

PRIVATE = ec.generate_private_key(ec.SECP256R1())
OTHER = ec.generate_private_key(ec.SECP256R1())
PUBLIC = ECAlgorithm.to_jwk(PRIVATE.public_key(), as_dict=True)


def entry(kid: str | None = "a", **changes: Any) -> dict[str, Any]:
    return {**PUBLIC, **({} if kid is None else {"kid": kid}), **changes}


class JwksServer:
    """Serves `document` with `status` and `headers`, and counts the fetches."""

    def __init__(self) -> None:
        self.fetches = 0
        self.document: object = {"keys": [entry()]}
        self.status = 200
        self.headers = ""
        self.may_respond = asyncio.Event()
        self.may_respond.set()
        self.requested = asyncio.Event()
        self.url = ""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            self.fetches += 1
            self.requested.set()
            await self.may_respond.wait()
            body = self.document if isinstance(self.document, bytes) else json.dumps(self.document).encode()
            head = f"HTTP/1.1 {self.status} X\r\nContent-Length: {len(body)}\r\nConnection: close\r\n{self.headers}\r\n"
            writer.write(head.encode() + body)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            # The client closed the connection early; some tests provoke that.
            return
        finally:
            writer.close()


class FakeMonotonicClock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def jwks_server() -> AsyncIterator[JwksServer]:
    jwks_server = JwksServer()
    server = await asyncio.start_server(jwks_server.answer, "127.0.0.1", 0)
    jwks_server.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/jwks.json"
    async with server:
        yield jwks_server
        jwks_server.may_respond.set()


@pytest.fixture
def fake_clock() -> FakeMonotonicClock:
    return FakeMonotonicClock()


@pytest.fixture
async def keys(jwks_server: JwksServer, fake_clock: FakeMonotonicClock) -> AsyncIterator[Jwks]:
    async with httpx.AsyncClient() as http:
        yield Jwks(http, jwks_server.url, clock=fake_clock)


async def test_a_key_is_fetched_once_and_then_answered_without_waiting(jwks_server: JwksServer, keys: Jwks) -> None:
    assert keys.cached("a") is None
    key = await keys.key("a")
    token = jwt.encode({"sub": "x"}, PRIVATE, "ES256")
    assert jwt.decode(token, key) == {"sub": "x"}
    assert keys.cached("a") is key
    assert await keys.key("a") is key
    assert jwks_server.fetches == 1


async def test_stale_keys_are_refreshed(jwks_server: JwksServer, keys: Jwks, fake_clock: FakeMonotonicClock) -> None:
    await keys.key("a")
    fake_clock.now += 599
    assert keys.cached("a") is not None
    fake_clock.now += 1
    assert keys.cached("a") is None
    jwks_server.document = {"keys": [entry("b")]}
    with pytest.raises(UnknownKey):
        await keys.key("a")
    assert keys.cached("b") is not None
    assert jwks_server.fetches == 2


async def test_the_time_to_live_can_be_chosen(jwks_server: JwksServer, fake_clock: FakeMonotonicClock) -> None:
    async with httpx.AsyncClient() as http:
        keys = Jwks(http, jwks_server.url, timedelta(minutes=1), fake_clock)
        await keys.key("a")
        fake_clock.now += 60
        assert keys.cached("a") is None


async def test_a_rotated_key_is_found_at_once_when_the_last_fetch_is_a_while_ago(
    jwks_server: JwksServer, keys: Jwks, fake_clock: FakeMonotonicClock
) -> None:
    await keys.key("a")
    jwks_server.document = {"keys": [entry(), entry("b")]}
    fake_clock.now += 10
    assert keys.cached("b") is None
    assert (await keys.key("b")).key_id == "b"
    assert jwks_server.fetches == 2


async def test_unknown_kids_cause_one_fetch_in_ten_seconds(
    jwks_server: JwksServer, keys: Jwks, fake_clock: FakeMonotonicClock
) -> None:
    await keys.key("a")
    for moment in range(100):
        fake_clock.now = 1000.0 + moment / 5
        with pytest.raises(UnknownKey):
            await keys.key(f"invented-{moment}")
    assert jwks_server.fetches == 2


async def test_many_callers_share_one_fetch(jwks_server: JwksServer, keys: Jwks) -> None:
    found = await asyncio.gather(*(keys.key("a") for _ in range(50)))
    assert {key.key_id for key in found} == {"a"}
    assert jwks_server.fetches == 1


async def test_a_caller_who_gives_up_does_not_take_the_others_along(jwks_server: JwksServer, keys: Jwks) -> None:
    jwks_server.may_respond.clear()
    first = asyncio.create_task(keys.key("a"))
    await jwks_server.requested.wait()
    second = asyncio.create_task(keys.key("a"))
    first.cancel()
    jwks_server.may_respond.set()
    assert (await second).key_id == "a"
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_only_one_caller_waits_for_a_refresh(
    jwks_server: JwksServer, keys: Jwks, fake_clock: FakeMonotonicClock
) -> None:
    await keys.key("a")
    fake_clock.now += 600
    jwks_server.may_respond.clear()
    jwks_server.requested.clear()
    refreshing = asyncio.create_task(keys.key("a"))
    await jwks_server.requested.wait()
    assert keys.cached("a") is not None
    assert (await keys.key("a")).key_id == "a"
    jwks_server.may_respond.set()
    assert (await refreshing).key_id == "a"
    assert jwks_server.fetches == 2


@pytest.mark.parametrize(
    ("status", "document", "complaint"),
    [
        (500, b"", "answered 500"),
        (404, {"keys": [entry()]}, "answered 404"),
        (302, {"keys": [entry()]}, "answered 302"),
        (200, b"<html>", "answered no key set"),
        (200, b"[]", "answered no key set"),
        (200, {"keys": []}, "answered no usable key"),
        (200, {"keys": {"a": 1}}, "answered no usable key"),
        (200, {"keys": [entry(), "x" * 300_000]}, "answered more than 262144 bytes"),
    ],
)
async def test_a_failing_platform_leaves_the_keys_it_gave_before(
    jwks_server: JwksServer, keys: Jwks, fake_clock: FakeMonotonicClock, status: int, document: object, complaint: str
) -> None:
    await keys.key("a")
    fake_clock.now += 600
    jwks_server.status, jwks_server.document = status, document
    jwks_server.headers = "Location: /elsewhere\r\n"
    assert (await keys.key("a")).key_id == "a"
    assert keys.cached("a") is not None
    with pytest.raises(KeysUnavailable, match=complaint):
        await keys.key("b")
    assert jwks_server.fetches == 2
    fake_clock.now += 10
    jwks_server.status, jwks_server.document = 200, {"keys": [entry("b")]}
    assert (await keys.key("b")).key_id == "b"


async def test_without_any_keys_the_platform_is_asked_again_after_a_second(
    jwks_server: JwksServer, keys: Jwks, fake_clock: FakeMonotonicClock
) -> None:
    jwks_server.status = 503
    for _ in range(5):
        with pytest.raises(KeysUnavailable, match="answered 503"):
            await keys.key("a")
    assert jwks_server.fetches == 1
    jwks_server.status = 200
    fake_clock.now += 1
    assert (await keys.key("a")).key_id == "a"


async def test_ready_means_there_are_keys_be_they_stale(
    jwks_server: JwksServer, keys: Jwks, fake_clock: FakeMonotonicClock
) -> None:
    jwks_server.status = 503
    with pytest.raises(KeysUnavailable, match="answered 503"):
        await keys.ready()
    jwks_server.status = 200
    fake_clock.now += 1
    await keys.ready()
    jwks_server.status = 503
    fake_clock.now += 600
    await keys.ready()
    assert keys.cached("a") is not None
    assert jwks_server.fetches == 3


async def test_a_platform_that_never_ends_its_answer_is_given_up(
    jwks_server: JwksServer, keys: Jwks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TIMEOUT", 0.05)
    jwks_server.may_respond.clear()
    with pytest.raises(KeysUnavailable, match="TimeoutError"):
        await keys.key("a")


async def test_a_platform_that_does_not_listen_is_unavailable() -> None:
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    async with httpx.AsyncClient() as http:
        with pytest.raises(KeysUnavailable, match="ConnectError"):
            await Jwks(http, f"http://127.0.0.1:{port}/").key("a")


async def test_a_token_without_kid_is_accepted_only_with_exactly_one_key(
    jwks_server: JwksServer, keys: Jwks, fake_clock: FakeMonotonicClock
) -> None:
    for several in ([entry("a"), entry("b")], [entry(None), entry(None)], [entry("a"), entry("a")]):
        jwks_server.document = {"keys": several}
        with pytest.raises(UnknownKey):
            await keys.key(None)
        fake_clock.now += 10
    for only in ([entry("a")], [entry(None)]):
        jwks_server.document = {"keys": only}
        fake_clock.now += 600
        assert (await keys.key(None)).key == PRIVATE.public_key()


def test_only_keys_that_can_verify_are_read() -> None:
    secret = ECAlgorithm.to_jwk(PRIVATE, as_dict=True)
    weak = RSAAlgorithm.to_jwk(rsa.generate_private_key(65537, 1024).public_key(), as_dict=True)  # noqa: S505 - to be refused
    strong = RSAAlgorithm.to_jwk(rsa.generate_private_key(65537, 2048).public_key(), as_dict=True)
    edwards = OKPAlgorithm.to_jwk(ed25519.Ed25519PrivateKey.generate().public_key(), as_dict=True)
    larger = ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP384R1()).public_key(), as_dict=True)
    usable = [
        entry("ec", use="sig", alg="ES256", unknown="member"),
        {**strong, "kid": "rsa", "key_ops": ["verify"]},
        {**edwards, "kid": "ed"},
    ]
    left_out: list[object] = [
        {"kty": "oct", "kid": "symmetric", "k": "c2VjcmV0", "alg": "HS256"},
        {**secret, "kid": "private"},
        entry("encrypts", use="enc"),
        {**strong, "kid": "signs", "key_ops": ["sign"]},
        {**weak, "kid": "weak", "key_ops": ["verify"]},
        entry("none", alg="none"),
        entry("hmac", alg="HS256"),
        entry("other", alg="RS256"),
        {**larger, "kid": "curve", "alg": "ES256"},
        entry("list", alg=["ES256"]),
        entry("point", x="AAAA"),
        entry("number", x=7),
        entry("new", kty="AKP"),
        entry("ops", key_ops="verify"),
        {**PUBLIC, "kid": 7},
        "not a key",
        None,
    ]
    keys = read_keys(json.dumps({"keys": [*left_out, *usable]}).encode())
    assert [(key.key_id, key.algorithm_name) for key in keys] == [("ec", "ES256"), ("rsa", "RS256"), ("ed", "EdDSA")]
    with pytest.raises(ValueError, match="no usable key"):
        read_keys(json.dumps({"keys": left_out}).encode())


async def test_a_key_replaced_under_its_kid_is_found_when_a_signature_does_not_fit(
    jwks_server: JwksServer, keys: Jwks, fake_clock: FakeMonotonicClock
) -> None:
    former = await keys.key("a")
    jwks_server.document = {"keys": [ECAlgorithm.to_jwk(OTHER.public_key(), as_dict=True) | {"kid": "a"}]}
    assert await keys.replacement_for(former) is None, "fetched a moment ago"
    assert jwks_server.fetches == 1
    fake_clock.now += 10
    present = await keys.replacement_for(former)
    assert present is not None
    assert jwt.decode(jwt.encode({"sub": "x"}, OTHER, "ES256"), present) == {"sub": "x"}
    # The next caller with the former key shares the keys just fetched.
    assert await keys.replacement_for(former) is present
    assert jwks_server.fetches == 2


async def test_a_key_replaced_by_one_of_another_kind_is_found(
    jwks_server: JwksServer, keys: Jwks, fake_clock: FakeMonotonicClock
) -> None:
    former = await keys.key("a")
    other = ed25519.Ed25519PrivateKey.generate().public_key()
    jwks_server.document = {"keys": [OKPAlgorithm.to_jwk(other, as_dict=True) | {"kid": "a"}]}
    fake_clock.now += 10
    present = await keys.replacement_for(former)
    assert present is not None
    assert present.algorithm_name == "EdDSA"


async def test_forged_signatures_cause_one_fetch_in_ten_seconds(
    jwks_server: JwksServer, keys: Jwks, fake_clock: FakeMonotonicClock
) -> None:
    key = await keys.key("a")
    for moment in range(100):
        fake_clock.now = 1000.0 + moment / 5
        assert await keys.replacement_for(key) is None
    assert jwks_server.fetches == 2


async def test_a_key_that_was_taken_away_or_cannot_be_asked_for_is_not_replaced(
    jwks_server: JwksServer, keys: Jwks, fake_clock: FakeMonotonicClock
) -> None:
    key = await keys.key("a")
    jwks_server.status = 503
    fake_clock.now += 10
    assert await keys.replacement_for(key) is None
    jwks_server.status, jwks_server.document = 200, {"keys": [entry("b")]}
    fake_clock.now += 10
    assert await keys.replacement_for(key) is None


@pytest.mark.parametrize(
    ("changes", "algorithm"),
    [
        ({"alg": "Ed25519"}, "EdDSA"),
        ({"alg": "EdDSA"}, "EdDSA"),
        ({}, "EdDSA"),
        ({"alg": "Ed448"}, None),
        ({"alg": "ES256"}, None),
        ({"alg": ["Ed25519"]}, None),
        ({"alg": "Ed25519", "crv": ["Ed25519"]}, None),
        ({"alg": "Ed25519", "crv": "X25519"}, None),
    ],
)
def test_a_key_may_name_its_curve_in_its_algorithm(changes: dict[str, Any], algorithm: str | None) -> None:
    """RFC 9864."""
    public = OKPAlgorithm.to_jwk(ed25519.Ed25519PrivateKey.generate().public_key(), as_dict=True)
    document = json.dumps({"keys": [{**public, "kid": "ed", **changes}, entry("z")]}).encode()
    assert [key.algorithm_name for key in read_keys(document) if key.key_id == "ed"] == (
        [algorithm] if algorithm else []
    )


@pytest.mark.parametrize(("alg", "known"), [("ESP256", True), ("ES256", True), ("ESP384", False), ("ESB256", False)])
def test_so_may_an_elliptic_one(alg: str, known: bool) -> None:
    keys = read_keys(json.dumps({"keys": [entry(alg=alg), entry("z")]}).encode())
    assert ("a" in [key.key_id for key in keys]) is known


async def test_every_fetch_is_told_by_what_came_of_it(jwks_server: JwksServer, fake_clock: FakeMonotonicClock) -> None:
    outcomes: list[str] = []
    async with httpx.AsyncClient() as http:
        keys = Jwks(http, jwks_server.url, clock=fake_clock, on_fetch=outcomes.append)
        await keys.key("a")
        fake_clock.now += 600
        jwks_server.document = {"keys": []}
        await keys.key("a")
    assert outcomes == ["fetched", "failed"]
