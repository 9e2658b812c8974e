"""The people of the demo's community, and the platform's key that signs their tokens."""

import time
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

COMMUNITY = {"id": "community-zoom-reviewer", "slug": "zoom-reviewer"}
AUDIENCE = "kindryn-zoom"
KEY_ID = "demo"
TOKEN_LIFETIME = 24 * 60 * 60  # seconds; the service rejects tokens that are older


@dataclass(frozen=True)
class Persona:
    """A person of the platform. `role` is the role in COMMUNITY, or None for a person who is not a member."""

    name: str
    email: str
    role: str | None


# Ada and Ben have the e-mail addresses of hosts of the simulated Zoom account Riverside, so they own those hosts.
PERSONAS = {
    "owner": Persona("Olga Owner", "olga@members.example", "OWNER"),
    "admin": Persona("Ada Marsh", "ada@riverside.example", "ADMIN"),
    "coach": Persona("Ben Okoye", "ben@riverside.example", "COACH"),
    "member": Persona("Mia Member", "mia@members.example", "MEMBER"),
    "member2": Persona("Max Member", "max@members.example", "MEMBER"),
    "stranger": Persona("Stan Stranger", "stan@elsewhere.example", None),
}


class TokenSigner:
    """The platform's key (ES256, made for this run) and the tokens it signs as `issuer`."""

    def __init__(self, issuer: str) -> None:
        self.issuer = issuer
        self._key = ec.generate_private_key(ec.SECP256R1())

    @property
    def pem(self) -> str:
        """The private key as PEM, for programs that sign further tokens."""
        return self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()

    @property
    def jwks(self) -> dict[str, Any]:
        """The public key as a JSON Web Key Set (RFC 7517)."""
        key: dict[str, Any] = jwt.algorithms.ECAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        return {"keys": [key | {"kid": KEY_ID, "alg": "ES256", "use": "sig"}]}

    def claims(self, who: str) -> dict[str, Any]:
        """Return the claims of a persona's token, valid from now on for 24 hours.

        Raises KeyError for an unknown name.
        """
        person = PERSONAS[who]
        now = int(time.time())
        return {
            "iss": self.issuer,
            "aud": AUDIENCE,
            "iat": now,
            "exp": now + TOKEN_LIFETIME,
            "sub": f"member-{who}",
            "email": person.email,
            "email_verified": True,
            "name": person.name,
            "communities": [COMMUNITY | {"role": person.role}] if person.role else [],
        }

    def token(self, who: str, changes: dict[str, Any] | None = None) -> str:
        """Return a signed token. `changes` replace claims; a null value removes one."""
        claims = self.claims(who) | (changes or {})
        return jwt.encode(
            {claim: value for claim, value in claims.items() if value is not None},
            self._key,
            "ES256",
            headers={"kid": KEY_ID},
        )
