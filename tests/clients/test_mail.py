"""Mail against real SMTP servers: what arrives, and what an error says about trying again."""

import asyncio
import ipaddress
import socket
import ssl
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, AuthResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from app.clients import mail as mail_module
from app.clients.mail import Mailer, MailError, MailRefused, MailUnavailable, SmtpServer, parse_smtp_url
from tests.support.timeouts import TIMEOUT

CALENDAR = b"BEGIN:VCALENDAR\r\nSUMMARY:Caf\xc3\xa9\r\n \xf0\x9f\x8d\xb0\r\n.\r\nEND:VCALENDAR\r\n"
PASSWORD = "p@ss/w:rd#1"
QUOTED_PASSWORD = "p%40ss%2Fw%3Ard%231"


def message() -> EmailMessage:
    message = EmailMessage(policy=policy.SMTP.clone(cte_type="7bit"))
    message["From"] = "Kitchen Club <events@kindryn.example>"
    message["To"] = "Ada <ada@example.com>"
    message["Subject"] = "Küche"
    message["Message-ID"] = "<1@kindryn.example>"
    message.set_content("Grüße\n.\nEnde")
    message.add_alternative(CALENDAR, maintype="text", subtype="calendar", params={"method": "REQUEST"})
    return message


class SmtpHandler:
    """Keeps every mail; answers the commands in `answers` with that reply instead."""

    def __init__(self, **answers: str) -> None:
        self.envelopes: list[Any] = []
        self.sent_by_a_user: list[bool] = []
        self.sessions: list[SmtpSession] = []
        for command, answer in answers.items():
            setattr(self, f"handle_{command}", self._always(answer))

    async def handle_DATA(self, _server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        self.envelopes.append(envelope)
        self.sent_by_a_user.append(bool(session.authenticated))
        return "250 2.0.0 kept"

    def hang_up(self) -> None:
        """Close every connection from the server's side."""
        for session in self.sessions:
            if session.transport is not None:
                session.transport.close()

    @staticmethod
    def _always(answer: str) -> Callable[..., Any]:
        async def handle(*_: Any) -> str:
            return answer

        return handle


class SmtpSession(SMTP):
    """One connection of a client; `closed` is set when it has ended."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.closed = asyncio.Event()

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self.closed.set()


@asynccontextmanager
async def smtp_server(
    postbox: SmtpHandler, *, implicit_tls: ssl.SSLContext | None = None, **options: Any
) -> AsyncIterator[str]:
    """A real SMTP server on a free port; yields `host:port`."""
    loop = asyncio.get_running_loop()

    def session() -> SMTP:
        postbox.sessions.append(SmtpSession(postbox, hostname="mx.test", loop=loop, **options))
        return postbox.sessions[-1]

    server = await loop.create_server(session, "127.0.0.1", 0, ssl=implicit_tls)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """TLS settings for a server, with a certificate that this process trusts."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, private = tmp_path / "server.pem", tmp_path / "server.key"
    pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )  # fmt: skip
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, private)
    return context


def check_password(_server: Any, _session: Any, _envelope: Any, _mechanism: str, login: Any) -> AuthResult:
    known = (login.login, login.password) == (b"ada@kindryn", PASSWORD.encode())
    return AuthResult(success=known, handled=False)


@asynccontextmanager
async def mail_to(url: str) -> AsyncIterator[Mailer]:
    mail = Mailer(url)
    try:
        yield mail
    finally:
        await mail.close()


async def send(url: str) -> None:
    async with mail_to(url) as mail:
        await mail.send(message())


async def failure(url: str) -> MailError:
    with pytest.raises(MailError) as caught:
        await send(url)
    return caught.value


def logged(error: Exception) -> str:
    """What a log would contain of the error: every error in the chain, without the source lines."""
    return "".join(text for text in traceback.format_exception(error) if not text.startswith("  File"))


# Which mails arrive


