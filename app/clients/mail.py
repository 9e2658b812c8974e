"""SMTP client: sends mails over connections that are reused while mails follow each other.

    MailError            `retry` and `retry_at` say whether and when to send the same mail again
    ├── MailRefused      never: the server will not take this mail for this recipient
    └── MailUnavailable  backoff: no answer, a temporary failure (4xx), or something an operator has to fix

The client retries nothing. A server often quotes the address in its reply, and errors end up in logs, so an error
contains only the reply codes.
"""

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from email.message import EmailMessage
from typing import Any, Literal
from urllib.parse import SplitResult, unquote, urlsplit

import aiosmtplib

from app.clients.instrumentation import BeforeCall, CallObserver, allow_call, ignore_call, observe_call

Security = Literal["none", "tls", "starttls"]

TIMEOUT = 20.0  # seconds, for connecting and for each reply
IDLE_TIMEOUT = 5.0  # seconds for which a connection stays open without mail
MAX_MAILS_PER_CONNECTION = 50  # servers close a connection after some hundred mails

# Ports: RFC 5321 section 4.5.4.2; RFC 8314 section 3.3 (implicit TLS); RFC 6409 section 3.1 (submission).
_SCHEMES: dict[str, tuple[Security, int]] = {
    "smtp": ("none", 25),
    "smtps": ("tls", 465),
    "smtp+starttls": ("starttls", 587),
}
_ENHANCED_CODE = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")  # RFC 3463 section 2


class MailError(Exception):
    """The server did not accept the mail.

    `retry` says whether sending it again can help. `retry_at` says from when; None means that the server did not say.
    """

    retry: Literal["backoff", "never"]
    retry_at: datetime | None = None


class MailRefused(MailError):
    """The server refused this recipient or this mail permanently (5xx to RCPT or DATA)."""

    retry = "never"


class MailUnavailable(MailError):
    """The mail could not be delivered to the server now.

    There was no connection, the failure was temporary, or the server refused our own account or sender. `maybe_sent`:
    the connection broke while the mail was on its way, so the server may have accepted it.
    """

    retry = "backoff"
    maybe_sent = False


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """The SMTP server and our account there.

    With `security` "starttls" nothing is sent before the connection is encrypted.
    """

    host: str
    port: int
    security: Security
    username: str | None = None
    password: str | None = field(default=None, repr=False)


def parse_smtp_url(url: str) -> SmtpServer:
    """Parse `smtp://`, `smtps://` or `smtp+starttls://[user:password@]host[:port]`.

    User and password are percent-decoded. The port defaults to 25, 465 or 587. Raises ValueError with a sentence about
    the wrong part; the sentence follows the setting's name and never shows the password.
    """
    parts = _split(url)
    if parts.scheme not in _SCHEMES:
        raise ValueError("must have the scheme smtp, smtps or smtp+starttls")
    security, usual_port = _SCHEMES[parts.scheme]
    if not parts.hostname:
        raise ValueError("must name a host")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError("must have nothing after the port; percent-encode / ? # in the user or password")
    username, password = unquote(parts.username or "") or None, unquote(parts.password or "") or None
    if (username is None) != (password is None):
        raise ValueError("must have a user and a password, or neither")
    return SmtpServer(parts.hostname, parts.port or usual_port, security, username, password)


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - the property raises ValueError for a bad port
    except ValueError:
        # The library's own message quotes the text it could not parse, which may be the password.
        raise ValueError("has a host or port that cannot be read; percent-encode special characters") from None
    return parts


