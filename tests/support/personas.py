"""The platform around the service in tests: its communities, personas and tokens, and its clock."""

from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from app.clients.zoom import SCOPES
from app.core.clock import Clock

COMMUNITY = {"id": "c-reviewers", "slug": "zoom-reviewer"}
ISSUER, AUDIENCE = "https://platform.example", "kindryn-zoom"
WEBHOOK_SECRET = "webhook-secret-of-the-app"
APP_SCOPES = tuple(scope.name for scope in SCOPES if scope.required)
PERSONAS: dict[str, dict[str, Any]] = {
    "owner": {"name": "Olga Owner", "role": "OWNER"},
    "admin": {"name": "Ada Marsh", "role": "ADMIN", "email": "ada@riverside.example"},
    "admin2": {"name": "Anton Admin", "role": "ADMIN"},
    "coach": {"name": "Cora Coach", "role": "COACH"},
    "member": {"name": "Mia Member", "role": "MEMBER"},
    "member2": {"name": "Max Member", "role": "MEMBER"},
    "stranger": {"name": "Stan Stranger", "role": None},
    "neighbour": {"name": "Nora Neighbour", "role": "ADMIN", "community": {"id": "c-elsewhere", "slug": "elsewhere"}},
}


class FakeClock(Clock):
    """A running clock that a test can advance."""

    def __init__(self) -> None:
        self.started_at = datetime.now(UTC)
        self.ahead = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead


class Platform:
    """The platform's signing key, its JWKS, and its tokens."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        public: dict[str, Any] = jwt.algorithms.ECAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
        self.jwks = {"keys": [public | {"kid": "platform-1", "alg": "ES256", "use": "sig"}]}

    def token(self, persona: str, now: datetime | None = None, **claims: Any) -> str:
        """Return a persona's token. `claims` replace its claims; None removes one."""
        person = PERSONAS[persona]
        issued = int((now or datetime.now(UTC)).timestamp())
        community = person.get("community", COMMUNITY)
        all_claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": f"m-{persona}",
            "iat": issued,
            "exp": issued + 3600,
            "email": person.get("email", f"{persona}@members.example"),
            "email_verified": True,
            "name": person["name"],
            "communities": [community | {"role": person["role"]}] if person["role"] else [],
        } | claims
        payload = {name: value for name, value in all_claims.items() if value is not None}
        return jwt.encode(payload, self.key, "ES256", headers={"kid": "platform-1"})
