"""Jobs that send mails: invitations, reminders, and the codes of guests."""

from app.core.job_runner import JobContext
from app.invitations import guest_code_mail, invite_sending, reminders
from app.resources import Resources


async def send_invite(job: JobContext[Resources]) -> None:
    """Bring one member's calendar (the key is a registration) up to date, with one mail if it is not.

    The state and its SEQUENCE are committed before the mail is sent, so that a repeated mail is the same mail.
    """
    await invite_sending.send(job)


async def plan_reminders(job: JobContext[Resources]) -> None:
    """Request the reminders of an event (the key) that are due, and run again when the next is due."""
    await reminders.plan(job)


async def send_reminder(job: JobContext[Resources]) -> None:
    """Remind one member (the key is a registration), once for each reminder time."""
    await reminders.send(job)


async def mail_guest_code(job: JobContext[Resources]) -> None:
    """Mail a guest the code that confirms their address in one browser (the key is the code's row)."""
    await guest_code_mail.send(job)
