"""changes of meetings whose answer did not come"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0021"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("meetings", sa.Column("unanswered", JSONB(), server_default="[]", nullable=False))


def downgrade() -> None:
    op.drop_column("meetings", "unanswered")
