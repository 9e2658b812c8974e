"""what is attempted at Zoom about a registrant is written down before the call, and who asked for the registrant"""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("registrations", sa.Column("asked_by", sa.Text(), nullable=True))
    op.create_check_constraint(
        op.f("ck_registrations_asked_by"), "registrations", "asked_by IN ('member', 'organiser')"
    )
    op.add_column("registrants", sa.Column("attempt", sa.Text(), nullable=True))
    op.create_check_constraint(op.f("ck_registrants_attempt"), "registrants", "attempt IN ('add', 'approve', 'cancel')")
    for moment in ("attempted_at", "attempt_ends_at", "cancel_sent_at", "retry_at"):
        op.add_column("registrants", sa.Column(moment, sa.DateTime(timezone=True), nullable=True))
    op.create_index(
        "ix_registrants_being_cancelled",
        "registrants",
        ["meeting_id", sa.text("lower(email)")],
        postgresql_where=sa.text("attempt = 'cancel'"),
    )
    # Nobody wrote down before whether these were ever added.
    op.execute(
        "UPDATE registrants SET attempt = 'add', attempted_at = updated_at, attempt_ends_at = updated_at"
        " WHERE state = 'pending' AND zoom_registrant_id IS NULL"
    )


def downgrade() -> None:
    op.drop_index("ix_registrants_being_cancelled", table_name="registrants")
    for column in ("retry_at", "cancel_sent_at", "attempt_ends_at", "attempted_at", "attempt"):
        op.drop_column("registrants", column)
    op.drop_column("registrations", "asked_by")