async def test_a_mail_arrives_with_its_calendar_bytes_unchanged() -> None:
    postbox = SmtpHandler()
    async with smtp_server(postbox) as address:
        await send(f"smtp://{address}")
    [envelope] = postbox.envelopes
    assert (envelope.mail_from, envelope.rcpt_tos) == ("events@kindryn.example", ["ada@example.com"])
    arrived = message_from_bytes(envelope.content, policy=policy.default)
    assert isinstance(arrived, EmailMessage)
    assert (arrived["Subject"], arrived["Message-ID"]) == ("Küche", "<1@kindryn.example>")
    parts = {part.get_content_type(): part for part in arrived.walk()}
    assert parts["text/plain"].get_content().splitlines() == ["Grüße", ".", "Ende"]
    assert parts["text/calendar"].get_payload(decode=True) == CALENDAR


@pytest.mark.parametrize("scheme", ["smtps", "smtp+starttls"])
async def test_a_mail_goes_over_tls_with_a_login(scheme: str, tls: ssl.SSLContext) -> None:
    postbox = SmtpHandler()
    over_tls: dict[str, Any] = {"tls_context": tls, "require_starttls": True}
    if scheme == "smtps":  # aiosmtpd does not notice that its connection is encrypted already
        over_tls = {"implicit_tls": tls, "auth_require_tls": False}
    async with smtp_server(postbox, authenticator=check_password, **over_tls) as address:
        await send(f"{scheme}://ada%40kindryn:{QUOTED_PASSWORD}@{address}")
    assert postbox.sent_by_a_user == [True]


async def test_a_mail_that_was_accepted_stays_accepted_when_the_goodbye_fails() -> None:
    postbox = SmtpHandler(QUIT="421 4.3.0 gone already")
    async with smtp_server(postbox) as address:
        await send(f"smtp://{address}")
    assert len(postbox.envelopes) == 1


# Connections


async def test_mails_that_follow_each_other_share_a_connection() -> None:
    postbox = SmtpHandler()
    async with smtp_server(postbox) as address, mail_to(f"smtp://{address}") as mail:
        for _ in range(3):
            await mail.send(message())
    assert (len(postbox.envelopes), len(postbox.sessions)) == (3, 1)


async def test_mails_sent_at_once_each_have_a_connection() -> None:
    postbox = SmtpHandler()
    async with smtp_server(postbox) as address, mail_to(f"smtp://{address}") as mail:
        await asyncio.gather(*(mail.send(message()) for _ in range(3)))
    assert (len(postbox.envelopes), len(postbox.sessions)) == (3, 3)


async def test_a_connection_that_the_server_ended_meanwhile_loses_no_mail() -> None:
    postbox = SmtpHandler()
    async with smtp_server(postbox) as address, mail_to(f"smtp://{address}") as mail:
        await mail.send(message())
        postbox.hang_up()
        await mail.send(message())
    assert (len(postbox.envelopes), len(postbox.sessions)) == (2, 2)


async def test_a_connection_serves_no_mail_after_a_refused_one() -> None:
    postbox = SmtpHandler(RCPT="550 5.1.1 unknown")
    async with smtp_server(postbox) as address, mail_to(f"smtp://{address}") as mail:
        for _ in range(2):
            with pytest.raises(MailRefused):
                await mail.send(message())
    assert len(postbox.sessions) == 2


async def test_a_connection_takes_so_many_mails_and_then_another_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mail_module, "MAX_MAILS_PER_CONNECTION", 2)
    postbox = SmtpHandler()
    async with smtp_server(postbox) as address, mail_to(f"smtp://{address}") as mail:
        for _ in range(4):
            await mail.send(message())
    assert (len(postbox.envelopes), len(postbox.sessions)) == (4, 2)


async def test_a_connection_without_mail_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mail_module, "IDLE_TIMEOUT", 0.01)
    postbox = SmtpHandler()
    async with smtp_server(postbox) as address, mail_to(f"smtp://{address}") as mail:
        await mail.send(message())
        async with asyncio.timeout(TIMEOUT):
            await postbox.sessions[0].closed.wait()


# Which error a failure becomes


@pytest.mark.parametrize("command", ["RCPT", "DATA"])
async def test_what_is_refused_for_good_is_never_sent_again(command: str) -> None:
    async with smtp_server(SmtpHandler(**{command: "550 5.1.1 <ada@example.com> is unknown here"})) as address:
        refused = await failure(f"smtp://{address}")
    assert isinstance(refused, MailRefused)
    assert (refused.retry, refused.retry_at) == ("never", None)
    assert "550 5.1.1" in str(refused)


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("RCPT", "451 4.7.1 <ada@example.com> come back later"),
        ("DATA", "452 disk full"),
        ("MAIL", "550 5.7.1 <events@kindryn.example> may not send"),
        ("MAIL", "421 too many connections"),
    ],
)
async def test_what_may_pass_is_sent_again_later(command: str, answer: str) -> None:
    async with smtp_server(SmtpHandler(**{command: answer})) as address:
        refused = await failure(f"smtp://{address}")
    assert isinstance(refused, MailUnavailable)
    assert (refused.retry, refused.retry_at) == ("backoff", None)
    assert answer[:3] in str(refused)


