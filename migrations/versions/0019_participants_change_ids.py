"""what stays of a participant while Zoom changes the ids, and every start and end that was told of an instance"""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

MOMENTS = sa.ARRAY(sa.DateTime(timezone=True))


def upgrade() -> None:
    op.add_column("participant_sessions", sa.Column("participant_uuid", sa.Text(), nullable=True))
    op.add_column("participant_sessions", sa.Column("left_inside", MOMENTS, server_default="{}", nullable=False))
    op.add_column("participant_sessions", sa.Column("by_phone", sa.Boolean(), server_default="false", nullable=False))
    op.add_column("instances", sa.Column("starts", MOMENTS, server_default="{}", nullable=False))
    op.add_column("instances", sa.Column("ends", MOMENTS, server_default="{}", nullable=False))
    # Which of the known starts were told is not known; none of them can reopen what ended after it.
    op.execute("UPDATE instances SET starts = ARRAY[started_at] WHERE started_at IS NOT NULL")
    op.execute("UPDATE instances SET ends = ARRAY[ended_at] WHERE ended_at IS NOT NULL AND NOT end_found_out")


def downgrade() -> None:
    op.drop_column("instances", "ends")
    op.drop_column("instances", "starts")
    op.drop_column("participant_sessions", "by_phone")
    op.drop_column("participant_sessions", "left_inside")
    op.drop_column("participant_sessions", "participant_uuid")
