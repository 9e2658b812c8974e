"""Handing a mail over: only while it is still what is to be said."""

from collections.abc import Awaitable, Callable
from email.message import EmailMessage

from app.clients.mail import MailRefused, MailUnavailable
from app.core import logs, metrics
from app.core.job_context import Superseded
from app.core.job_runner import JobContext
from app.resources import Resources

log = logs.get("registrations")


async def send_mail(
    job: JobContext[Resources], mail: EmailMessage, is_current: Callable[[], Awaitable[bool]]
) -> str | None:
    """Hand a mail over; why the server refused it for good, if it did.

    `is_current` is asked of what is committed when the server is ready to take what the mail says: on the way there a
    worker may have been frozen. Raises Overtaken where it is not, LeaseLost, and MailUnavailable.
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
