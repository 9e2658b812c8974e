"""what Zoom did not tell and was found out, and the end of a wait"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("instances", sa.Column("end_found_out", sa.Boolean(), server_default="false", nullable=False))
    op.add_column("meetings", sa.Column("holding_asked_at", MOMENT, nullable=True))
    op.add_column(
        "participant_sessions", sa.Column("waits_ended", sa.ARRAY(MOMENT), server_default="{}", nullable=False)
    )


def downgrade() -> None:
    op.drop_column("participant_sessions", "waits_ended")
    op.drop_column("meetings", "holding_asked_at")
    op.drop_column("instances", "end_found_out")
