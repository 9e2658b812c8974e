"""The mail server fails as it is told, and loses no mail that it has taken."""

import asyncio
from collections.abc import AsyncIterator
from email.message import EmailMessage
from pathlib import Path

import pytest

from app.chaos.mail_faults import FailingMailbox
from app.clients.mail import Mail, MailUnavailable
from tests.patience import PATIENCE


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[FailingMailbox]:
    async with FailingMailbox(tmp_path / "mail") as server:
        yield server


@pytest.fixture
async def mail(server: FailingMailbox) -> AsyncIterator[Mail]:
    mail = Mail(server.url)
    yield mail
    await mail.close()


def a_letter() -> EmailMessage:
    letter = EmailMessage()
    letter["From"], letter["To"], letter["Subject"] = "a@kindryn.example", "m1@members.example", "Hello"
    letter.set_content("Hello!")
    return letter


@pytest.mark.parametrize("how", ["mail 4xx", "mail is down"])
async def test_what_it_refuses_it_does_not_keep(server: FailingMailbox, mail: Mail, how: str) -> None:
    await server.fail(how)
    with pytest.raises(MailUnavailable) as refused:
        await mail.send(a_letter())
    assert not refused.value.maybe_sent
    assert server.all() == []
    await server.fail(None)
    await mail.send(a_letter())
    assert len(server.all()) == 1


async def test_where_its_answer_is_lost_the_mail_is_there(server: FailingMailbox, mail: Mail) -> None:
    await server.fail("mail answers are lost")
    with pytest.raises(MailUnavailable) as lost:
        await mail.send(a_letter())
    assert lost.value.maybe_sent
    assert len(server.all()) == 1


async def test_what_hangs_is_taken_once_it_is_well_again(server: FailingMailbox, mail: Mail) -> None:
    await server.fail("mail hangs")
    sending = asyncio.create_task(mail.send(a_letter()))
    done, _ = await asyncio.wait({sending}, timeout=0.2)
    assert not done
    await server.fail(None)
    async with asyncio.timeout(PATIENCE):
        await sending
    assert len(server.all()) == 1


async def test_what_hangs_is_not_taken_from_somebody_who_left(server: FailingMailbox, mail: Mail) -> None:
    await server.fail("mail hangs")
    sending = asyncio.create_task(mail.send(a_letter()))
    await asyncio.wait({sending}, timeout=0.2)
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    await server.fail(None)
    await mail.send(a_letter())
    assert len(server.all()) == 1
