"""what is known of a database that was restored from a backup: what is in doubt, and what is numbered above it"""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0019"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("registrations", sa.Column("sequence_base", sa.Integer(), server_default="0", nullable=False))
    op.add_column("registrants", sa.Column("doubted_at", MOMENT, nullable=True))
    op.add_column("grants", sa.Column("doubted_at", MOMENT, nullable=True))
    op.create_table(
        "reconciliations",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=True),
        sa.Column("since", MOMENT, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("transaction", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_reconciliations_account_id_accounts")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reconciliations")),
    )
    op.create_table(
        "strays",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("zoom_meeting_id", sa.BigInteger(), nullable=False),
        sa.Column("zoom_registrant_id", sa.Text(), server_default="", nullable=False),
        sa.Column("found_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_strays_account_id_accounts")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_strays")),
        sa.UniqueConstraint(
            "account_id",
            "zoom_meeting_id",
            "zoom_registrant_id",
            name=op.f("uq_strays_account_id_zoom_meeting_id_zoom_registrant_id"),
        ),
    )


def downgrade() -> None:
    op.drop_table("strays")
    op.drop_table("reconciliations")
    op.drop_column("grants", "doubted_at")
    op.drop_column("registrants", "doubted_at")
    op.drop_column("registrations", "sequence_base")
