"""A mail server that can be made to fail, and keeps every mail it takes."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.demo.mailbox import LOOPBACK, Mailbox

if TYPE_CHECKING:
    from aiosmtpd.smtp import Envelope

TROUBLE = "451 4.3.0 try again later"


class FailingMailbox(Mailbox):
    """A mailbox that fails as it is told."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._failing: str | None = None
        self._well = asyncio.Event()
        self._well.set()

    async def fail(self, how: str | None) -> None:
        """From now on fail like that; with None be well again, which also ends what hangs."""
        was, self._failing = self._failing, how
        (self._well.clear if how == "mail hangs" else self._well.set)()
        if how == "mail is down":
            self._server.close()
            for session in list(self._sessions):
                _break_off(session)
        elif was == "mail is down":
            self._server = await asyncio.get_running_loop().create_server(self._open_session, LOOPBACK, self._port)

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, server: object, session: object, envelope: "Envelope", address: str, options: list[str]
    ) -> str:
        """aiosmtpd's hook for one recipient."""
        if self._failing == "mail 4xx":
            return TROUBLE
        return await super().handle_RCPT(server, session, envelope, address, options)

    async def handle_DATA(self, server: Any, session: object, envelope: "Envelope") -> str:  # noqa: N802 - likewise
        """aiosmtpd's hook for one mail. One that hangs is not taken if its sender leaves, which cancels this."""
        await self._well.wait()
        answer = await super().handle_DATA(server, session, envelope)
        if self._failing == "mail answers are lost":
            _break_off(server)
        return answer


def _break_off(session: Any) -> None:
    if session.transport is not None:
        session.transport.abort()
