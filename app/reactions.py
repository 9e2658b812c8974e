"""What the service does by itself, on one screen: fact -> reactions, and every(interval) -> sweep."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from app import facts
from app.accounts import tasks as accounts
from app.core.work import Binding, Reaction, Reactions
from app.inbox import tasks as inbox
from app.joining import tasks as joining
from app.meetings import tasks as meetings
from app.registrations import tasks as registrations
from app.resources import Resources

Run = Callable[[Any], Any]
MAIL = "mail"


def reaction(name: str, run: Run, *, priority: int = 100, every: timedelta | None = None) -> Reaction[Resources]:
    """A named reaction; the smaller its priority, the sooner it is taken."""
    return Reaction(name, run, priority, every)


READ_ACCOUNT = reaction("accounts.read", accounts.read_account, priority=20)
DEAUTHORIZE = reaction("accounts.deauthorize", inbox.deauthorize, priority=10)
REVOKE = reaction("accounts.revoke", accounts.revoke, priority=10)
INTERPRET = reaction("inbox.interpret", inbox.interpret_delivery, priority=10)
SYNC_MEETING = reaction("meetings.sync", meetings.sync, priority=50)
RETIRE_MEETING = reaction("meetings.retire", meetings.retire, priority=50)
CONVERGE = reaction("meetings.converge", meetings.converge_account, priority=80)
NOTICE = reaction("meetings.notice", meetings.notice, priority=20)
NOTE_INSTANCE = reaction("meetings.note_instance", meetings.note_instance, priority=10)
SPREAD = reaction("registrations.spread", registrations.spread, priority=60)
FOLLOW_ADDRESS = reaction("registrations.follow_address", registrations.follow_address, priority=60)
ADD_BATCH = reaction("registrations.batch", registrations.add_batch, priority=55)
SYNC_REGISTRANT = reaction("registrations.sync", registrations.sync_registrant, priority=60)
NOTE_APPROVAL = reaction("registrations.note_approval", registrations.note_approval, priority=20)
SEND_INVITE = reaction("registrations.invite", registrations.send_invite, priority=70)
PLAN_REMINDERS = reaction("registrations.plan_reminders", registrations.plan_reminders, priority=60)
REMIND = reaction("registrations.remind", registrations.send_reminder, priority=65)
MAIL_GUEST_CODE = reaction("registrations.guest_code", registrations.mail_guest_code, priority=10)


def by(
    reaction: Reaction[Resources], key: str, *, lane: str | None = None, priority: int | None = None
) -> Binding[Resources]:
    """`reaction` for the id a fact has under `key`, in the lane of the account it has under `lane`."""

    def lane_of(fact: Any) -> str:
        account = getattr(fact, lane) if lane else None
        return str(account) if account else ""

    return Binding(reaction, lambda fact: str(getattr(fact, key)), lane_of, priority)


def mail(reaction: Reaction[Resources], key: str) -> Binding[Resources]:
    """`reaction` in the lane of the mail server, which takes few connections of one sender, and may hang."""
    return Binding(reaction, lambda fact: str(getattr(fact, key)), lambda _: MAIL)


TABLE: Reactions[Resources] = Reactions(
    facts={
        facts.AccountConnected: [by(READ_ACCOUNT, "account_id", lane="account_id"), by(CONVERGE, "account_id")],
        facts.AccountRefreshAsked: [by(READ_ACCOUNT, "account_id", lane="account_id")],
        facts.AccountDisconnected: [by(CONVERGE, "account_id")],
        facts.HostsChanged: [by(CONVERGE, "account_id")],
        facts.GrantRevocable: [by(REVOKE, "revocation_id")],
        facts.DeliveryStored: [by(INTERPRET, "delivery_id")],
        facts.AppDeauthorized: [by(DEAUTHORIZE, "delivery_id")],
        facts.MeetingNoticed: [by(NOTICE, "delivery_id")],
        facts.MeetingStarted: [by(NOTE_INSTANCE, "delivery_id")],
        facts.MeetingEnded: [by(NOTE_INSTANCE, "delivery_id")],
        facts.RegistrantApproved: [by(NOTE_APPROVAL, "delivery_id")],
        facts.EventChanged: [
            by(SYNC_MEETING, "event_id", lane="account_id"),
            by(SPREAD, "event_id"),
            by(PLAN_REMINDERS, "event_id"),
        ],
        facts.SyncAsked: [by(SYNC_MEETING, "event_id", lane="account_id", priority=10)],
        facts.MeetingRetired: [by(RETIRE_MEETING, "meeting_id", lane="account_id")],
        facts.MeetingSynced: [by(SPREAD, "event_id")],
        facts.RegistrationChanged: [
            by(SYNC_REGISTRANT, "registration_id", lane="account_id"),
            mail(SEND_INVITE, "registration_id"),
        ],
        facts.AddressChanged: [by(FOLLOW_ADDRESS, "registration_id")],
        facts.CrowdExpected: [by(ADD_BATCH, "event_id", lane="account_id")],
        facts.MemberWaiting: [by(SYNC_REGISTRANT, "registration_id", lane="account_id", priority=0)],
        facts.InviteAsked: [mail(SEND_INVITE, "registration_id")],
        facts.GuestCodeAsked: [mail(MAIL_GUEST_CODE, "guest_id")],
        facts.RemindersChanged: [by(PLAN_REMINDERS, "event_id")],
        facts.ReminderDue: [mail(REMIND, "registration_id")],
    },
    narrow_lanes=[MAIL],
    sweeps=[
        reaction("accounts.tidy", accounts.tidy, every=timedelta(minutes=10)),
        reaction("accounts.reread", accounts.reread_stale, every=timedelta(hours=1)),
        reaction("inbox.tidy", inbox.tidy, every=timedelta(hours=1)),
        reaction("joining.tidy", joining.tidy, every=timedelta(hours=1)),
    ],
)
