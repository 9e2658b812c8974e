"""A real SMTP server that keeps every mail as an .eml file, for people and for tests to read.

`python -m app.devstack.mailbox FOLDER [--port PORT] [--refuse ADDRESS ...]` prints its URL, and then one line of JSON
for each mail.
"""

import argparse
import asyncio
import json
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from types import TracebackType
from typing import Self
from weakref import WeakSet

from aiosmtpd.smtp import SMTP, Envelope

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Mail:
    """A mail as it arrived.

    `content` holds the bytes after DATA, with dots unstuffed (RFC 5321 section 4.5.2).
    """

    path: Path
    sender: str
    recipients: tuple[str, ...]
    content: bytes

    @property
    def message(self) -> EmailMessage:
        """The mail as a parsed message."""
        return message_from_bytes(self.content, policy=policy.default)


class Mailbox:
    """An SMTP server at `url` while the context is open. `port` 0 picks a free one. The files stay.

    A file is named by time of arrival and first recipient: `20260131T120000.123456-member@example.org.eml`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int = 0,
        refused: Iterable[str] = (),
        on_arrival: Callable[[Mail], None] = lambda _: None,
    ) -> None:
        self.folder = folder
        self._port = port
        self._refused = {address.lower() for address in refused}
        self._on_arrival = on_arrival
        self._mails: list[Mail] = []
        self._unread: list[Mail] = []
        self._arrival = asyncio.Condition()
        self._sessions: WeakSet[SMTP] = WeakSet()

    @property
    def url(self) -> str:
        """The URL, smtp://host:port, without TLS and without a user."""
        return f"smtp://{LOOPBACK}:{self._port}"

    async def __aenter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._server = await asyncio.get_running_loop().create_server(self._open_session, LOOPBACK, self._port)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.close()
        for session in self._sessions:
            if session.transport is not None:
                session.transport.close()

    def all(self) -> list[Mail]:
        """Return every mail since the start or the last `clear`, oldest first."""
        return list(self._mails)

    def clear(self) -> None:
        """Forget the mails and the refused addresses. The files stay."""
        self._mails.clear()
        self._unread.clear()
        self._refused.clear()

    def refuse(self, address: str) -> None:
        """Answer `address` as an unknown mailbox from now on.

        That is 550, a permanent failure (RFC 5321 section 4.2.3).
        """
        self._refused.add(address.lower())

    async def next(self, timeout: float = 60.0, *, to: str | None = None) -> Mail:
        """Wait for the oldest mail that `next` has not returned yet, and return it. `to` selects a recipient.

        `timeout` is in seconds. Raises TimeoutError, whose text lists the mails that did arrive.
        """
        try:
            async with asyncio.timeout(timeout), self._arrival:
                while (mail := self._first_unread(to)) is None:
                    await self._arrival.wait()
        except TimeoutError:
            others = ", ".join(mail.recipients[0] for mail in self._unread) or "nobody"
            raise TimeoutError(f"no mail to {to or 'anybody'} in {timeout} s; unread ones are to {others}") from None
        self._unread.remove(mail)
        return mail

    def _first_unread(self, to: str | None) -> Mail | None:
        return next((mail for mail in self._unread if to is None or to in mail.recipients), None)

    def _open_session(self) -> SMTP:
        session = SMTP(self, hostname="mailbox.localhost", ident="Mailbox", enable_SMTPUTF8=True)
        self._sessions.add(session)
        return session

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, _server: object, _session: object, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        """aiosmtpd's hook for one recipient. Returns the SMTP response."""
        if address.lower() in self._refused:
            return "550 5.1.1 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 recipient accepted"

    async def handle_DATA(self, _server: object, _session: object, envelope: Envelope) -> str:  # noqa: N802 - likewise
        """aiosmtpd's hook for one mail. The mail is on disk before the response is sent."""
        mail = self._save(envelope.mail_from or "", tuple(envelope.rcpt_tos), envelope.original_content or b"")
        self._mails.append(mail)
        self._unread.append(mail)
        self._on_arrival(mail)
        async with self._arrival:
            self._arrival.notify_all()
        return "250 2.0.0 kept"

    def _save(self, sender: str, recipients: tuple[str, ...], content: bytes) -> Mail:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
        readable = re.sub(r"[^\w.@+-]", "_", recipients[0])[:100]
        path = self.folder / f"{stamp}-{readable}.eml"
        unfinished = path.with_suffix(".part")
        unfinished.write_bytes(content)
        unfinished.rename(path)
        return Mail(path, sender, recipients, content)


def _print_mail(mail: Mail) -> None:
    print(json.dumps({"file": str(mail.path), "from": mail.sender, "to": mail.recipients}), flush=True)


async def run_mailbox() -> None:
    """Run a mailbox with the arguments of the command line until the process ends."""
    parser = argparse.ArgumentParser(
        prog="python -m app.devstack.mailbox", description="An SMTP server that keeps mails."
    )
    parser.add_argument("folder", type=Path, help="where the .eml files go")
    parser.add_argument("--port", type=int, default=0, help="a free one if not given")
    parser.add_argument("--refuse", action="append", default=[], metavar="ADDRESS", help="a recipient to refuse")
    arguments = parser.parse_args()
    async with Mailbox(
        arguments.folder, port=arguments.port, refused=arguments.refuse, on_arrival=_print_mail
    ) as mailbox:
        print(json.dumps({"url": mailbox.url}), flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(run_mailbox())
