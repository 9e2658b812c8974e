"""whose an e-mail address is, the name a registrant was added with, and the start at which no host came"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

# Who has a registrant keeps the link: nobody is locked out by the change. Not kept are addresses of which it cannot be
# told whose they are: those of two members at one event, and those of a host of the event. Their members are known
# again with the next token that says `email_verified`.
KNOWN = """
UPDATE registrations SET email_verified = true
WHERE member_id LIKE 'guest:%' OR (
  EXISTS (
    SELECT FROM registrants
    WHERE registrants.registration_id = registrations.id AND registrants.zoom_registrant_id IS NOT NULL
      AND registrants.state IN ('ready', 'pending') AND lower(registrants.email) = lower(registrations.email)
  ) AND NOT EXISTS (
    SELECT FROM registrations AS other
    WHERE other.event_id = registrations.event_id AND other.id <> registrations.id
      AND other.member_id NOT LIKE 'guest:%' AND lower(other.email) = lower(registrations.email)
  ) AND NOT EXISTS (
    SELECT FROM events JOIN hosts ON hosts.id = events.host_id OR hosts.id = ANY(events.alternative_hosts)
    WHERE events.id = registrations.event_id AND lower(hosts.email) = lower(registrations.email)
  )
)
"""


def upgrade() -> None:
    op.add_column("registrations", sa.Column("email_verified", sa.Boolean(), server_default="false", nullable=False))
    op.add_column("registrations", sa.Column("email_entered_by", sa.Text(), nullable=True))
    op.add_column("registrants", sa.Column("name", sa.Text(), nullable=True))
    op.add_column("events", sa.Column("host_missed_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index("ix_registrations_event_id_email", "registrations", ["event_id", sa.text("lower(email)")])
    op.execute(KNOWN)


def downgrade() -> None:
    op.drop_index("ix_registrations_event_id_email", "registrations")
    op.drop_column("events", "host_missed_at")
    op.drop_column("registrants", "name")
    op.drop_column("registrations", "email_entered_by")
    op.drop_column("registrations", "email_verified")
