"""attendance"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    moments = sa.ARRAY(sa.DateTime(timezone=True))
    op.create_table(
        "participant_sessions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("meeting_id", sa.Uuid(), nullable=False),
        sa.Column("instance_uuid", sa.Text(), nullable=False),
        sa.Column("connection", sa.Text(), nullable=False),
        sa.Column("joins", moments, server_default="{}", nullable=False),
        sa.Column("leaves", moments, server_default="{}", nullable=False),
        sa.Column("waits", moments, server_default="{}", nullable=False),
        sa.Column("registrant_id", sa.Text()),
        sa.Column("zoom_user_id", sa.Text()),
        sa.Column("email", sa.Text()),
        sa.Column("name", sa.Text()),
        sa.Column("assigned_to", sa.Text()),
        sa.Column("assigned_by", sa.Text()),
        sa.Column("assigned_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_participant_sessions")),
        sa.ForeignKeyConstraint(
            ["meeting_id"], ["meetings.id"], name=op.f("fk_participant_sessions_meeting_id_meetings")
        ),
        sa.UniqueConstraint(
            "meeting_id",
            "instance_uuid",
            "connection",
            name=op.f("uq_participant_sessions_meeting_id_instance_uuid_connection"),
        ),
    )


def downgrade() -> None:
    op.drop_table("participant_sessions")