async def test_no_error_quotes_an_address_or_the_password() -> None:
    async with smtp_server(SmtpHandler(RCPT="550 5.1.1 <ada@example.com> is unknown here")) as address:
        refused = await failure(f"smtp://{address}")
    assert "ada@" not in logged(refused)
    options: dict[str, Any] = {"authenticator": check_password, "auth_require_tls": False}
    async with smtp_server(SmtpHandler(), **options) as address:
        unknown = await failure(f"smtp://somebody:secret-word@{address}")
    assert isinstance(unknown, MailUnavailable)
    assert "535" in str(unknown)
    assert "secret-word" not in logged(unknown)
    assert "somebody" not in logged(unknown)


async def test_a_server_that_is_not_there_is_asked_again_later() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        unavailable = await failure(f"smtp://127.0.0.1:{taken.getsockname()[1]}")
    assert isinstance(unavailable, MailUnavailable)


async def test_a_server_that_hangs_up_or_never_speaks_is_asked_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mail_module, "TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert isinstance(await failure(f"smtp://127.0.0.1:{silent.getsockname()[1]}"), MailUnavailable)

    hangs_up = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    async with hangs_up:
        assert isinstance(await failure(f"smtp://127.0.0.1:{hangs_up.sockets[0].getsockname()[1]}"), MailUnavailable)


async def test_starttls_sends_nothing_to_a_server_that_cannot() -> None:
    postbox = SmtpHandler()
    async with smtp_server(postbox) as address:
        assert isinstance(await failure(f"smtp+starttls://{address}"), MailUnavailable)
    assert postbox.envelopes == []


async def test_a_certificate_nobody_vouches_for_is_not_trusted(
    tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    postbox = SmtpHandler()
    async with smtp_server(postbox, implicit_tls=tls) as address:
        assert isinstance(await failure(f"smtps://{address}"), MailUnavailable)
    assert postbox.envelopes == []


# The address of the server


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("smtp://localhost", SmtpServer("localhost", 25, "none")),
        ("smtp://localhost:1025/", SmtpServer("localhost", 1025, "none")),
        ("smtps://mx.example", SmtpServer("mx.example", 465, "tls")),
        ("smtp+starttls://[::1]", SmtpServer("::1", 587, "starttls")),
        (
            f"smtps://ada%40kindryn:{QUOTED_PASSWORD}@mx.example:4465",
            SmtpServer("mx.example", 4465, "tls", "ada@kindryn", PASSWORD),
        ),
    ],
)
def test_a_server_is_read_from_its_url(url: str, server: SmtpServer) -> None:
    assert parse_smtp_url(url) == server
    assert PASSWORD not in repr(parse_smtp_url(url))


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("", "scheme"),
        ("http://user:secret-word@mx.example", "scheme"),
        ("smtp://", "host"),
        ("smtp://user:secret-word@", "host"),
        ("smtp://user:secret-word@mx.example:port", "port"),
        ("smtp://user:secret-word@mx.example:99999", "port"),
        ("smtp://user:secret-word/2@mx.example", "port"),
        ("smtp://user:1#secret-word@mx.example", "percent-encode"),
        ("smtp://user:secret-word℀@mx.example", "host"),
        ("smtp://user:secret-word@[mx.example", "host"),
        ("smtp://user:secret-word@mx.example/path", "port"),
        ("smtp://user@mx.example", "password"),
        ("smtp://:secret-word@mx.example", "user"),
    ],
)
def test_a_wrong_url_is_refused_by_naming_its_part_and_never_the_password(url: str, what: str) -> None:
    with pytest.raises(ValueError, match=r"^(must|has) ") as caught:
        Mailer(url)
    assert what in str(caught.value)
    assert "secret-word" not in logged(caught.value)
