"""shared links"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_TAKEN_BACK = ("cancel_due", "barred")
_REPORTED = ("reported_from", "reported_until")


def upgrade() -> None:
    op.add_column("registrants", sa.Column("former_ids", sa.ARRAY(sa.Text()), server_default="{}", nullable=False))
    for name in _TAKEN_BACK:
        op.add_column("registrants", sa.Column(name, sa.Boolean(), server_default="false", nullable=False))
    op.create_table(
        "revoked_links",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("registrant_id", sa.Uuid(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("revoked_by", sa.Text(), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_revoked_links")),
        sa.ForeignKeyConstraint(
            ["registrant_id"], ["registrants.id"], name=op.f("fk_revoked_links_registrant_id_registrants")
        ),
    )
    op.create_index(op.f("ix_revoked_links_registrant_id"), "revoked_links", ["registrant_id"])
    moments = sa.ARRAY(sa.DateTime(timezone=True))
    for name in _REPORTED:
        op.add_column("participant_sessions", sa.Column(name, moments, server_default="{}", nullable=False))


def downgrade() -> None:
    op.execute("DELETE FROM outbox WHERE reaction IN ('attendance.settle', 'hooks.tell_attendance')")
    for name in _REPORTED:
        op.drop_column("participant_sessions", name)
    op.drop_table("revoked_links")
    for name in (*_TAKEN_BACK, "former_ids"):
        op.drop_column("registrants", name)
