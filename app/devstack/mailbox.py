"""A real SMTP server that keeps every mail as an .eml file, for people and for tests to read.

`python -m app.devstack.mailbox FOLDER [--port PORT] [--refuse ADDRESS ...]` prints its URL, then a line of JSON per mail.
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
from typing import TYPE_CHECKING, Self
from weakref import WeakSet

if TYPE_CHECKING:
    from aiosmtpd.smtp import SMTP, Envelope

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Mail:
    """A mail as it arrived; `content` is what followed DATA, byte for byte, dots unstuffed (RFC 5321 section 4.5.2)."""

    path: Path
    sender: str
    recipients: tuple[str, ...]
    content: bytes

    @property
    def message(self) -> EmailMessage:
        """The mail as a parsed message."""
        return message_from_bytes(self.content, policy=policy.default)


class Mailbox:
    """Takes mail at `url` from `async with` to its end; the files stay. `port` 0 is a free one.

    Files are named by time of arrival and first recipient: `20260131T120000.123456-member@example.org.eml`.
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
        """smtp://host:port, without TLS and without a user."""
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
        """Every mail since the start or the last `clear`, oldest first."""
        return list(self._mails)

    def clear(self) -> None:
        """Forgets the mails and refuses nobody any more; the files stay."""
        self._mails.clear()
        self._unread.clear()
        self._refused.clear()

    def refuse(self, address: str) -> None:
        """From now on `address` is answered as an unknown mailbox: 550, for good (RFC 5321 section 4.2.3)."""
        self._refused.add(address.lower())

    async def next(self, timeout: float = 60.0, *, to: str | None = None) -> Mail:
        """The oldest mail (to that address, if one is given) that was not handed out yet, waiting for it if need be.

        `timeout` is in seconds. Raises TimeoutError, which says what is there instead.
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

    def _open_session(self) -> "SMTP":
        # Imported here: the production image has no aiosmtpd, but its command line knows the demo.
        from aiosmtpd.smtp import SMTP

        session = SMTP(self, hostname="mailbox.localhost", ident="Mailbox", enable_SMTPUTF8=True)
        self._sessions.add(session)
        return session

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, _server: object, _session: object, envelope: "Envelope", address: str, _options: list[str]
    ) -> str:
        """aiosmtpd's hook for one recipient; returns the SMTP answer."""
        if address.lower() in self._refused:
            return "550 5.1.1 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 recipient accepted"

    async def handle_DATA(self, _server: object, _session: object, envelope: "Envelope") -> str:  # noqa: N802 - likewise
        """aiosmtpd's hook for one mail; it is kept on disk before it is answered."""
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
    """Runs a mailbox as the command line says, until the process is ended."""
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
