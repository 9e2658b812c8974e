"""registrants found by the id Zoom knows them by"""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_registrants_known", "registrants", ["meeting_id", "zoom_registrant_id"])
    op.drop_index("ix_registrants_meeting_id", table_name="registrants")


def downgrade() -> None:
    op.create_index("ix_registrants_meeting_id", "registrants", ["meeting_id"])
    op.drop_index("ix_registrants_known", table_name="registrants")
