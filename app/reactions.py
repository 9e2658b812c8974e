"""What the service does by itself, on one screen: fact -> reactions, and every(interval) -> sweep."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from app import commands, facts
from app.accounts import tasks as accounts
from app.attendance import tasks as attendance
from app.core import queues
from app.core.queues import Caps
from app.core.work import Binding, Reaction, Reactions
from app.hooks import tasks as hooks
from app.inbox import tasks as inbox
from app.joining import tasks as joining
from app.live import tasks as live
from app.meetings import tasks as meetings
from app.privacy import tasks as privacy
from app.reconciling import tasks as reconciling
from app.registrations import tasks as registrations
from app.resources import Resources

Run = Callable[[Any], Any]
MAIL, HOOK, HEARD, TOLD = "mail", "hook", "heard", "told"  # kinds of queues


def reaction(name: str, run: Run, *, priority: int = 100, every: timedelta | None = None) -> Reaction[Resources]:
    """A named reaction; the smaller its priority, the sooner it is taken."""
    return Reaction(name, run, priority, every)


READ_ACCOUNT = reaction("accounts.read", accounts.read_account, priority=20)
DEAUTHORIZE = reaction("accounts.deauthorize", inbox.deauthorize, priority=10)
REVOKE = reaction("accounts.revoke", accounts.revoke, priority=10)
NOTE_USER = reaction("inbox.note_user", inbox.note_user, priority=20)
INTERPRET = reaction("inbox.interpret", inbox.interpret_delivery, priority=10)
SYNC_MEETING = reaction("meetings.sync", meetings.sync, priority=50)
RETIRE_MEETING = reaction("meetings.retire", meetings.retire, priority=50)
CONVERGE = reaction("meetings.converge", meetings.converge_account, priority=80)
NOTICE = reaction("meetings.notice", meetings.notice, priority=20)
NOTE_CHANGE = reaction("meetings.note_change", meetings.note_change, priority=20)
NOTE_INSTANCE = reaction("meetings.note_instance", meetings.note_instance, priority=10)
NOTE_RECORDING = reaction("meetings.note_recording", meetings.note_recording, priority=40)
ASK_RECORDING = reaction("meetings.ask_recording", meetings.ask_recording, priority=90)
NOTE_PARTICIPANT = reaction("attendance.note_participant", attendance.note_participant, priority=30)
FOLLOW = reaction("live.follow", live.follow, priority=5)
LOOK_FOR_HOST = reaction("live.look_for_host", live.look_for_host, priority=30)
TELL_HOST = reaction("live.tell_host", live.tell_host, priority=20)
SETTLE = reaction("attendance.settle", attendance.settle, priority=80)
ASK_HOLDING = reaction("attendance.ask_holding", attendance.ask_holding, priority=80)
SPREAD = reaction("registrations.spread", registrations.spread, priority=60)
FOLLOW_ADDRESS = reaction("registrations.follow_address", registrations.follow_address, priority=60)
ADD_BATCH = reaction("registrations.batch", registrations.add_batch, priority=55)
SYNC_REGISTRANT = reaction("registrations.sync", registrations.sync_registrant, priority=60)
NOTE_REGISTRANT = reaction("registrations.note_registrant", registrations.note_registrant, priority=20)
SEND_INVITE = reaction("registrations.invite", registrations.send_invite, priority=70)
PLAN_REMINDERS = reaction("registrations.plan_reminders", registrations.plan_reminders, priority=60)
REMIND = reaction("registrations.remind", registrations.send_reminder, priority=65)
MAIL_GUEST_CODE = reaction("registrations.guest_code", registrations.mail_guest_code, priority=10)
REMOVE_STRAY = reaction("reconciling.remove_stray", reconciling.remove_stray, priority=70)
TELL_LIVE = reaction("hooks.tell_live", hooks.tell_live, priority=60)
TELL_HOST_MISSING = reaction("hooks.tell_host_missing", hooks.tell_host_missing, priority=60)
TELL_ENDED = reaction("hooks.tell_ended", hooks.tell_ended, priority=60)
TELL_ATTENDANCE = reaction("hooks.tell_attendance", hooks.tell_attendance, priority=60)
TELL_REGISTRATION = reaction("hooks.tell_registration", hooks.tell_registration, priority=90)
TELL_ACCOUNT = reaction("hooks.tell_account", hooks.tell_account, priority=60)
SEND_HOOK = reaction("hooks.send", hooks.send, priority=75)


def by(
    reaction: Reaction[Resources], key: str, *, lane: str | None = None, priority: int | None = None
) -> Binding[Resources]:
    """`reaction` for the id a fact has under `key`, in the lane of the account it has under `lane`."""

    def lane_of(fact: Any) -> str:
        account = getattr(fact, lane) if lane else None
        return str(account) if account else ""

    return Binding(reaction, lambda fact: str(getattr(fact, key)), lane_of, priority)


def heard(reaction: Reaction[Resources]) -> Binding[Resources]:
    """`reaction` for a delivery, in the queue of whose it is: what one account says by the thousand delays no other."""
    return Binding(reaction, lambda fact: str(fact.delivery_id), lambda fact: queues.name(HEARD, fact.source))


def of_community(reaction: Reaction[Resources], key: str, kind: str) -> Binding[Resources]:
    """`reaction` in the queue that a community has of this kind. Mail: the server takes few connections of one sender,
    and may hang."""
    return Binding(
        reaction,
        lambda fact: str(getattr(fact, key)),
        lambda fact: queues.name(kind, getattr(fact, "community_id", None)),
    )


def hook(reaction: Reaction[Resources], key: str) -> Binding[Resources]:
    """`reaction` in the queue of one endpoint, which may be slow, or dead, and then delays itself alone."""
    return Binding(
        reaction,
        lambda fact: str(getattr(fact, key)),
        lambda fact: queues.name(HOOK, fact.community_id, fact.endpoint_id),
    )


TABLE: Reactions[Resources] = Reactions(
    facts={
        facts.AccountConnected: [by(READ_ACCOUNT, "account_id", lane="account_id"), by(CONVERGE, "account_id")],
        facts.AccountRefreshAsked: [by(READ_ACCOUNT, "account_id", lane="account_id")],
        facts.AccountDisconnected: [by(CONVERGE, "account_id")],
        facts.AccountLost: [by(TELL_ACCOUNT, "account_id")],
        facts.HostsChanged: [by(CONVERGE, "account_id")],
        facts.GrantRevocable: [by(REVOKE, "revocation_id")],
        facts.DeliveryStored: [heard(INTERPRET)],
        facts.AppDeauthorized: [heard(DEAUTHORIZE)],
        facts.MeetingNoticed: [heard(NOTICE)],
        facts.MeetingStarted: [heard(NOTE_INSTANCE)],
        facts.MeetingEnded: [heard(NOTE_INSTANCE)],
        facts.ParticipantJoined: [heard(NOTE_PARTICIPANT)],
        facts.ParticipantLeft: [heard(NOTE_PARTICIPANT)],
        facts.ParticipantWaiting: [heard(NOTE_PARTICIPANT)],
        facts.MeetingAltered: [heard(NOTE_CHANGE)],
        facts.MeetingDoubted: [by(SYNC_MEETING, "event_id", lane="account_id")],
        facts.RegistrantNoticed: [heard(NOTE_REGISTRANT)],
        facts.UserNoticed: [heard(NOTE_USER)],
        facts.RecordingNoticed: [heard(NOTE_RECORDING)],
        facts.RecordingMissed: [by(ASK_RECORDING, "instance_id", lane="account_id")],
        # Nobody fetches recordings yet, nor follows streams: of those the deliveries are kept, and
        # `kindryn-zoom deliveries` replays them.
        facts.RecordingFound: [],
        facts.StreamingNoticed: [],
        facts.EventChanged: [
            by(SYNC_MEETING, "event_id", lane="account_id"),
            by(SPREAD, "event_id"),
            by(PLAN_REMINDERS, "event_id"),
            by(FOLLOW, "event_id"),
            by(LOOK_FOR_HOST, "event_id"),
        ],
        commands.TellMissingHost: [of_community(TELL_HOST, "event_id", MAIL), by(TELL_HOST_MISSING, "event_id")],
        facts.LiveChanged: [by(FOLLOW, "event_id")],
        facts.EventWentLive: [by(TELL_LIVE, "event_id")],
        facts.EventEnded: [by(SETTLE, "event_id"), by(TELL_ENDED, "event_id")],
        facts.HoldingMissed: [by(ASK_HOLDING, "event_id", lane="account_id")],
        facts.AttendanceSettled: [by(TELL_ATTENDANCE, "event_id")],
        facts.SyncAsked: [by(SYNC_MEETING, "event_id", lane="account_id", priority=10)],
        facts.MeetingRetired: [by(RETIRE_MEETING, "meeting_id", lane="account_id")],
        facts.StrayFound: [by(REMOVE_STRAY, "stray_id", lane="account_id")],
        facts.MeetingSynced: [by(SPREAD, "event_id")],
        facts.RegistrationChanged: [
            by(SYNC_REGISTRANT, "registration_id", lane="account_id"),
            of_community(SEND_INVITE, "registration_id", MAIL),
            of_community(TELL_REGISTRATION, "registration_id", TOLD),
        ],
        facts.AddressChanged: [by(FOLLOW_ADDRESS, "registration_id")],
        facts.CrowdExpected: [by(ADD_BATCH, "event_id", lane="account_id")],
        facts.MemberWaiting: [by(SYNC_REGISTRANT, "registration_id", lane="account_id", priority=0)],
        facts.InviteAsked: [of_community(SEND_INVITE, "registration_id", MAIL)],
        facts.GuestCodeAsked: [of_community(MAIL_GUEST_CODE, "code_id", MAIL)],
        facts.RemindersChanged: [by(PLAN_REMINDERS, "event_id")],
        facts.ReminderDue: [of_community(REMIND, "registration_id", MAIL)],
        facts.HookMessageMade: [hook(SEND_HOOK, "message_id")],
    },
    caps={
        MAIL: Caps(each=4, tenant=4, kind=4),
        HOOK: Caps(each=4, tenant=8, kind=16),
        # Each run does what waits in its queue beside its own row.
        HEARD: Caps(each=2, tenant=2, kind=16),
        TOLD: Caps(each=4, tenant=4, kind=16),
    },
    sweeps=[
        reaction("accounts.tidy", accounts.tidy, every=timedelta(minutes=10)),
        reaction("accounts.reread", accounts.reread_stale, every=timedelta(hours=1)),
        reaction("meetings.doubt", meetings.doubt_stale, every=timedelta(minutes=1)),
        reaction("meetings.miss_recordings", meetings.miss_recordings, every=timedelta(minutes=1)),
        reaction("attendance.miss_holdings", attendance.miss_holdings, every=timedelta(minutes=1)),
        reaction("inbox.tidy", inbox.tidy, every=timedelta(hours=1)),
        reaction("joining.tidy", joining.tidy, every=timedelta(hours=1)),
        reaction("live.tidy", live.tidy, every=timedelta(hours=1)),
        reaction("hooks.tidy", hooks.tidy, every=timedelta(hours=1)),
        reaction("privacy.tidy", privacy.tidy, every=timedelta(hours=1)),
    ],
)
