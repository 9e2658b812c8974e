"""heard"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

STATES = "'pending', 'ready', 'cancelled', {denied}'unsupported', 'host', 'failed'"


def upgrade() -> None:
    op.add_column("meetings", sa.Column("carried_version", sa.Integer(), nullable=True))
    op.add_column("meetings", sa.Column("doubted_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("meetings", sa.Column("told_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("registrants", sa.Column("told_at", sa.DateTime(timezone=True), nullable=True))
    _states(STATES.format(denied="'denied', "))
    op.create_index(op.f("ix_deliveries_received_at"), "deliveries", ["received_at"])


def downgrade() -> None:
    op.execute(
        "DELETE FROM outbox WHERE reaction IN"
        " ('meetings.note_change', 'meetings.doubt', 'registrations.note_registrant', 'inbox.note_user')"
    )
    op.drop_index(op.f("ix_deliveries_received_at"), "deliveries")
    op.execute("UPDATE registrants SET state = 'cancelled' WHERE state = 'denied'")
    _states(STATES.format(denied=""))
    op.drop_column("registrants", "told_at")
    op.drop_column("meetings", "told_at")
    op.drop_column("meetings", "doubted_at")
    op.drop_column("meetings", "carried_version")


def _states(states: str) -> None:
    op.drop_constraint(op.f("ck_registrants_state"), "registrants", type_="check")
    op.create_check_constraint(op.f("ck_registrants_state"), "registrants", f"state IN ({states})")
