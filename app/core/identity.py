"""Verifies the platform's signed token and reads it into a `Caller` (RFC 7519, RFC 8725). Pure.

PyJWT verifies the signature. This module splits the token itself, because PyJWT's strict parser reads it character by
character, which costs as much as the signature.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from jwt.utils import base64url_decode

from app.core.text_cleaning import single_line

ALGORITHMS = ("ES256", "RS256", "EdDSA")
LEEWAY = timedelta(seconds=30)  # by which the platform's clock may differ from ours
MAX_TOKEN_LENGTH = 16 * 1024  # characters; anybody can send a token, so a longer one is not even parsed
MAX_ID_LENGTH = 128  # characters of a member's or community's id or slug
# Ids with this prefix are guests, whom the platform does not know. No token may claim one.
GUEST_PREFIX = "guest:"
MAX_EMAIL_LENGTH = 254  # RFC 5321 section 4.5.3.1.3, without the angle brackets
_LOCALE = re.compile("[A-Za-z0-9_-]{1,35}")  # RFC 5646 section 4.4.1, and POSIX's underscore
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
# RFC 7515 section 7.1; base64url without padding.
_COMPACT = re.compile(r"([\w-]+)\.([\w-]+)\.([\w-]*)", re.ASCII)


class NotSignedIn(Exception):
    """A token that is not valid.

    `reason` is a slug for logs; the token itself is never part of it.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class KeyMismatch(NotSignedIn):
    """A token that this key did not sign: the token is forged, or the key was replaced meanwhile."""


class Role(StrEnum):
    """A member's role in one community."""

    OWNER = "OWNER"
    ADMIN = "ADMIN"
    COACH = "COACH"
    MEMBER = "MEMBER"


@dataclass(frozen=True, slots=True)
class Membership:
    """One community of a member. Its id identifies it; the slug is only its current name."""

    community_id: str
    slug: str
    role: Role


@dataclass(frozen=True, slots=True)
class Caller:
    """The member behind a request or, with `is_platform`, the platform itself, which has no memberships.

    `issued_at` is the token's `iat`; None for a guest, who has no token.
    """

    member_id: str
    email: str | None
    email_verified: bool
    name: str
    locale: str | None
    memberships: tuple[Membership, ...]
    is_platform: bool
    issued_at: datetime | None = None

    @property
    def verified_email(self) -> str | None:
        """The address by which the member may be identified; None if the platform has not verified it."""
        return self.email if self.email_verified else None

    def membership_in(self, community: str) -> Membership | None:
        """Return the membership in the community with that id, else with that slug.

        A slug is chosen by people and may equal another community's id, so use the `community_id` of the result from
        then on.
        """
        for membership in self.memberships:
            if membership.community_id == community:
                return membership
        for membership in self.memberships:
            if membership.slug == community:
                return membership
        return None

    def role_in(self, community: str) -> Role | None:
        """Return the role in the community with that id, else with that slug; None if there is none."""
        membership = self.membership_in(community)
        return membership.role if membership else None

    def is_admin_of(self, community_id: str) -> bool:
        """Whether the caller is OWNER or ADMIN of the community with that id (a slug does not count)."""
        return any(m.community_id == community_id and m.role in {Role.OWNER, Role.ADMIN} for m in self.memberships)

    def is_member_of(self, community_id: str) -> bool:
        """Whether the caller has any role in the community with that id (a slug does not count)."""
        return any(m.community_id == community_id for m in self.memberships)


def kid_of(token: str) -> str | None:
    """Return the `kid` of a token's header, unverified. Raises NotSignedIn if no header can be read.

    Nothing else of the header is used: `jku`, `jwk` and `x5u` would let a token bring its own key.
    """
    kid = _decode_object(_parts(token)[0]).get("kid")
    if kid is not None and not isinstance(kid, str):
        raise NotSignedIn("malformed")
    return kid


def verify(
    token: str,
    key: jwt.PyJWK,
    *,
    issuer: str,
    audience: str,
    max_age: timedelta,
    now: datetime,
    leeway: timedelta = LEEWAY,
) -> Caller:
    """Return the caller a token names, if `key` signed it for this audience and its times are valid.

    The algorithm is the key's own, one of ALGORITHMS, never the token's choice (RFC 8725 section 3.1). `max_age` counts
    from `iat`, and `exp` applies too. `leeway` allows for clocks that differ. Raises NotSignedIn.
    """
    claims = _verified_claims(token, key)
    if claims.get("iss") != issuer:
        raise NotSignedIn("wrong-issuer")
    audiences = claims.get("aud")
    if audiences != audience and not (isinstance(audiences, list) and audience in audiences):
        raise NotSignedIn("wrong-audience")
    _check_times(claims, now.timestamp(), max_age.total_seconds(), leeway.total_seconds())
    return _caller(claims)


def expires_at(token: str, max_age: timedelta) -> datetime:
    """Return when a verified token expires, by `exp` or `max_age`, without leeway."""
    claims = _decode_object(_parts(token)[1])
    return datetime.fromtimestamp(min(_seconds(claims, "exp"), _seconds(claims, "iat") + max_age.total_seconds()), UTC)


