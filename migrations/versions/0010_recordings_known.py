"""what Zoom said of the recording of an instance"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("instances", sa.Column("recording_held", sa.Boolean(), nullable=True))
    for name in ("recording_said_at", "recording_asked_at"):
        op.add_column("instances", sa.Column(name, sa.DateTime(timezone=True), nullable=True))
    untold = sa.text("recording_held IS NULL")
    op.create_index("ix_instances_ended_at", "instances", ["ended_at"], postgresql_where=untold)


def downgrade() -> None:
    op.drop_index("ix_instances_ended_at", table_name="instances")
    for name in ("recording_asked_at", "recording_said_at", "recording_held"):
        op.drop_column("instances", name)
