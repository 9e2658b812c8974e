"""All kinds of callers of a route: their headers, and their column of the access matrix."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.support.service import COMMUNITY, PERSONAS, Platform, RunningService

HOST = {"sub": "m-host", "name": "Hanna Host", "email": "hanna@members.example"}
PLATFORM_SERVICE = {"sub": "platform", "service": True, "name": None, "email": None, "communities": None}
PEOPLE: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "stranger": ("stranger", {}),
    "neighbour": ("neighbour", {}),
    "member": ("member2", {}),
    "registered": ("member", {}),
    "coach": ("coach", {}),
    "host": ("member2", HOST),
    "admin": ("admin", {}),
    "owner": ("owner", {}),
    "platform": ("owner", PLATFORM_SERVICE),
}
ALLOWED_ORIGIN = "https://spa.example"
FOREIGN_ORIGINS = ("https://evil.example", "https://spa.example.evil.example", "http://spa.example", "null")
SAFE = {"GET", "HEAD"}


@dataclass(frozen=True)
class Caller:
    """A kind of caller: the headers of its requests, and its column in the access matrix.

    `with_cookie`: the token is sent as a cookie. `may_change`: its `Origin` permits more than reading.
    """

    name: str
    column: str
    headers: Mapping[str, str] = field(repr=False)
    with_cookie: bool = False
    may_change: bool = True


def all_callers(service: RunningService, elsewhere: str) -> list[Caller]:
    """Return every kind of caller. `elsewhere` is the URL of a foreign key set, for tokens that name it."""
    column = {"stranger": "outside", "neighbour": "outside"}
    people = [Caller(name, column.get(name, name), bearer(token_for(service, name))) for name in PEOPLE]
    forged = [Caller(name, "nobody", bearer(token)) for name, token in invalid_tokens(service, elsewhere).items()]
    return [
        Caller("nobody", "nobody", {}),
        *people,
        *forged,
        *_with_cookies(service),
        *_unusual_but_valid(service, elsewhere),
    ]


def token_for(service: RunningService, name: str, **claims: Any) -> str:
    """Return a valid token of one of `PEOPLE`."""
    who, base_claims = PEOPLE[name]
    return service.platform.token(who, service.clock.now(), **{**base_claims, **claims})


def bearer(token: str) -> dict[str, str]:
    """Return the header for a token."""
    return {"Authorization": f"Bearer {token}"}


def _with_cookies(service: RunningService) -> list[Caller]:
    cookie = {"Cookie": f"session={token_for(service, 'owner')}"}
    foreign = [
        Caller(f"cookie, Origin {origin}", "owner", {**cookie, "Origin": origin}, True, may_change=False)
        for origin in FOREIGN_ORIGINS
    ]
    return [
        Caller("cookie, no Origin", "owner", cookie, True, may_change=False),
        *foreign,
        Caller("cookie, allowed Origin", "owner", {**cookie, "Origin": ALLOWED_ORIGIN}, True),
        Caller("the owner's cookie, a stranger's bearer", "outside", cookie | bearer(token_for(service, "stranger"))),
    ]


def _unusual_but_valid(service: RunningService, elsewhere: str) -> list[Caller]:
    """Return valid tokens with unusual further claims, which must not matter."""
    claims = jwt.decode(token_for(service, "owner"), options={"verify_signature": False})
    headers = {"kid": "platform-1", "jku": elsewhere, "x5u": elsewhere}
    token = jwt.encode(claims, service.platform.key, "ES256", headers=headers)
    return [Caller("the platform's key, with jku and x5u", "owner", bearer(token))]


def invalid_tokens(service: RunningService, elsewhere: str) -> dict[str, str]:
    """Return invalid tokens that name an owner."""
    return {**_expired_or_incomplete(service), **_forged(service.platform, _claims(service), elsewhere)}


def _claims(service: RunningService) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token_for(service, "owner"), options={"verify_signature": False})
    return claims


def _expired_or_incomplete(service: RunningService) -> dict[str, str]:
    now = int(service.clock.now().timestamp())
    day = int(timedelta(days=1).total_seconds())
    owner: Callable[..., str] = lambda **claims: token_for(service, "owner", **claims)  # noqa: E731 - short for a table
    twice = [COMMUNITY | {"role": "MEMBER"}, COMMUNITY | {"role": "OWNER"}]
    return {
        "expired": owner(iat=now - 7200, exp=now - 3600),
        "too old by iat": owner(iat=now - 2 * day, exp=now + day),
        "without iat": owner(iat=None),
        "without exp": owner(exp=None),
        "issued tomorrow": owner(iat=now + day, exp=now + 2 * day),
        "not yet valid": owner(nbf=now + 3600),
        "wrong issuer": owner(iss="https://elsewhere.example"),
        "wrong audience": owner(aud="another-service"),
        "without sub": owner(sub=None),
        "two roles in one community": owner(communities=twice),
        "a role that is none": owner(communities=[COMMUNITY | {"role": "GOD"}]),
    }


def _forged(platform: Platform, claims: Mapping[str, Any], elsewhere: str) -> dict[str, str]:
    public = platform.key.public_key()
    theirs = ec.generate_private_key(ec.SECP256R1())
    pem, der = (public.public_bytes(form, PublicFormat.SubjectPublicKeyInfo) for form in (Encoding.PEM, Encoding.DER))
    jwk: dict[str, Any] = jwt.algorithms.ECAlgorithm.to_jwk(theirs.public_key(), as_dict=True)
    published = json.dumps(platform.jwks["keys"][0]).encode()
    good = jwt.encode(dict(claims), platform.key, "ES256", headers={"kid": "platform-1"})
    head, _, signature = good.split(".")
    known: dict[str, Any] = {"kid": "platform-1"}
    return {
        "alg none": _unsigned({"alg": "none", **known}, claims),
        "alg None": _unsigned({"alg": "None", **known}, claims),
        "ES256 without signature": _unsigned({"alg": "ES256", **known}, claims),
        "HS256 with the public key (PEM)": _hs256(pem, known, claims),
        "HS256 with the public key (PEM, stripped)": _hs256(pem.strip(), known, claims),
        "HS256 with the public key (DER)": _hs256(der, known, claims),
        "HS256 with the public key (JWK)": _hs256(published, known, claims),
        "unknown kid": jwt.encode(dict(claims), theirs, "ES256", headers={"kid": "nobody-knows"}),
        "another key under our kid": jwt.encode(dict(claims), theirs, "ES256", headers=known),
        "jku elsewhere": jwt.encode(dict(claims), theirs, "ES256", headers={**known, "jku": elsewhere}),
        "jku elsewhere, kid of its own": jwt.encode(
            dict(claims), theirs, "ES256", headers={"kid": "theirs", "jku": elsewhere}
        ),
        "x5u elsewhere": jwt.encode(dict(claims), theirs, "ES256", headers={**known, "x5u": elsewhere}),
        "key in the header": jwt.encode(dict(claims), theirs, "ES256", headers={**known, "jwk": jwk}),
        "other claims under a good signature": f"{head}.{_part(dict(claims) | {'sub': 'm-stranger'})}.{signature}",
        "crit": jwt.encode(dict(claims), platform.key, "ES256", headers={**known, "crit": ["exp"]}),
        "no token at all": "nonsense",
    }


def _part(content: Mapping[str, Any] | bytes) -> str:
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _unsigned(header: Mapping[str, Any], claims: Mapping[str, Any]) -> str:
    return f"{_part(header)}.{_part(claims)}."


def _hs256(key: bytes, header: Mapping[str, Any], claims: Mapping[str, Any]) -> str:
    signed = f"{_part({'alg': 'HS256', 'typ': 'JWT', **header})}.{_part(claims)}"
    return f"{signed}.{_part(hmac.new(key, signed.encode(), hashlib.sha256).digest())}"


PEOPLE_NAMES = [person["name"] for person in PERSONAS.values()] + [HOST["name"]]
