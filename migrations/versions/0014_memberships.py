"""who belongs where and left, what was done on others' behalf, links of one answer, codes of one browser"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)

# Nothing recorded who gave an answer. These show that a token of the member named the community: a click at the door
# that found the event, an answer with a language only a token says, an invite asked for again, something written live.
# Whoever has none of them is confirmed by the next token that names the community.
_EVIDENCE = """
INSERT INTO memberships (member_id, community_id, named_at)
SELECT member_id, community_id, min(at) FROM (
    SELECT clicks.member_id, events.community_id, clicks.clicked_at AS at
    FROM clicks JOIN events ON events.id = clicks.event_id
    WHERE clicks.outcome NOT IN ('event-not-found', 'not-your-link', 'too-many-clicks')
    UNION ALL
    SELECT registrations.member_id, events.community_id, registrations.created_at
    FROM registrations JOIN events ON events.id = registrations.event_id
    WHERE registrations.locale <> 'en' OR registrations.invite_asked <> '[]'
    UNION ALL
    SELECT live_posts.author_id, events.community_id, live_posts.written_at
    FROM live_posts JOIN events ON events.id = live_posts.event_id
) AS evidence
WHERE member_id NOT LIKE 'guest:%'
GROUP BY member_id, community_id
"""


def upgrade() -> None:
    op.create_table(
        "memberships",
        sa.Column("member_id", sa.Text(), nullable=False),
        sa.Column("community_id", sa.Text(), nullable=False),
        sa.Column("named_at", MOMENT, nullable=True),
        sa.Column("left_at", MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("member_id", "community_id", name=op.f("pk_memberships")),
    )
    op.create_index("ix_memberships_left", "memberships", ["left_at"], postgresql_where=sa.text("named_at IS NULL"))
    op.execute(_EVIDENCE)
    op.create_table(
        "audit",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("community_id", sa.Text(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("about", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
    )
    op.create_index("ix_audit_community_id_at", "audit", ["community_id", "at"])
    op.create_index("ix_audit_at", "audit", ["at"])
    op.add_column("registrations", sa.Column("reminders", sa.Boolean(), server_default="true", nullable=False))
    op.add_column("registrations", sa.Column("unsubscribe_link", sa.Text(), nullable=True))
    op.create_unique_constraint(op.f("uq_registrations_unsubscribe_link"), "registrations", ["unsubscribe_link"])
    op.create_table(
        "guest_codes",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("guest_id", sa.Uuid(), nullable=False),
        sa.Column("browser", sa.LargeBinary(), nullable=False),
        sa.Column("code", sa.LargeBinary(), nullable=True),
        sa.Column("expires_at", MOMENT, nullable=False),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        sa.Column("asked", JSONB(), server_default="[]", nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_guest_codes")),
        sa.ForeignKeyConstraint(["guest_id"], ["guests.id"], name=op.f("fk_guest_codes_guest_id_guests")),
        sa.UniqueConstraint("guest_id", "browser", name=op.f("uq_guest_codes_guest_id_browser")),
    )
    op.create_index("ix_guest_codes_expires_at", "guest_codes", ["expires_at"])
    # What stands there are six digits, which would count as a code that may be tried without end.
    op.execute("UPDATE guests SET code = NULL, code_expires_at = NULL")
    op.drop_column("guests", "code_tries")


def downgrade() -> None:
    op.execute("UPDATE guests SET code = NULL, code_expires_at = NULL")
    op.add_column("guests", sa.Column("code_tries", sa.Integer(), server_default="0", nullable=False))
    op.drop_table("guest_codes")
    op.execute("DELETE FROM outbox WHERE reaction = 'privacy.tidy'")
    op.drop_column("registrations", "unsubscribe_link")
    op.drop_column("registrations", "reminders")
    op.drop_table("audit")
    op.drop_table("memberships")
