"""A mail server that can be made to fail. It keeps every mail it accepts."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.devstack.mailbox import LOOPBACK, Mailbox

if TYPE_CHECKING:
    from aiosmtpd.smtp import Envelope

TRANSIENT_REPLY = "451 4.3.0 try again later"


class FailingMailbox(Mailbox):
    """A mailbox with a failure mode."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._failure: str | None = None
        self._healthy = asyncio.Event()
        self._healthy.set()

    async def set_failure(self, mode: str | None) -> None:
        """Fail in this mode from now on. None ends the failure, and also releases sessions that hang."""
        previous, self._failure = self._failure, mode
        (self._healthy.clear if mode == "mail hangs" else self._healthy.set)()
        if mode == "mail is down":
            self._server.close()
            for session in list(self._sessions):
                _break_off(session)
        elif previous == "mail is down":
            self._server = await asyncio.get_running_loop().create_server(self._open_session, LOOPBACK, self._port)

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, server: object, session: object, envelope: "Envelope", address: str, options: list[str]
    ) -> str:
        """aiosmtpd's hook for one recipient."""
        if self._failure == "mail 4xx":
            return TRANSIENT_REPLY
        return await super().handle_RCPT(server, session, envelope, address, options)

    async def handle_DATA(self, server: Any, session: object, envelope: "Envelope") -> str:  # noqa: N802 - likewise
        """aiosmtpd's hook for one mail.

        A mail that hangs is not accepted if its sender leaves, because aiosmtpd then cancels this call.
        """
        await self._healthy.wait()
        reply = await super().handle_DATA(server, session, envelope)
        if self._failure == "mail answers are lost":
            _break_off(server)
        return reply


def _break_off(session: Any) -> None:
    if session.transport is not None:
        session.transport.abort()
