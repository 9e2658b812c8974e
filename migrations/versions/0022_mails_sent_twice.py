"""what a mail that is sent twice has to repeat: its moment, and how many people waited for a host"""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("registrations", sa.Column("invite_stamped_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("events", sa.Column("host_missed_by", sa.Integer(), nullable=True))


def downgrade() -> None:
    op.drop_column("events", "host_missed_by")
    op.drop_column("registrations", "invite_stamped_at")
