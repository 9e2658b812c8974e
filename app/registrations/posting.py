"""Handing a mail over: only while it is still what is to be said."""

from collections.abc import Awaitable, Callable
from email.message import EmailMessage

from app.clients.mail import MailRefused, MailUnavailable
from app.core import logs, metrics
from app.core.run import Overtaken
from app.core.work import Work
from app.resources import Resources

log = logs.get("registrations")


async def post(work: Work[Resources], mail: EmailMessage, still_true: Callable[[], Awaitable[bool]]) -> str | None:
    """Hand a mail over; why the server refused it for good, if it did.

    `still_true` is asked of what is committed when the server is ready to take what the mail says: on the way there a
    worker may have been frozen. Raises Overtaken where it is not, LeaseLost, and MailUnavailable.
    """
    try:
        with work.only_while(still_true):
            await work.resources.mail.send(mail)
        metrics.mail_sent("sent")
    except MailRefused as error:
        metrics.mail_sent("MailRefused")
        return str(error)
    except MailUnavailable:
        metrics.mail_sent("MailUnavailable")
        raise
    except Overtaken:
        metrics.mail_sent("overtaken")
        log.info("a mail was overtaken", about=work.key)
        raise
    return None
