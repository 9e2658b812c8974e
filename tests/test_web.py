"""What a route may depend on: the caller, also while the platform replaces its keys."""

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from fastapi import Request
from jwt.algorithms import ECAlgorithm

from app import web
from app.clients.jwks import Jwks
from app.core.errors import Problem
from app.resources import Resources
from tests.clients.test_jwks import FakeMonotonicClock, JwksServer, fake_clock, jwks_server
from tests.inbox.harness import FakeClock

__all__ = ["fake_clock", "jwks_server"]
FORMER, PRESENT, FORGED = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))


def key_set(key: ec.EllipticCurvePrivateKey) -> dict[str, Any]:
    """Return a key set with this key, under the kid that all keys here share."""
    return {"keys": [ECAlgorithm.to_jwk(key.public_key(), as_dict=True) | {"kid": "the-only"}]}


class CallerProbe:
    """Authenticates a request as a route does."""

    def __init__(self, keys: Jwks) -> None:
        settings = SimpleNamespace(auth_issuer="https://platform.test", auth_audience="us", auth_cookie=None)
        self.clock = FakeClock()
        self._resources = cast(Resources, SimpleNamespace(settings=settings, jwks=keys, clock=self.clock))

    async def __call__(self, key: ec.EllipticCurvePrivateKey) -> str:
        """Return the member whose token the key signed."""
        stamp = int(self.clock.now().timestamp())
        claims = {"iss": "https://platform.test", "aud": "us", "sub": "ann", "iat": stamp, "exp": stamp + 60}
        token = jwt.encode(claims, key, "ES256", headers={"kid": "the-only"})
        headers = [(b"authorization", f"Bearer {token}".encode())]
        caller = await web.authenticate(Request({"type": "http", "method": "GET", "headers": headers}), self._resources)
        assert caller is not None
        return caller.member_id


@pytest.fixture
async def probe(jwks_server: JwksServer, fake_clock: FakeMonotonicClock) -> AsyncIterator[CallerProbe]:
    jwks_server.document = key_set(FORMER)
    async with httpx.AsyncClient() as http:
        yield CallerProbe(Jwks(http, jwks_server.url, clock=fake_clock))


async def test_a_key_replaced_under_its_kid_lets_people_in_at_once(
    probe: CallerProbe,
    jwks_server: JwksServer,
    fake_clock: FakeMonotonicClock,
) -> None:
    assert await probe(FORMER) == "ann"
    jwks_server.document = key_set(PRESENT)
    fake_clock.now += 60
    assert await probe(PRESENT) == "ann"
    with pytest.raises(Problem) as refused:
        await probe(FORMER)
    assert (refused.value.slug, refused.value.extra["reason"]) == ("not-signed-in", "signature")


async def test_who_forges_tokens_makes_the_platform_be_asked_once_in_ten_seconds(
    probe: CallerProbe,
    jwks_server: JwksServer,
    fake_clock: FakeMonotonicClock,
) -> None:
    assert await probe(FORMER) == "ann"
    for moment in range(50):
        fake_clock.now = 1000.0 + moment / 5
        with pytest.raises(Problem):
            await probe(FORGED)
    assert jwks_server.fetches == 1
    fake_clock.now += 10
    with pytest.raises(Problem):
        await probe(FORGED)
    assert await probe(FORMER) == "ann"
    assert jwks_server.fetches == 2
