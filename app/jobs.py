"""The table of jobs: which fact or command requests which jobs, and which jobs run periodically."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from app import commands, facts
from app.accounts import tasks as accounts
from app.attendance import tasks as attendance
from app.core import queues
from app.core.job_runner import Job, JobTable, Subscription
from app.core.queues import ConcurrencyLimits
from app.hooks import tasks as hooks
from app.inbox import tasks as inbox
from app.invitations import tasks as invitations
from app.joining import tasks as joining
from app.live import tasks as live
from app.meetings import tasks as meetings
from app.privacy import tasks as privacy
from app.reconciling import tasks as reconciling
from app.registrants import tasks as registrants
from app.registrations import tasks as registrations
from app.resources import Resources

JobFunction = Callable[[Any], Any]
BatchFunction = Callable[[Any, Any, Any], Any]
# Kinds of queues.
MAIL = "mail"
HOOK = "hook"
DELIVERY = "delivery"
HOOK_MESSAGE = "hook_message"


def define_job(
    name: str,
    run: JobFunction,
    *,
    priority: int = 100,
    every: timedelta | None = None,
    run_batch: BatchFunction | None = None,
    batch: int = 0,
) -> Job[Resources]:
    """Define a job. Jobs with a smaller priority are claimed first; `every` makes it periodic.

    After its own row, a run hands up to `batch` rows that wait in the same queue to `run_batch`.
    """
    return Job(name, run, priority, every, run_batch, batch)


READ_ACCOUNT = define_job("accounts.read", accounts.read_account, priority=20)
DEAUTHORIZE = define_job("accounts.deauthorize", inbox.deauthorize, priority=10)
REVOKE = define_job("accounts.revoke", accounts.revoke, priority=10)
HANDLE_USER_CHANGE = define_job("inbox.handle_user_change", inbox.handle_user_change, priority=20)
# Batches are short: while one is written, the event loop keeps the requests of other tenants waiting.
INTERPRET = define_job(
    "inbox.interpret", inbox.interpret_delivery, priority=10, run_batch=inbox.interpret_deliveries, batch=25
)
SYNC_MEETING = define_job("meetings.sync", meetings.sync, priority=50)
DELETE_MEETING = define_job("meetings.delete", meetings.delete_retired, priority=50)
RESYNC_ACCOUNT = define_job("meetings.resync_account", meetings.resync_account, priority=80)
HANDLE_MEETING_CREATED = define_job("meetings.handle_created", meetings.handle_meeting_created, priority=20)
HANDLE_MEETING_CHANGE = define_job("meetings.handle_change", meetings.handle_change, priority=20)
HANDLE_INSTANCE = define_job("meetings.handle_instance", meetings.handle_instance, priority=10)
HANDLE_RECORDING = define_job("meetings.handle_recording", meetings.handle_recording, priority=40)
FETCH_RECORDING = define_job("meetings.fetch_recording", meetings.fetch_recording, priority=90)
HANDLE_PARTICIPANT = define_job(
    "attendance.handle_participant",
    attendance.handle_participant,
    priority=30,
    run_batch=attendance.handle_participants,
    batch=25,
)
UPDATE_LIVE_STREAM = define_job("live.update_stream", live.update_stream, priority=5)
CHECK_HOST = define_job("live.check_host", live.check_host, priority=30)
NOTIFY_HOST = define_job("live.notify_host", live.notify_host, priority=20)
FINALIZE_ATTENDANCE = define_job("attendance.finalize", attendance.finalize_attendance, priority=80)
FETCH_MEETING_OUTCOME = define_job("attendance.fetch_outcome", attendance.fetch_outcome, priority=80)
RESYNC_ATTENDEES = define_job("registrants.resync_attendees", registrants.resync_attendees, priority=60)
PROPAGATE_EMAIL = define_job("registrations.propagate_email", registrations.propagate_email, priority=60)
ADD_BATCH = define_job("registrants.add_batch", registrants.add_batch, priority=55)
SYNC_REGISTRANT = define_job("registrants.sync", registrants.sync_registrant, priority=60)
HANDLE_REGISTRANT = define_job(
    "registrants.handle_notification", registrants.handle_registrant_notification, priority=20
)
SEND_INVITE = define_job("invitations.send", invitations.send_invite, priority=70)
PLAN_REMINDERS = define_job("invitations.plan_reminders", invitations.plan_reminders, priority=60)
SEND_REMINDER = define_job("invitations.send_reminder", invitations.send_reminder, priority=65)
SEND_GUEST_CODE = define_job("invitations.send_guest_code", invitations.mail_guest_code, priority=10)
REMOVE_STRAY = define_job("reconciling.remove_stray", reconciling.remove_stray, priority=70)
CREATE_EVENT_MESSAGES = define_job("hooks.create_event_messages", hooks.create_event_messages, priority=60)
CREATE_ATTENDANCE_MESSAGES = define_job(
    "hooks.create_attendance_messages", hooks.create_attendance_messages, priority=60
)
# With fifty endpoints, each registration costs a hundred statements.
CREATE_REGISTRATION_MESSAGES = define_job(
    "hooks.create_registration_messages",
    hooks.create_registration_messages,
    priority=90,
    run_batch=hooks.create_messages_for_registrations,
    batch=50,
)
CREATE_ACCOUNT_MESSAGES = define_job("hooks.create_account_messages", hooks.create_account_messages, priority=60)
SEND_HOOK = define_job("hooks.send", hooks.send, priority=75)


def on(
    job: Job[Resources], key: str, *, queue: str | None = None, priority: int | None = None
) -> Subscription[Resources]:
    """Enqueue `job` for the id in the field `key`, in the queue of the account in the field `queue`."""

    def queue_of(fact: Any) -> str:
        account = getattr(fact, queue) if queue else None
        return str(account) if account else ""

    return Subscription(job, lambda fact: str(getattr(fact, key)), queue_of, priority)


def on_delivery(job: Job[Resources]) -> Subscription[Resources]:
    """Enqueue `job` for a delivery, in the queue of its source: thousands from one account delay no other account."""
    return Subscription(job, lambda fact: str(fact.delivery_id), lambda fact: queues.queue_name(DELIVERY, fact.source))


def on_community(job: Job[Resources], key: str, kind: str) -> Subscription[Resources]:
    """Enqueue `job` in the queue that the community has for this kind of work.

    Mail: the server accepts few connections from one sender, and may hang.
    """
    return Subscription(
        job,
        lambda fact: str(getattr(fact, key)),
        lambda fact: queues.queue_name(kind, getattr(fact, "community_id", None)),
    )


def on_endpoint(job: Job[Resources], key: str) -> Subscription[Resources]:
    """Enqueue `job` in the queue of one hook endpoint. A slow or dead endpoint delays only itself."""
    return Subscription(
        job,
        lambda fact: str(getattr(fact, key)),
        lambda fact: queues.queue_name(HOOK, fact.community_id, fact.endpoint_id),
    )


JOBS: JobTable[Resources] = JobTable(
    subscriptions={
        # Facts.
        facts.AccountConnected: [on(READ_ACCOUNT, "account_id", queue="account_id"), on(RESYNC_ACCOUNT, "account_id")],
        facts.AccountDisconnected: [on(RESYNC_ACCOUNT, "account_id")],
        facts.AccountNeedsReauth: [on(CREATE_ACCOUNT_MESSAGES, "account_id")],
        facts.HostsChanged: [on(RESYNC_ACCOUNT, "account_id")],
        facts.DeliveryStored: [on_delivery(INTERPRET)],
        facts.AppDeauthorized: [on_delivery(DEAUTHORIZE)],
        facts.MeetingCreationReported: [on_delivery(HANDLE_MEETING_CREATED)],
        facts.MeetingStarted: [on_delivery(HANDLE_INSTANCE)],
        facts.MeetingEnded: [on_delivery(HANDLE_INSTANCE)],
        facts.MeetingChangeReported: [on_delivery(HANDLE_MEETING_CHANGE)],
        facts.ParticipantJoined: [on_delivery(HANDLE_PARTICIPANT)],
        facts.ParticipantLeft: [on_delivery(HANDLE_PARTICIPANT)],
        facts.ParticipantWaiting: [on_delivery(HANDLE_PARTICIPANT)],
        facts.RegistrantChangeReported: [on_delivery(HANDLE_REGISTRANT)],
        facts.UserChangeReported: [on_delivery(HANDLE_USER_CHANGE)],
        facts.RecordingChangeReported: [on_delivery(HANDLE_RECORDING)],
        facts.RecordingUnreported: [on(FETCH_RECORDING, "instance_id", queue="account_id")],
        # No job fetches recordings or follows livestreams yet. Their deliveries are stored, and
        # `kindryn-zoom deliveries` replays them.
        facts.RecordingAvailable: [],
        facts.StreamingChangeReported: [],
        facts.EventChanged: [
            on(SYNC_MEETING, "event_id", queue="account_id"),
            on(RESYNC_ATTENDEES, "event_id"),
            on(PLAN_REMINDERS, "event_id"),
            on(UPDATE_LIVE_STREAM, "event_id"),
            on(CHECK_HOST, "event_id"),
        ],
        facts.LiveStateChanged: [on(UPDATE_LIVE_STREAM, "event_id")],
        facts.EventWentLive: [on(CREATE_EVENT_MESSAGES, "event_id")],
        facts.EventEnded: [on(FINALIZE_ATTENDANCE, "event_id"), on(CREATE_EVENT_MESSAGES, "event_id")],
        facts.MeetingOutcomeUnknown: [on(FETCH_MEETING_OUTCOME, "event_id", queue="account_id")],
        facts.AttendanceFinalized: [on(CREATE_ATTENDANCE_MESSAGES, "event_id")],
        facts.MeetingSynced: [on(RESYNC_ATTENDEES, "event_id")],
        facts.MeetingRetired: [on(DELETE_MEETING, "meeting_id", queue="account_id")],
        facts.RegistrationChanged: [
            on(SYNC_REGISTRANT, "registration_id", queue="account_id"),
            on_community(SEND_INVITE, "registration_id", MAIL),
            on_community(CREATE_REGISTRATION_MESSAGES, "registration_id", HOOK_MESSAGE),
        ],
        facts.RegistrationEmailChanged: [on(PROPAGATE_EMAIL, "registration_id")],
        facts.MemberWaitingToJoin: [on(SYNC_REGISTRANT, "registration_id", queue="account_id", priority=0)],
        # Commands.
        commands.ReadAccount: [on(READ_ACCOUNT, "account_id", queue="account_id")],
        commands.RevokeToken: [on(REVOKE, "revocation_id")],
        commands.InterpretDelivery: [on_delivery(INTERPRET)],
        commands.SyncMeeting: [on(SYNC_MEETING, "event_id", queue="account_id")],
        commands.SyncMeetingNow: [on(SYNC_MEETING, "event_id", queue="account_id", priority=10)],
        commands.DeleteMeeting: [on(DELETE_MEETING, "meeting_id", queue="account_id")],
        commands.RemoveStray: [on(REMOVE_STRAY, "stray_id", queue="account_id")],
        commands.SyncRegistration: [
            on(SYNC_REGISTRANT, "registration_id", queue="account_id"),
            on_community(SEND_INVITE, "registration_id", MAIL),
        ],
        commands.AddRegistrantBatch: [on(ADD_BATCH, "event_id", queue="account_id")],
        commands.SendInvite: [on_community(SEND_INVITE, "registration_id", MAIL)],
        commands.PlanReminders: [on(PLAN_REMINDERS, "event_id")],
        commands.SendReminder: [on_community(SEND_REMINDER, "registration_id", MAIL)],
        commands.SendGuestCode: [on_community(SEND_GUEST_CODE, "code_id", MAIL)],
        commands.NotifyMissingHost: [
            on_community(NOTIFY_HOST, "event_id", MAIL),
            on(CREATE_EVENT_MESSAGES, "event_id"),
        ],
        commands.SendHookMessage: [on_endpoint(SEND_HOOK, "message_id")],
    },
    concurrency={
        MAIL: ConcurrencyLimits(per_queue=4, per_tenant=4, per_kind=4),
        HOOK: ConcurrencyLimits(per_queue=4, per_tenant=8, per_kind=16),
        # A run also does the jobs that wait in its queue, in batches.
        DELIVERY: ConcurrencyLimits(per_queue=2, per_tenant=2, per_kind=16),
        HOOK_MESSAGE: ConcurrencyLimits(per_queue=4, per_tenant=4, per_kind=16),
    },
    periodic=[
        define_job("accounts.cleanup", accounts.cleanup, every=timedelta(minutes=10)),
        define_job("accounts.read_stale", accounts.reread_stale, every=timedelta(hours=1)),
        define_job("meetings.find_stale", meetings.find_stale, every=timedelta(minutes=1)),
        define_job(
            "meetings.find_unreported_recordings", meetings.find_unreported_recordings, every=timedelta(minutes=1)
        ),
        define_job("attendance.poll_missing_outcomes", attendance.poll_missing_outcomes, every=timedelta(minutes=1)),
        define_job("inbox.cleanup", inbox.cleanup, every=timedelta(hours=1)),
        define_job("joining.cleanup", joining.cleanup, every=timedelta(hours=1)),
        define_job("live.cleanup", live.cleanup, every=timedelta(hours=1)),
        define_job("hooks.cleanup", hooks.cleanup, every=timedelta(hours=1)),
        define_job("privacy.cleanup", privacy.cleanup, every=timedelta(hours=1)),
    ],
)