def _verified_claims(token: str, key: jwt.PyJWK) -> dict[str, Any]:
    encoded_header, encoded_claims, signature = _parts(token)
    header = _decode_object(encoded_header)
    if key.algorithm_name not in ALGORITHMS or not _algorithm_matches(header.get("alg"), key):
        raise KeyMismatch("algorithm")
    # RFC 7515 section 4.1.11: `crit` lists extensions that must be understood, and this module understands none.
    if "crit" in header:
        raise NotSignedIn("malformed")
    if not key.Algorithm.verify(f"{encoded_header}.{encoded_claims}".encode(), key.key, _decode_base64(signature)):
        raise KeyMismatch("signature")
    return _decode_object(encoded_claims)


def _algorithm_matches(algorithm: object, key: jwt.PyJWK) -> bool:
    """Whether the header's `alg` fits the key: by its name, or by the name with the curve (RFC 9864)."""
    if algorithm == key.algorithm_name:
        return True
    # ES256 has one curve only; EdDSA has two.
    return (algorithm == "ESP256" and key.algorithm_name == "ES256") or (
        algorithm == "Ed25519" and isinstance(key.key, Ed25519PublicKey)
    )


def _parts(token: str) -> tuple[str, str, str]:
    if len(token) > MAX_TOKEN_LENGTH:
        raise NotSignedIn("too-long")
    parts = _COMPACT.fullmatch(token)
    if parts is None:
        raise NotSignedIn("malformed")
    return parts[1], parts[2], parts[3]


def _decode_base64(part: str) -> bytes:
    try:
        return base64url_decode(part)
    except ValueError:
        raise NotSignedIn("malformed") from None


def _decode_object(part: str) -> dict[str, Any]:
    try:
        content = orjson.loads(_decode_base64(part))
    except orjson.JSONDecodeError:
        raise NotSignedIn("malformed") from None
    if not isinstance(content, dict):
        raise NotSignedIn("malformed")
    return content


def _check_times(claims: Mapping[str, Any], now: float, max_age: float, leeway: float) -> None:
    issued_at = _seconds(claims, "iat")
    if now >= _seconds(claims, "exp") + leeway:
        raise NotSignedIn("expired")
    if "nbf" in claims and now < _seconds(claims, "nbf") - leeway:
        raise NotSignedIn("not-yet-valid")
    if issued_at > now + leeway:
        raise NotSignedIn("issued-in-the-future")
    if now - issued_at > max_age + leeway:
        raise NotSignedIn("too-old")


def _caller(claims: Mapping[str, Any]) -> Caller:
    is_platform = _flag(claims, "service")
    email = _text(claims, "email", MAX_EMAIL_LENGTH)
    if email is not None and ("@" not in email or not email.isprintable() or " " in email):
        raise NotSignedIn("bad-email")
    return Caller(
        member_id=_subject(claims),
        email=email,
        email_verified=_flag(claims, "email_verified") and email is not None,
        name=single_line(_CONTROL.sub(" ", _text(claims, "name", MAX_TOKEN_LENGTH) or "")),
        locale=_locale(claims.get("locale")),
        memberships=() if is_platform else _memberships(claims.get("communities")),
        is_platform=is_platform,
        issued_at=datetime.fromtimestamp(_seconds(claims, "iat"), UTC),
    )


def _subject(claims: Mapping[str, Any]) -> str:
    subject = _identifier(claims.get("sub"), "sub")
    if subject.startswith(GUEST_PREFIX):
        raise NotSignedIn("bad-sub")
    return subject


def _memberships(communities: object) -> tuple[Membership, ...]:
    if communities is None:
        return ()
    if not isinstance(communities, list):
        raise NotSignedIn("bad-communities")
    memberships = tuple(_membership(community) for community in communities)
    ids = {m.community_id for m in memberships}
    slugs = {m.slug for m in memberships}
    # A community named twice, perhaps with two roles, cannot be believed either time.
    if not len(ids) == len(slugs) == len(memberships):
        raise NotSignedIn("bad-communities")
    return memberships


def _membership(community: object) -> Membership:
    if not isinstance(community, dict):
        raise NotSignedIn("bad-communities")
    try:
        role = Role(str(community.get("role")))
    except ValueError:
        raise NotSignedIn("bad-communities") from None
    return Membership(
        _identifier(community.get("id"), "communities"), _identifier(community.get("slug"), "communities"), role
    )


def _identifier(value: object, claim: str) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= MAX_ID_LENGTH or _CONTROL.search(value):
        raise NotSignedIn(f"bad-{claim}")
    return value


def _locale(value: object) -> str | None:
    """Return a language tag, or None for anything else: a wrong locale is no reason to refuse a token."""
    return value if isinstance(value, str) and _LOCALE.fullmatch(value) else None


def _text(claims: Mapping[str, Any], claim: str, max_length: int) -> str | None:
    """Return an optional text; an empty one counts as absent."""
    value = claims.get(claim)
    if value is not None and (not isinstance(value, str) or len(value) > max_length):
        raise NotSignedIn(f"bad-{claim}")
    return value or None


def _flag(claims: Mapping[str, Any], claim: str) -> bool:
    value = claims.get(claim)
    if value is not None and not isinstance(value, bool):
        raise NotSignedIn(f"bad-{claim}")
    return bool(value)


def _seconds(claims: Mapping[str, Any], claim: str) -> float:
    value = claims.get(claim)
    # `isinstance` would accept a `bool` as an `int`.
    if type(value) is not int and type(value) is not float:
        raise NotSignedIn(f"bad-{claim}")
    return value