class Mailer:
    """Sends mails to the SMTP server of `smtp_url` and reports each of them to `on_call`.

    `before_call` is awaited right before a mail's content is sent. Callers must call `close` in the end.
    """

    def __init__(
        self, smtp_url: str, on_call: CallObserver = ignore_call, before_call: BeforeCall = allow_call
    ) -> None:
        self._server = parse_smtp_url(smtp_url)
        self._on_call = on_call
        self._before_call = before_call
        self._idle_connections: list[_Connection] = []

    async def send(self, message: EmailMessage) -> None:
        """Send one mail from its `From` to its `To`; returns once the server has accepted it.

        Raises MailRefused or MailUnavailable.
        """
        with observe_call(self._on_call, "mail", "send", (MailError,)) as call, _translate_errors():
            connection = await self._reuse_connection() or await self._open_connection()
            try:
                await connection.smtp.send_message(message)
            except BaseException:
                connection.smtp.close()
                raise
            call.outcome = "sent"
        connection.mails_sent += 1
        await self._return_connection(connection)

    async def close(self) -> None:
        """Close every idle connection with QUIT."""
        while self._idle_connections:
            await _quit(self._take_idle())

    async def _reuse_connection(self) -> "_Connection | None":
        """Return an idle connection that still answers, or None."""
        while self._idle_connections:
            connection = self._take_idle()
            try:
                await connection.smtp.noop()
            except (aiosmtplib.SMTPException, OSError):
                connection.smtp.close()
            else:
                return connection
        return None

    async def _open_connection(self) -> "_Connection":
        server = self._server
        smtp = _Smtp(
            self._before_call,
            hostname=server.host,
            port=server.port,
            username=server.username,
            password=server.password,
            use_tls=server.security == "tls",
            start_tls=server.security == "starttls",
            timeout=TIMEOUT,
        )
        try:
            await smtp.connect()
        except BaseException:  # also if the task is cancelled while connecting
            smtp.close()
            raise
        return _Connection(smtp)

    def _take_idle(self) -> "_Connection":
        connection = self._idle_connections.pop()
        if connection.idle_timer:
            connection.idle_timer.cancel()
        return connection

    async def _return_connection(self, connection: "_Connection") -> None:
        if connection.mails_sent >= MAX_MAILS_PER_CONNECTION:
            await _quit(connection)
            return
        connection.idle_timer = asyncio.get_running_loop().call_later(IDLE_TIMEOUT, self._close_idle, connection)
        self._idle_connections.append(connection)

    def _close_idle(self, connection: "_Connection") -> None:
        self._idle_connections.remove(connection)
        connection.smtp.close()


class _Smtp(aiosmtplib.SMTP):
    """An SMTP connection that awaits `before_call` before it sends the content of a mail."""

    def __init__(self, before_call: BeforeCall, **options: Any) -> None:
        super().__init__(**options)
        self._before_call = before_call

    async def data(self, *arguments: Any, **options: Any) -> aiosmtplib.SMTPResponse:
        """Send the content of a mail (DATA)."""
        await self._before_call()
        return await super().data(*arguments, **options)


@dataclass(eq=False, slots=True)
class _Connection:
    """A connection to the mail server, with the number of mails sent and the timer that closes it."""

    smtp: _Smtp
    mails_sent: int = 0
    idle_timer: asyncio.TimerHandle | None = None


async def _quit(connection: _Connection) -> None:
    # The server has already accepted the mails, so a failing QUIT changes nothing.
    with suppress(aiosmtplib.SMTPException, OSError):
        await connection.smtp.quit()
    connection.smtp.close()


@contextmanager
def _translate_errors() -> Iterator[None]:
    try:
        yield
    except aiosmtplib.SMTPRecipientsRefused as refused:
        raise _refusal("the recipient", refused.recipients[0]) from None
    except aiosmtplib.SMTPDataError as refused:
        raise _refusal("the mail", refused) from None
    except aiosmtplib.SMTPResponseException as refused:
        # The server refused our login, sender or greeting. This is no fault of the mail, and an operator can fix it.
        raise MailUnavailable(f"The mail server refused us ({_reply_code(refused)}).") from None
    except (aiosmtplib.SMTPException, OSError) as failure:
        error = MailUnavailable(f"The mail server could not be reached ({type(failure).__name__}).")
        error.maybe_sent = not isinstance(failure, aiosmtplib.SMTPConnectError)
        raise error from None


def _refusal(subject: str, refused: aiosmtplib.SMTPResponseException) -> MailError:
    permanent = 500 <= refused.code < 600
    kind = MailRefused if permanent else MailUnavailable
    return kind(f"The mail server refused {subject} ({_reply_code(refused)}).")


def _reply_code(refused: aiosmtplib.SMTPResponseException) -> str:
    enhanced = _ENHANCED_CODE.match(refused.message)
    return f"{refused.code} {enhanced[0]}" if enhanced else str(refused.code)
