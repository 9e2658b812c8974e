"""how many people waited when a host was found missing"""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("events", sa.Column("host_missed_by", sa.Integer(), nullable=True))


def downgrade() -> None:
    op.drop_column("events", "host_missed_by")
