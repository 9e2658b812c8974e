"""The migration that asks whether addresses are verified.

Links stay, unless it cannot be told whose they are.
"""

from app.core.database import migrate
from tests.test_migrations import empty_url, execute_script, fetch_rows

__all__ = ["empty_url"]  # the fixture

# The schema is that of 0013, with its column names. Mia and Gus (a guest) have links, and Max has none yet. Eve and the
# twin share an address. Ben has the host's.
BEFORE = """
INSERT INTO communities (id, slug) VALUES ('c1', 'c1');
INSERT INTO accounts (id, community_id, zoom_account_id, zoom_user_id, own_user_only, status, connected_by,
                      connected_at)
VALUES ('aaaaaaaa-0000-4000-8000-000000000001', 'c1', 'riverside', 'ada', '', 'connected', 'm', now());
INSERT INTO hosts (id, account_id, zoom_user_id, email, licensed, listed)
VALUES ('bbbbbbbb-0000-4000-8000-000000000001', 'aaaaaaaa-0000-4000-8000-000000000001', 'ben', 'Ben@x.example', true,
        true);
INSERT INTO events (id, community_id, kind, title, starts_at, ends_at, timezone, is_virtual, delivery_mode, host_id,
                    created_by, created_at, updated_at)
VALUES ('eeeeeeee-0000-4000-8000-000000000001', 'c1', 'community_event', 'x', now(), now() + interval '1 hour', 'UTC',
        true, 'zoom', 'bbbbbbbb-0000-4000-8000-000000000001', 'm', now(), now());
INSERT INTO meetings (id, event_id, account_id, host_id, state, zoom_meeting_id, marker, created_at)
VALUES ('dddddddd-0000-4000-8000-000000000001', 'eeeeeeee-0000-4000-8000-000000000001',
        'aaaaaaaa-0000-4000-8000-000000000001', 'bbbbbbbb-0000-4000-8000-000000000001', 'scheduled', 81, 'x', now());
WITH answers AS (
    INSERT INTO registrations (id, event_id, member_id, email, name, rsvp, join_link, created_at, updated_at)
    SELECT gen_random_uuid(), 'eeeeeeee-0000-4000-8000-000000000001', member, email, member, 'going', member, now(),
           now()
    FROM (VALUES ('mia', 'mia@x.example'), ('max', 'max@x.example'), ('twin', 'twin@x.example'),
                 ('eve', 'TWIN@x.example'), ('ben', 'ben@x.example'), ('guest:1', 'gus@x.example'))
        AS wanted (member, email)
    RETURNING id, email, member_id
)
INSERT INTO registrants (id, registration_id, meeting_id, zoom_registrant_id, email, state, updated_at)
SELECT gen_random_uuid(), id, 'dddddddd-0000-4000-8000-000000000001', 'z-' || lower(email), email, 'ready', now()
FROM answers WHERE member_id <> 'max';
"""


async def test_who_has_a_link_keeps_it_unless_it_cannot_be_told_whose_it_is(empty_url: str) -> None:
    await migrate(empty_url, "0013")
    await execute_script(empty_url, BEFORE)
    await migrate(empty_url)
    rows = await fetch_rows(empty_url, "SELECT member_id FROM registrations WHERE email_verified ORDER BY member_id")
    assert [row["member_id"] for row in rows] == ["guest:1", "mia"]
