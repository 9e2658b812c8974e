"""tables, columns and jobs are called what the field calls them; needs a stop, as older processes read the old names"""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

TABLES = {
    "budgets": "quota_usage",
    "paces": "rate_limit_slots",
    "lanes": "queues",
    "hook_told": "hook_event_states",
}

# By the table's new name.
COLUMNS = {
    "quota_usage": {"subject": "key"},
    "reservations": {"subject": "key"},
    "accounts": {"own_user_only": "user_scope", "trouble": "token_error"},
    "grants": {"asked_at": "refresh_started_at", "doubted_at": "stale_since"},
    "queues": {"lane": "queue"},
    "outbox": {"reaction": "job", "lane": "queue", "beside": "in_batch", "alone": "unbatched"},
    "hook_event_states": {"holdings": "ended_runs"},
    "events": {"holdings": "ended_runs"},
    "meetings": {
        "pushed": "last_sent",
        "carried_version": "synced_version",
        "doubted_at": "stale_since",
        "told_at": "last_notified_at",
        "holding_asked_at": "outcome_polled_at",
    },
    "instances": {
        "end_found_out": "end_inferred",
        "recording_held": "recording_available",
        "recording_said_at": "recording_reported_at",
        "recording_asked_at": "recording_polled_at",
    },
    "registrants": {"barred": "link_blocked", "told_at": "last_notified_at", "doubted_at": "stale_since"},
}

CONSTRAINTS = {
    "quota_usage": {"pk_budgets": "pk_quota_usage"},
    "rate_limit_slots": {"pk_paces": "pk_rate_limit_slots"},
    "queues": {"pk_lanes": "pk_queues"},
    "hook_event_states": {
        "pk_hook_told": "pk_hook_event_states",
        "fk_hook_told_event_id_events": "fk_hook_event_states_event_id_events",
    },
    "accounts": {
        "uq_accounts_community_id_zoom_account_id_own_user_only": "uq_accounts_community_id_zoom_account_id_user_scope"
    },
    "outbox": {"uq_outbox_reaction_key": "uq_outbox_job_key"},
}

INDEXES = {"ix_outbox_lane": "ix_outbox_queue", "ix_outbox_together": "ix_outbox_batch"}

JOBS = {
    "accounts.reread": "accounts.read_stale",
    "accounts.tidy": "accounts.cleanup",
    "attendance.ask_holding": "attendance.fetch_outcome",
    "attendance.miss_holdings": "attendance.poll_missing_outcomes",
    "attendance.note_participant": "attendance.handle_participant",
    "attendance.settle": "attendance.finalize",
    "hooks.tell_account": "hooks.create_account_messages",
    "hooks.tell_attendance": "hooks.create_attendance_messages",
    "hooks.tell_event": "hooks.create_event_messages",
    "hooks.tell_registration": "hooks.create_registration_messages",
    "hooks.tidy": "hooks.cleanup",
    "inbox.note_user": "inbox.handle_user_change",
    "inbox.tidy": "inbox.cleanup",
    "joining.tidy": "joining.cleanup",
    "live.follow": "live.update_stream",
    "live.look_for_host": "live.check_host",
    "live.tell_host": "live.notify_host",
    "live.tidy": "live.cleanup",
    "meetings.ask_recording": "meetings.fetch_recording",
    "meetings.converge": "meetings.resync_account",
    "meetings.doubt": "meetings.find_stale",
    "meetings.miss_recordings": "meetings.find_unreported_recordings",
    "meetings.note_change": "meetings.handle_change",
    "meetings.note_instance": "meetings.handle_instance",
    "meetings.note_recording": "meetings.handle_recording",
    "meetings.notice": "meetings.handle_created",
    "meetings.retire": "meetings.delete",
    "privacy.tidy": "privacy.cleanup",
    "registrations.batch": "registrants.add_batch",
    "registrations.follow_address": "registrations.propagate_email",
    "registrations.guest_code": "invitations.send_guest_code",
    "registrations.invite": "invitations.send",
    "registrations.note_registrant": "registrants.handle_notification",
    "registrations.plan_reminders": "invitations.plan_reminders",
    "registrations.remind": "invitations.send_reminder",
    "registrations.spread": "registrants.resync_attendees",
    "registrations.sync": "registrants.sync",
}

# The part before the first colon of a queue's name, and of a suspended reservation's key.
QUEUE_KINDS = {"heard": "delivery", "told": "hook_message"}
SUSPENDED = {"away": "suspended"}

_RENAME_JOBS = sa.text(
    "UPDATE outbox SET job = renamed.new FROM unnest(CAST(:old AS text[]), CAST(:new AS text[])) AS renamed (old, new)"
    " WHERE outbox.job = renamed.old"
)


def upgrade() -> None:
    for old, new in TABLES.items():
        op.rename_table(old, new)
    for table, columns in COLUMNS.items():
        for old, new in columns.items():
            op.alter_column(table, old, new_column_name=new)
    for table, constraints in CONSTRAINTS.items():
        for old, new in constraints.items():
            op.execute(f"ALTER TABLE {table} RENAME CONSTRAINT {old} TO {new}")
    for old, new in INDEXES.items():
        op.execute(f"ALTER INDEX {old} RENAME TO {new}")
    _rename_values(JOBS, QUEUE_KINDS, SUSPENDED)


def downgrade() -> None:
    _rename_values(_reversed(JOBS), _reversed(QUEUE_KINDS), _reversed(SUSPENDED))
    for old, new in INDEXES.items():
        op.execute(f"ALTER INDEX {new} RENAME TO {old}")
    for table, constraints in CONSTRAINTS.items():
        for old, new in constraints.items():
            op.execute(f"ALTER TABLE {table} RENAME CONSTRAINT {new} TO {old}")
    for table, columns in COLUMNS.items():
        for old, new in columns.items():
            op.alter_column(table, new, new_column_name=old)
    for old, new in TABLES.items():
        op.rename_table(new, old)


def _rename_values(jobs: dict[str, str], queue_kinds: dict[str, str], reservations: dict[str, str]) -> None:
    connection = op.get_bind()
    connection.execute(_RENAME_JOBS, {"old": list(jobs), "new": list(jobs.values())})
    for table, column, prefixes in (
        ("outbox", "queue", queue_kinds),
        ("queues", "queue", queue_kinds),
        ("reservations", "key", reservations),
    ):
        for old, new in prefixes.items():
            op.execute(
                f"UPDATE {table} SET {column} = '{new}' || substr({column}, {len(old) + 1})"  # noqa: S608 - constants
                f" WHERE {column} = '{old}' OR {column} LIKE '{old}:%'"
            )


def _reversed(names: dict[str, str]) -> dict[str, str]:
    return {new: old for old, new in names.items()}
