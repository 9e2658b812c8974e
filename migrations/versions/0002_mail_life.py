"""the life of mails"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "community_settings",
        sa.Column("community_id", sa.Text(), nullable=False),
        sa.Column("settings", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("reminders_changed_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["community_id"], ["communities.id"], name=op.f("fk_community_settings_community_id_communities")
        ),
        sa.PrimaryKeyConstraint("community_id", name=op.f("pk_community_settings")),
    )
    op.create_table(
        "mail_preferences",
        sa.Column("member_id", sa.Text(), nullable=False),
        sa.Column("reminders", sa.Boolean(), server_default="true", nullable=False),
        sa.Column("unsubscribe_link", sa.Text(), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("member_id", name=op.f("pk_mail_preferences")),
        sa.UniqueConstraint("unsubscribe_link", name=op.f("uq_mail_preferences_unsubscribe_link")),
    )
    op.create_table(
        "calendar_feeds",
        sa.Column("member_id", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("member_id", name=op.f("pk_calendar_feeds")),
        sa.UniqueConstraint("digest", name=op.f("uq_calendar_feeds_digest")),
    )
    op.add_column("registrations", sa.Column("reminded_for", sa.DateTime(timezone=True), nullable=True))
    op.add_column("registrations", sa.Column("reminded_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("registrations", sa.Column("reminder_error", sa.Text(), nullable=True))
    # Events to come were made before anybody planned reminders.
    op.execute(
        "INSERT INTO outbox (reaction, key, due_at, priority, recorded_at)"
        " SELECT 'registrations.plan_reminders', id::text, now(), 60, now() FROM events"
        " WHERE starts_at > now() AND cancelled_at IS NULL"
    )


def downgrade() -> None:
    op.execute("DELETE FROM outbox WHERE reaction IN ('registrations.plan_reminders', 'registrations.remind')")
    op.drop_column("registrations", "reminder_error")
    op.drop_column("registrations", "reminded_at")
    op.drop_column("registrations", "reminded_for")
    op.drop_table("calendar_feeds")
    op.drop_table("mail_preferences")
    op.drop_table("community_settings")
