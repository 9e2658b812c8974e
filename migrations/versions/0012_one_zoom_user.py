"""limits and reservations that all connections of a Zoom account share

Rows of hosts are one for each connection, and several connections may have the same Zoom user. Where two events have
come to hold one Zoom user at once, the one made first keeps its time; the other one keeps its host all the same. What
hosts of a disconnected account hold is set aside under a name of the event's own, and keeps nobody from their time.
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

# Inserted one after the other, so that whoever comes later finds the time taken.
HELD_BY_USER = """
WITH held AS (
    DELETE FROM reservations USING hosts JOIN accounts ON accounts.id = hosts.account_id
    WHERE reservations.subject = 'host:' || hosts.id
    RETURNING reservations.id, during, event_id, hosts.id AS host_id,
        CASE status WHEN 'disconnected' THEN 'away:' || event_id ELSE 'host:' || hosts.zoom_user_id END AS subject
)
INSERT INTO reservations (id, subject, during, event_id, host_id)
SELECT held.id, subject, during, event_id, held.host_id
FROM held LEFT JOIN events ON events.id = event_id
ORDER BY events.created_at, event_id
ON CONFLICT ON CONSTRAINT ex_reservations_overlap DO NOTHING
"""
HELD_BY_HOST = """
WITH held AS (
    DELETE FROM reservations
    WHERE host_id IS NOT NULL AND (starts_with(subject, 'host:') OR starts_with(subject, 'away:'))
    RETURNING id, subject, during, event_id, host_id
)
INSERT INTO reservations (id, subject, during, event_id)
SELECT id, 'host:' || host_id, during, event_id FROM held ORDER BY starts_with(subject, 'away:'), event_id
ON CONFLICT ON CONSTRAINT ex_reservations_overlap DO NOTHING
"""

SPENT_BY_USER = """
WITH spent AS (
    DELETE FROM budgets USING hosts WHERE subject = 'host:' || hosts.id RETURNING zoom_user_id, day, used
)
INSERT INTO budgets (subject, day, used) SELECT 'host:' || zoom_user_id, day, sum(used) FROM spent GROUP BY 1, 2
"""
# To each connection all of it is spent: nobody knows any more which one spent what.
SPENT_BY_HOST = """
WITH spent AS (
    DELETE FROM budgets WHERE EXISTS (SELECT FROM hosts WHERE subject = 'host:' || zoom_user_id)
    RETURNING subject, day, used
)
INSERT INTO budgets (subject, day, used)
SELECT 'host:' || hosts.id, day, used FROM spent JOIN hosts ON subject = 'host:' || zoom_user_id
"""


def upgrade() -> None:
    op.execute("DELETE FROM paces")
    op.alter_column("paces", "account_id", new_column_name="zoom_account_id", type_=sa.Text())
    op.add_column("reservations", sa.Column("host_id", sa.Uuid()))
    op.execute(HELD_BY_USER)
    op.create_foreign_key("fk_reservations_host_id_hosts", "reservations", "hosts", ["host_id"], ["id"])
    op.create_index("ix_reservations_host_id", "reservations", ["host_id"])
    op.execute(SPENT_BY_USER)


def downgrade() -> None:
    op.execute(SPENT_BY_HOST)
    op.execute(HELD_BY_HOST)
    op.drop_column("reservations", "host_id")
    op.execute("DELETE FROM paces")
    op.alter_column(
        "paces",
        "zoom_account_id",
        new_column_name="account_id",
        type_=sa.Uuid(),
        postgresql_using="zoom_account_id::uuid",
    )
