"""The mail server fails as set, and loses no mail that it has accepted."""

import asyncio
from collections.abc import AsyncIterator
from email.message import EmailMessage
from pathlib import Path

import pytest

from app.chaos.failing_mailbox import FailingMailbox
from app.clients.mail import Mailer, MailUnavailable
from tests.support.timeouts import TIMEOUT


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[FailingMailbox]:
    async with FailingMailbox(tmp_path / "mail") as server:
        yield server


@pytest.fixture
async def mail(server: FailingMailbox) -> AsyncIterator[Mailer]:
    mail = Mailer(server.url)
    yield mail
    await mail.close()


def new_message() -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "a@kindryn.example", "m1@members.example", "Hello"
    message.set_content("Hello!")
    return message


@pytest.mark.parametrize("mode", ["mail 4xx", "mail is down"])
async def test_what_it_refuses_it_does_not_keep(server: FailingMailbox, mail: Mailer, mode: str) -> None:
    await server.set_failure(mode)
    with pytest.raises(MailUnavailable) as refused:
        await mail.send(new_message())
    assert not refused.value.maybe_sent
    assert server.all() == []
    await server.set_failure(None)
    await mail.send(new_message())
    assert len(server.all()) == 1


async def test_where_its_answer_is_lost_the_mail_is_there(server: FailingMailbox, mail: Mailer) -> None:
    await server.set_failure("mail answers are lost")
    with pytest.raises(MailUnavailable) as lost:
        await mail.send(new_message())
    assert lost.value.maybe_sent
    assert len(server.all()) == 1


async def test_what_hangs_is_taken_once_it_is_well_again(server: FailingMailbox, mail: Mailer) -> None:
    await server.set_failure("mail hangs")
    sending = asyncio.create_task(mail.send(new_message()))
    done, _ = await asyncio.wait({sending}, timeout=0.2)
    assert not done
    await server.set_failure(None)
    async with asyncio.timeout(TIMEOUT):
        await sending
    assert len(server.all()) == 1


async def test_what_hangs_is_not_taken_from_somebody_who_left(server: FailingMailbox, mail: Mailer) -> None:
    await server.set_failure("mail hangs")
    sending = asyncio.create_task(mail.send(new_message()))
    await asyncio.wait({sending}, timeout=0.2)
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    await server.set_failure(None)
    await mail.send(new_message())
    assert len(server.all()) == 1
