"""An endpoint as others build it: an HTTPS server, and a signature check that shares no code with ours."""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import ssl
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse

from app.clients.hooks import HookSender
from tests.support.service import serve

NAME, OTHER, UNCERTIFIED = "receiver.example", "other.example", "unproven.example"
PUBLIC = "93.184.216.34"


@dataclass(frozen=True)
class ReceivedMessage:
    """One POST as it was received."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


class FakeResolver:
    """The addresses of host names, and the queries. Names that are not listed have a public address.

    No test ever connects to it.
    """

    def __init__(self) -> None:
        self.addresses: dict[str, list[str]] = {}
        self.queries: list[str] = []

    async def resolve(self, host: str) -> Sequence[str]:
        self.queries.append(host)
        return self.addresses.get(host, [PUBLIC])


@dataclass
class Receiver:
    """The server, what it received, and the status it returns on each path (204 by default)."""

    resolver: FakeResolver = field(default_factory=FakeResolver)
    statuses: dict[str, int] = field(default_factory=dict)
    received: list[ReceivedMessage] = field(default_factory=list)
    # Requests to `/slow` get their response once this is set.
    slow_release: asyncio.Event = field(default_factory=asyncio.Event)
    slow_requested: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0
    trust: ssl.SSLContext = field(default_factory=lambda: ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))

    @property
    def hooks(self) -> HookSender:
        """A sender that may reach this server under its names."""
        permitted = [f"https://{name}:{self.port}" for name in (NAME, OTHER, UNCERTIFIED)]
        return HookSender(resolve=self.resolver.resolve, allowed_origins=permitted, ssl_context=self.trust)

    def url(self, path: str = "/hook", name: str = NAME) -> str:
        """Return a URL of this server."""
        return f"https://{name}:{self.port}{path}"

    def received_on(self, path: str = "/hook") -> list[ReceivedMessage]:
        """Return what was received on a path."""
        return [message for message in self.received if message.path == path]

    async def respond(self, request: Request) -> Response:
        """Record the request, and respond."""
        path = request.url.path
        self.received.append(ReceivedMessage(path, dict(request.headers), await request.body()))
        if path == "/slow":
            self.slow_requested.set()
            await self.slow_release.wait()
        if path == "/redirect":
            return Response("sesame", 302, {"location": self.url("/elsewhere")})
        if path == "/endless":
            return StreamingResponse(_endless())
        return Response("sesame" if self.statuses.get(path) else None, self.statuses.get(path, 204))


async def _endless() -> AsyncIterator[bytes]:
    while True:
        yield b"sesame" * 1000
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def run_receiver(folder: Path) -> AsyncIterator[Receiver]:
    """Run a receiver with a certificate for two of its three names."""
    receiver = Receiver()
    app = FastAPI()
    app.add_api_route("/{path:path}", receiver.respond, methods=["GET", "POST"])
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    _certify(certificate, key, [NAME, OTHER])
    receiver.trust.load_verify_locations(certificate)
    receiver.resolver.addresses |= {name: ["127.0.0.1"] for name in (NAME, OTHER, UNCERTIFIED)}
    async with serve(app, ssl_certfile=certificate, ssl_keyfile=key) as url:
        receiver.port = urlsplit(url).port or 0
        yield receiver
        receiver.slow_release.set()


def _certify(certificate: Path, key: Path, names: Sequence[str]) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(subject, subject, private.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(private, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    certificate.write_bytes(made.public_bytes(pem))
    plain = serialization.NoEncryption()
    key.write_bytes(private.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))


def signatures(message: ReceivedMessage) -> list[str]:
    """Return the signatures of the message."""
    return message.headers["webhook-signature"].split(" ")


def signature(secret: str, message: ReceivedMessage) -> str:
    """Return the signature by Standard Webhooks.

    It is the HMAC-SHA256 of `id.timestamp.body`; the key is what follows `whsec_`.
    """
    prefix, _, encoded = secret.partition("_")
    assert prefix == "whsec"
    signed = b".".join((message.id.encode(), message.headers["webhook-timestamp"].encode(), message.body))
    return "v1," + base64.b64encode(hmac.new(base64.b64decode(encoded), signed, hashlib.sha256).digest()).decode()
