"""what the token endpoint said last of a connection, and what of a plan Zoom did not take"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

# A row's reason is the error's name, then the name of the call that failed.
REVIVE = """
UPDATE outbox SET dead_at = NULL, failing_since = NULL, attempts = 0, not_before = NULL, due_at = now(),
    generation = generation + 1
WHERE dead_at IS NOT NULL AND reason LIKE '%: refresh: %'
"""


def upgrade() -> None:
    op.add_column("accounts", sa.Column("trouble", JSONB(), nullable=True))
    op.add_column("meetings", sa.Column("left_out", JSONB(), server_default="{}", nullable=False))
    # Until now a refusal of the token was taken for Zoom's last word on the work.
    op.execute(REVIVE)


def downgrade() -> None:
    op.drop_column("meetings", "left_out")
    op.drop_column("accounts", "trouble")
