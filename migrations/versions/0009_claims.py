"""claims that do not look at every row"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("ix_outbox_lane", table_name="outbox")
    alive, claimed = sa.text("dead_at IS NULL"), sa.text("claimed_until IS NOT NULL")
    op.create_index("ix_outbox_lane", "outbox", ["lane", "priority", "due_at", "id"], postgresql_where=alive)
    op.create_index("ix_outbox_claimed", "outbox", ["lane", "claimed_until"], postgresql_where=claimed)


def downgrade() -> None:
    op.drop_index("ix_outbox_claimed", table_name="outbox")
    op.drop_index("ix_outbox_lane", table_name="outbox")
    op.create_index("ix_outbox_lane", "outbox", ["lane"])
