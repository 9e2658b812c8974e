"""What a route may depend on: who calls, also while the platform replaces its keys."""

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
from tests.clients.test_jwks import Platform, Seconds, platform, seconds
from tests.inbox.house import Moved

__all__ = ["platform", "seconds"]
FORMER, PRESENT, FORGED = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))


def published(key: ec.EllipticCurvePrivateKey) -> dict[str, Any]:
    """A key set with this key, under the kid all of them have."""
    return {"keys": [ECAlgorithm.to_jwk(key.public_key(), as_dict=True) | {"kid": "the-only"}]}


class Door:
    """Asks who calls, as a route does."""

    def __init__(self, keys: Jwks) -> None:
        settings = SimpleNamespace(auth_issuer="https://platform.test", auth_audience="us", auth_cookie=None)
        self.clock = Moved()
        self._held = cast(Resources, SimpleNamespace(settings=settings, jwks=keys, clock=self.clock))

    async def __call__(self, key: ec.EllipticCurvePrivateKey) -> str:
        """The member whose token the key signed."""
        stamp = int(self.clock.now().timestamp())
        claims = {"iss": "https://platform.test", "aud": "us", "sub": "ann", "iat": stamp, "exp": stamp + 60}
        token = jwt.encode(claims, key, "ES256", headers={"kid": "the-only"})
        headers = [(b"authorization", f"Bearer {token}".encode())]
        who = await web.who_calls(Request({"type": "http", "method": "GET", "headers": headers}), self._held)
        assert who is not None
        return who.member_id


@pytest.fixture
async def door(platform: Platform, seconds: Seconds) -> AsyncIterator[Door]:
    platform.document = published(FORMER)
    async with httpx.AsyncClient() as http:
        yield Door(Jwks(http, platform.url, clock=seconds))


async def test_a_key_replaced_under_its_kid_lets_people_in_at_once(
    door: Door,
    platform: Platform,
    seconds: Seconds,
) -> None:
    assert await door(FORMER) == "ann"
    platform.document = published(PRESENT)
    seconds.now += 60
    assert await door(PRESENT) == "ann"
    with pytest.raises(Problem) as refused:
        await door(FORMER)
    assert (refused.value.slug, refused.value.extra["reason"]) == ("not-signed-in", "signature")


async def test_who_forges_tokens_makes_the_platform_be_asked_once_in_ten_seconds(
    door: Door,
    platform: Platform,
    seconds: Seconds,
) -> None:
    assert await door(FORMER) == "ann"
    for moment in range(50):
        seconds.now = 1000.0 + moment / 5
        with pytest.raises(Problem):
            await door(FORGED)
    assert platform.fetches == 1
    seconds.now += 10
    with pytest.raises(Problem):
        await door(FORGED)
    assert await door(FORMER) == "ann"
    assert platform.fetches == 2
