"""An endpoint as others build it: a real HTTPS server, and a check of signatures that shares no code with ours."""

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

from app.clients.hooks import Hooks
from tests.living import served

NAME, OTHER, UNPROVEN = "receiver.example", "other.example", "unproven.example"
PUBLIC = "93.184.216.34"


@dataclass(frozen=True)
class Got:
    """One POST as it came in."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def said(self) -> Any:
        return orjson.loads(self.body)


class Directory:
    """Where names lead to, and who asked. What is not listed is on the internet, where nobody of a test ever goes."""

    def __init__(self) -> None:
        self.addresses: dict[str, list[str]] = {}
        self.asked: list[str] = []

    async def resolve(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        return self.addresses.get(host, [PUBLIC])


@dataclass
class Receiver:
    """The server, what it got, and how it answers on each path: a status, unless told otherwise 204."""

    directory: Directory = field(default_factory=Directory)
    answers: dict[str, int] = field(default_factory=dict)
    got: list[Got] = field(default_factory=list)
    # What is sent to `/slow` is answered once this is set.
    released: asyncio.Event = field(default_factory=asyncio.Event)
    slow_came: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0
    trust: ssl.SSLContext = field(default_factory=lambda: ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))

    @property
    def hooks(self) -> Hooks:
        """Hooks that may reach this server under its names."""
        permitted = [f"https://{name}:{self.port}" for name in (NAME, OTHER, UNPROVEN)]
        return Hooks(resolve=self.directory.resolve, permitted=permitted, trust=self.trust)

    def url(self, path: str = "/hook", name: str = NAME) -> str:
        """An address of this server."""
        return f"https://{name}:{self.port}{path}"

    def of(self, path: str = "/hook") -> list[Got]:
        """What came in on a path."""
        return [got for got in self.got if got.path == path]

    async def answer(self, request: Request) -> Response:
        """Take down what came, and answer."""
        path = request.url.path
        self.got.append(Got(path, dict(request.headers), await request.body()))
        if path == "/slow":
            self.slow_came.set()
            await self.released.wait()
        if path == "/redirect":
            return Response("sesame", 302, {"location": self.url("/elsewhere")})
        if path == "/endless":
            return StreamingResponse(_endless())
        return Response("sesame" if self.answers.get(path) else None, self.answers.get(path, 204))


async def _endless() -> AsyncIterator[bytes]:
    while True:
        yield b"sesame" * 1000
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def receiving(folder: Path) -> AsyncIterator[Receiver]:
    """A receiver with a certificate for two of its three names."""
    receiver, app = Receiver(), FastAPI()
    app.add_api_route("/{path:path}", receiver.answer, methods=["GET", "POST"])
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    _certify(certificate, key, [NAME, OTHER])
    receiver.trust.load_verify_locations(certificate)
    receiver.directory.addresses |= {name: ["127.0.0.1"] for name in (NAME, OTHER, UNPROVEN)}
    async with served(app, ssl_certfile=certificate, ssl_keyfile=key) as url:
        receiver.port = urlsplit(url).port or 0
        yield receiver
        receiver.released.set()


def _certify(certificate: Path, key: Path, names: Sequence[str]) -> None:
    private, subject = (
        ec.generate_private_key(ec.SECP256R1()),
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")]),
    )
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


def signatures(got: Got) -> list[str]:
    """What the message is signed with."""
    return got.headers["webhook-signature"].split(" ")


def signature(secret: str, got: Got) -> str:
    """What Standard Webhooks wants: HMAC-SHA256 over `id.timestamp.body`, the key being what follows `whsec_`."""
    prefix, _, encoded = secret.partition("_")
    assert prefix == "whsec"
    signed = b".".join((got.id.encode(), got.headers["webhook-timestamp"].encode(), got.body))
    return "v1," + base64.b64encode(hmac.new(base64.b64decode(encoded), signed, hashlib.sha256).digest()).decode()
