"""Sends one mail of a job, but only while what it says is still true."""

from collections.abc import Awaitable, Callable
from email.message import EmailMessage

from app.clients.mail import MailRefused, MailUnavailable
from app.core import logs, metrics
from app.core.job_context import Superseded
from app.core.job_runner import JobContext
from app.resources import Resources

log = logs.get("invitations")


async def send_mail(
    job: JobContext[Resources], mail: EmailMessage, is_current: Callable[[], Awaitable[bool]]
) -> str | None:
    """Send a mail; returns why the server refused it for good, or None if it was accepted.

    `is_current` reads the committed state once the server is ready for the message. A worker may have been frozen on
    the way there. Raises Superseded if the mail is not current any more, LeaseLost, and MailUnavailable.
    """
    try:
        with job.only_while(is_current):
            await job.resources.mail.send(mail)
        metrics.mail_sent("sent")
    except MailRefused as error:
        metrics.mail_sent("MailRefused")
        return str(error)
    except MailUnavailable:
        metrics.mail_sent("MailUnavailable")
        raise
    except Superseded:
        metrics.mail_sent("overtaken")
        log.info("a mail was overtaken", about=job.key)
        raise
    return None
