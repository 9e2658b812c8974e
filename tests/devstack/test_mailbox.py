"""The mailbox is a real SMTP server: it keeps mails unchanged and refuses addresses as set."""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from aiosmtplib import SMTPRecipientsRefused, send

from app.devstack.mailbox import Mailbox

MAIL = (
    b"From: Kindryn <events@kindryn.example>\r\nTo: member@example.org\r\nSubject: =?utf-8?q?Caf=C3=A9?=\r\n"
    b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    b".\r\n..two dots\r\n" + "Grüße  \t\r\n".encode() + b"x" * 900 + b"\r\n\r\n"
)


async def deliver(url: str, *recipients: str) -> None:
    server = urlsplit(url)
    sender = "events@kindryn.example"
    await send(MAIL, sender=sender, recipients=recipients, hostname=server.hostname, port=server.port)


def content(path: Path) -> bytes:
    return path.read_bytes()


async def test_a_mail_arrives_byte_for_byte(mailbox: Mailbox) -> None:
    await deliver(mailbox.url, "member@example.org")
    mail = await mailbox.next()
    assert mail.path.suffix == ".eml"
    assert content(mail.path) == mail.content == MAIL
    assert (mail.sender, mail.recipients) == ("events@kindryn.example", ("member@example.org",))
    assert mail.message["Subject"] == "Café"
    assert mailbox.all() == [mail]


async def test_the_next_mail_is_awaited_also_for_one_recipient(mailbox: Mailbox) -> None:
    awaited = asyncio.create_task(mailbox.next(to="second@example.org"))
    await deliver(mailbox.url, "first@example.org")
    await deliver(mailbox.url, "second@example.org")
    assert (await awaited).recipients == ("second@example.org",)
    assert (await mailbox.next()).recipients == ("first@example.org",)
    await deliver(mailbox.url, "first@example.org")
    with pytest.raises(TimeoutError, match=r"no mail to third@example.org in 0.05 s; unread ones are to first@"):
        await mailbox.next(0.05, to="third@example.org")


async def test_a_refused_recipient_gets_no_mail(mailbox: Mailbox) -> None:
    mailbox.refuse("gone@example.org")
    with pytest.raises(SMTPRecipientsRefused) as refusal:
        await deliver(mailbox.url, "Gone@example.org")
    assert refusal.value.recipients[0].code == 550
    assert mailbox.all() == []


async def test_a_mail_for_a_hostile_address_stays_in_the_folder(mailbox: Mailbox) -> None:
    await deliver(mailbox.url, "../../outside@example.org")
    mail = await mailbox.next()
    assert mail.path.parent == mailbox.folder
    assert mail.path.name.endswith("-.._.._outside@example.org.eml")


async def test_a_mailbox_in_a_process_of_its_own_reports_each_mail(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "app.devstack.mailbox", str(tmp_path), "--refuse", "gone@example.org"]
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE)
    assert process.stdout is not None
    try:
        url = json.loads(await process.stdout.readline())["url"]
        await deliver(url, "gone@example.org", "b@example.org")
        report = json.loads(await process.stdout.readline())
    finally:
        process.terminate()
        await process.wait()
    assert (report["from"], report["to"]) == ("events@kindryn.example", ["b@example.org"])
    assert content(Path(report["file"])) == MAIL
