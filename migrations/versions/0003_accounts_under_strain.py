"""accounts under strain"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("accounts", sa.Column("former_webhook_secret", sa.LargeBinary()))
    op.add_column("accounts", sa.Column("webhook_secret_changed_at", sa.DateTime(timezone=True)))


def downgrade() -> None:
    op.drop_column("accounts", "webhook_secret_changed_at")
    op.drop_column("accounts", "former_webhook_secret")
