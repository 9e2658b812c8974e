"""queues of tenants: claims and batches that take from each in turn"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

ALIVE = sa.text("dead_at IS NULL")
CLAIMED = sa.text("claimed_until IS NOT NULL")


def upgrade() -> None:
    for column in ("beside", "alone"):
        op.add_column("outbox", sa.Column(column, sa.Boolean(), server_default="false", nullable=False))
    op.drop_index("ix_outbox_due", table_name="outbox")
    op.drop_index("ix_outbox_claimed", table_name="outbox")
    urgent = sa.text("dead_at IS NULL AND priority = 0")
    op.create_index("ix_outbox_urgent", "outbox", ["due_at"], postgresql_where=urgent)
    together = ["reaction", "lane", "priority", "due_at", "id"]
    op.create_index("ix_outbox_together", "outbox", together, postgresql_where=ALIVE)
    counted = sa.text("claimed_until IS NOT NULL AND NOT beside")
    op.create_index("ix_outbox_claimed", "outbox", ["lane", "claimed_until"], postgresql_where=counted)


def downgrade() -> None:
    for index in ("ix_outbox_claimed", "ix_outbox_together", "ix_outbox_urgent"):
        op.drop_index(index, table_name="outbox")
    op.create_index("ix_outbox_claimed", "outbox", ["lane", "claimed_until"], postgresql_where=CLAIMED)
    op.create_index("ix_outbox_due", "outbox", ["priority", "due_at"], postgresql_where=ALIVE)
    for column in ("alone", "beside"):
        op.drop_column("outbox", column)
