"""clicks that are refused are counted, and how fast somebody clicks is one row"""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "click_rates",
        sa.Column("member_id", sa.Text(), nullable=False),
        sa.Column("clicked", sa.ARRAY(sa.DateTime(timezone=True)), nullable=False),
        sa.PrimaryKeyConstraint("member_id", name=op.f("pk_click_rates")),
    )
    op.add_column("clicks", sa.Column("times", sa.Integer(), nullable=True))
    op.execute(
        """
        WITH refused AS (
            DELETE FROM clicks WHERE outcome NOT IN ('ticket', 'redirected')
            RETURNING member_id, clicked_at, outcome, via, CASE
                WHEN outcome IN ('event-not-found', 'too-many-clicks') THEN '00000000-0000-0000-0000-000000000000'
                ELSE event_id
            END AS event_id
        )
        INSERT INTO clicks (id, event_id, member_id, clicked_at, outcome, via, times)
        SELECT gen_random_uuid(), event_id, member_id, max(clicked_at), outcome, via, count(*) FROM refused
        GROUP BY event_id, member_id, outcome, via
        """
    )
    op.drop_index("ix_clicks_member_id_clicked_at", table_name="clicks")
    op.create_index(
        "uq_clicks_refusal",
        "clicks",
        ["member_id", "event_id", "via", "outcome"],
        unique=True,
        postgresql_where=sa.text("times IS NOT NULL"),
    )
    op.create_index(
        "ix_clicks_redirected",
        "clicks",
        ["event_id", "member_id"],
        postgresql_where=sa.text("outcome = 'redirected'"),
    )
    op.create_index("ix_clicks_clicked_at", "clicks", ["clicked_at"], postgresql_using="brin")
    op.create_index("ix_tickets_expires_at", "tickets", ["expires_at"], postgresql_using="brin")


def downgrade() -> None:
    op.drop_index("ix_tickets_expires_at", table_name="tickets")
    op.drop_index("ix_clicks_clicked_at", table_name="clicks")
    op.drop_index("ix_clicks_redirected", table_name="clicks")
    op.drop_index("uq_clicks_refusal", table_name="clicks")
    op.create_index("ix_clicks_member_id_clicked_at", "clicks", ["member_id", "clicked_at"])
    op.drop_column("clicks", "times")
    op.drop_table("click_rates")
