"""live"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "live_streams",
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("status", sa.Text(), server_default="scheduled", nullable=False),
        sa.Column("participants", sa.Integer(), server_default="0", nullable=False),
        sa.Column("waiting", sa.Integer(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(["event_id"], ["events.id"], name=op.f("fk_live_streams_event_id_events")),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_live_streams")),
    )
    op.create_table(
        "live_log",
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("post_id", sa.Uuid(), nullable=True),
        sa.Column("data", postgresql.JSONB(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["event_id"], ["events.id"], name=op.f("fk_live_log_event_id_events")),
        sa.PrimaryKeyConstraint("event_id", "sequence", name=op.f("pk_live_log")),
    )
    op.create_table(
        "live_posts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("author_id", sa.Text(), nullable=False),
        sa.Column("author_name", sa.Text(), nullable=False),
        sa.Column("author_role", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("written_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("upvotes", sa.Integer(), server_default="0", nullable=False),
        sa.Column("answer", sa.Text(), nullable=True),
        sa.Column("answered_by", sa.Text(), nullable=True),
        sa.Column("answered_name", sa.Text(), nullable=True),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("kind IN ('message', 'question')", name=op.f("ck_live_posts_kind")),
        sa.CheckConstraint(
            "author_role IN ('host', 'admin', 'coach', 'member')", name=op.f("ck_live_posts_author_role")
        ),
        sa.ForeignKeyConstraint(["event_id"], ["events.id"], name=op.f("fk_live_posts_event_id_events")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_live_posts")),
        sa.UniqueConstraint("event_id", "sequence", name=op.f("uq_live_posts_event_id_sequence")),
    )
    op.create_table(
        "live_upvotes",
        sa.Column("question_id", sa.Uuid(), nullable=False),
        sa.Column("member_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["question_id"],
            ["live_posts.id"],
            name=op.f("fk_live_upvotes_question_id_live_posts"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("question_id", "member_id", name=op.f("pk_live_upvotes")),
    )


def downgrade() -> None:
    op.execute("DELETE FROM outbox WHERE reaction LIKE 'live.%'")
    op.drop_table("live_upvotes")
    op.drop_table("live_posts")
    op.drop_table("live_log")
    op.drop_table("live_streams")
