"""The migrations make exactly the tables the models speak of, and can take them away again."""

import asyncio
import importlib
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import JSON, Connection
from sqlalchemy.ext.asyncio import create_async_engine

from app.core.database import MIGRATIONS, Model, migrate
from app.devstack.stack import Stack

APP = Path(__file__).parents[1] / "app"
PREFIXES = {"p": "pk", "f": "fk", "u": "uq", "c": "ck", "x": "ex"}  # pg_constraint.contype -> what names begin with


@pytest.fixture
async def empty_url(stack: Stack) -> AsyncIterator[str]:
    """A database nothing was ever done to."""
    name = f"empty_{secrets.token_hex(6)}"
    yield await stack.create_database(name)
    await stack.drop_database(name)


def import_all_models() -> None:
    """Have every table on the metadata, also one that the migrations forgot to import."""
    for path in APP.glob("*/models.py"):
        importlib.import_module(f"app.{path.parent.name}.models")


async def differences(url: str) -> list[Any]:
    """What Alembic would write into a new migration."""
    import_all_models()

    def compare(connection: Connection) -> list[Any]:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        return list(compare_metadata(context, Model.metadata))

    engine = create_async_engine("postgresql+asyncpg://" + url.split("://", 1)[1])
    async with engine.connect() as connection:
        found = await connection.run_sync(compare)
    await engine.dispose()
    return found


def test_a_document_that_is_not_there_is_null_to_the_database_too() -> None:
    import_all_models()
    documents = [
        column for table in Model.metadata.tables.values() for column in table.columns if isinstance(column.type, JSON)
    ]
    assert len(documents) > 5
    for column in documents:
        assert isinstance(column.type, JSON)
        # SQLAlchemy writes None as JSON's null otherwise, which IS NOT NULL.
        assert not column.nullable or column.type.none_as_null, f"{column.table.name}.{column.name}"


async def execute_script(url: str, script: str) -> None:
    """Run statements."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(script)
    finally:
        await connection.close()


async def fetch_rows(url: str, query: str) -> list[Any]:
    """The rows of a query."""
    connection = await asyncpg.connect(url)
    try:
        rows: list[Any] = await connection.fetch(query)
        return rows
    finally:
        await connection.close()


async def test_up_down_and_up_again_leave_nothing_to_autogenerate(empty_url: str) -> None:
    await migrate(empty_url)
    assert await differences(empty_url) == []
    await migrate(empty_url, "base")
    left = await fetch_rows(empty_url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    assert [row["tablename"] for row in left] == ["alembic_version"]
    types = await fetch_rows(
        empty_url, "SELECT typname FROM pg_type WHERE typtype = 'e' AND typnamespace = 'public'::regnamespace"
    )
    assert types == []
    await migrate(empty_url)
    assert await differences(empty_url) == []


async def test_migrating_twice_changes_nothing(database_url: str) -> None:
    before = await fetch_rows(database_url, "SELECT * FROM alembic_version")
    await migrate(database_url)
    assert await fetch_rows(database_url, "SELECT * FROM alembic_version") == before


async def test_every_constraint_and_index_is_named_by_its_kind_and_table(database_url: str) -> None:
    constraints = await fetch_rows(
        database_url,
        "SELECT conname AS name, contype::text AS kind, conrelid::regclass::text AS of FROM pg_constraint"
        " WHERE connamespace = 'public'::regnamespace AND contype <> 'n' AND conrelid <> 'alembic_version'::regclass",
    )
    indexes = await fetch_rows(
        database_url,
        "SELECT indexname AS name, tablename AS of FROM pg_indexes"
        " WHERE schemaname = 'public' AND tablename <> 'alembic_version'",
    )
    assert constraints
    wrong = [row["name"] for row in constraints if not row["name"].startswith(named(PREFIXES[row["kind"]], row["of"]))]
    kinds = ("ix", *PREFIXES.values())
    wrong += [r["name"] for r in indexes if not r["name"].startswith(tuple(named(kind, r["of"]) for kind in kinds))]
    assert wrong == []


def named(kind: str, table: str) -> str:
    """What a name begins with."""
    return f"{kind}_{table}"


TWO_CONNECTIONS = """
INSERT INTO communities (id, slug) VALUES ('c1', 'one'), ('c2', 'two');
INSERT INTO accounts (id, community_id, zoom_account_id, zoom_user_id, own_user_only, status, connected_by,
                      connected_at)
VALUES ('aaaaaaaa-0000-4000-8000-000000000001', 'c1', 'riverside', 'ada', '', 'connected', 'm', now()),
       ('aaaaaaaa-0000-4000-8000-000000000002', 'c2', 'riverside', 'ben', 'ben', 'connected', 'm', now()),
       ('aaaaaaaa-0000-4000-8000-000000000003', 'c2', 'riverside', 'ada', '', 'disconnected', 'm', now());
INSERT INTO hosts (id, account_id, zoom_user_id, licensed, listed) VALUES
    ('bbbbbbbb-0000-4000-8000-000000000001', 'aaaaaaaa-0000-4000-8000-000000000001', 'ben', true, true),
    ('bbbbbbbb-0000-4000-8000-000000000002', 'aaaaaaaa-0000-4000-8000-000000000002', 'ben', true, true),
    ('bbbbbbbb-0000-4000-8000-000000000003', 'aaaaaaaa-0000-4000-8000-000000000001', 'ada', true, true),
    ('bbbbbbbb-0000-4000-8000-000000000004', 'aaaaaaaa-0000-4000-8000-000000000003', 'ada', true, false);
INSERT INTO paces (account_id, label, next_at) VALUES ('aaaaaaaa-0000-4000-8000-000000000001', 'light', now());
INSERT INTO budgets (subject, day, used) VALUES
    ('host:bbbbbbbb-0000-4000-8000-000000000001', '2026-11-22', 60),
    ('host:bbbbbbbb-0000-4000-8000-000000000002', '2026-11-22', 30),
    ('host:bbbbbbbb-0000-4000-8000-000000000002', '2026-11-23', 7),
    ('host:bbbbbbbb-0000-4000-8000-000000000003', '2026-11-22', 1),
    ('registrant:x', '2026-11-22', 2);
INSERT INTO events (id, community_id, kind, title, starts_at, ends_at, timezone, is_virtual, created_by, created_at,
                    updated_at)
SELECT CAST('eeeeeeee-0000-4000-8000-00000000000' || number AS uuid), 'c1', 'community_event', 'x', now(),
       now() + interval '1 hour', 'UTC', true, 'm', CAST(made AS timestamptz), now()
FROM (VALUES (1, '2026-01-03'), (2, '2026-01-02'), (3, '2026-01-04'), (4, '2026-01-01'), (5, '2026-01-04'),
             (6, '2026-01-04'), (7, '2026-01-01')) AS wanted (number, made);
INSERT INTO reservations (id, subject, during, event_id)
SELECT gen_random_uuid(), 'host:bbbbbbbb-0000-4000-8000-00000000000' || host,
       tstzrange(timestamptz '2027-01-01' + make_interval(hours => starts),
                 timestamptz '2027-01-01' + make_interval(hours => ends)),
       CAST('eeeeeeee-0000-4000-8000-00000000000' || event AS uuid)
FROM (VALUES (1, 1, 10, 12), (2, 2, 11, 13), (1, 3, 12, 14), (3, 4, 10, 14), (2, 5, 20, 21), (1, 6, 20, 21),
             (4, 7, 10, 14))
    AS wanted (host, event, starts, ends);
"""
RESERVED = """
SELECT {column}, right(CAST(event_id AS text), 1) AS event FROM reservations ORDER BY event_id
"""


async def test_what_two_connections_held_and_spent_of_one_zoom_user_becomes_the_users(empty_url: str) -> None:
    await migrate(empty_url, "0011")
    await execute_script(empty_url, TWO_CONNECTIONS)
    await migrate(empty_url)
    assert await differences(empty_url) == []
    assert await fetch_rows(empty_url, "SELECT * FROM rate_limit_slots") == []
    quotas = [tuple(row) for row in await fetch_rows(empty_url, "SELECT * FROM quota_usage ORDER BY key, day")]
    assert quotas == [
        ("host:ada", "2026-11-22", 1),
        ("host:ben", "2026-11-22", 90),
        ("host:ben", "2026-11-23", 7),
        ("registrant:x", "2026-11-22", 2),
    ]
    reserved = [tuple(row) for row in await fetch_rows(empty_url, RESERVED.format(column="key"))]
    # The second was made before the first and the third; of the fifth and sixth, made at once, the smaller id stays.
    assert reserved == [
        ("host:ben", "2"),
        ("host:ada", "4"),
        ("host:ben", "5"),
        ("suspended:eeeeeeee-0000-4000-8000-000000000007", "7"),
    ]
    on = await fetch_rows(
        empty_url, "SELECT right(CAST(host_id AS text), 1) AS host FROM reservations ORDER BY event_id"
    )
    assert [row["host"] for row in on] == ["2", "3", "2", "4"]


async def test_the_way_back_gives_every_connection_its_hosts_again(empty_url: str) -> None:
    await migrate(empty_url, "0011")
    await execute_script(empty_url, TWO_CONNECTIONS)
    await migrate(empty_url)
    await execute_script(
        empty_url, "INSERT INTO rate_limit_slots (zoom_account_id, label, next_at) VALUES ('riverside', 'light', now())"
    )
    await asyncio.to_thread(command.downgrade, configured(empty_url), "0011")
    ben, bens, ada, adas = (f"host:bbbbbbbb-0000-4000-8000-00000000000{number}" for number in (1, 2, 3, 4))
    assert [tuple(row) for row in await fetch_rows(empty_url, RESERVED.format(column="subject"))] == [
        (bens, "2"),
        (ada, "4"),
        (bens, "5"),
        (adas, "7"),
    ]
    budgets = await fetch_rows(empty_url, "SELECT subject, used FROM budgets WHERE day = '2026-11-22' ORDER BY subject")
    assert [tuple(row) for row in budgets] == [(ben, 90), (bens, 90), (ada, 1), (adas, 1), ("registrant:x", 2)]
    assert await fetch_rows(empty_url, "SELECT * FROM paces") == []
    await migrate(empty_url)
    assert await differences(empty_url) == []


ANSWERS_FROM_BEFORE = """
INSERT INTO communities (id, slug) VALUES ('c1', 'one');
INSERT INTO events (id, community_id, kind, title, starts_at, ends_at, timezone, is_virtual, created_by, created_at,
                    updated_at)
VALUES ('eeeeeeee-0000-4000-8000-000000000001', 'c1', 'community_event', 'x', now(), now() + interval '1 hour', 'UTC',
        true, 'm', now(), now());
INSERT INTO registrations (id, event_id, member_id, email, name, locale, rsvp, join_link, invite_asked, created_at,
                           updated_at)
SELECT gen_random_uuid(), 'eeeeeeee-0000-4000-8000-000000000001', member_id, 'x@x.example', 'X', locale, 'going',
       member_id, CAST(asked AS jsonb), now(), now()
FROM (VALUES ('entered', 'en', '[]'), ('speaks', 'de', '[]'), ('asks', 'en', '["2026-01-01"]'), ('clicks', 'en', '[]'),
             ('clicks-elsewhere', 'en', '[]'), ('guest:1', 'de', '[]')) AS given (member_id, locale, asked);
INSERT INTO clicks (id, event_id, member_id, clicked_at, outcome, via) VALUES
    (gen_random_uuid(), 'eeeeeeee-0000-4000-8000-000000000001', 'clicks', now(), 'too-early', 'zoom-join'),
    (gen_random_uuid(), 'eeeeeeee-0000-4000-8000-000000000001', 'clicks-elsewhere', now(), 'event-not-found', 'link');
INSERT INTO guests (id, registration_id, invited_by, invited_at, code, code_expires_at)
SELECT gen_random_uuid(), id, 'm', now(), 'six digits', now() FROM registrations WHERE member_id = 'guest:1';
"""


async def test_answers_from_before_are_confirmed_where_something_shows_that_a_token_named_the_community(
    empty_url: str,
) -> None:
    await migrate(empty_url, "0013")
    await execute_script(empty_url, ANSWERS_FROM_BEFORE)
    await migrate(empty_url)
    named = await fetch_rows(
        empty_url, "SELECT member_id FROM memberships WHERE named_at IS NOT NULL ORDER BY member_id"
    )
    assert [row["member_id"] for row in named] == ["asks", "clicks", "speaks"]
    codes = await fetch_rows(empty_url, "SELECT code FROM guests")
    assert [row["code"] for row in codes] == [None], "six digits are no spare code"


HOOKS_FROM_BEFORE = """
INSERT INTO communities (id, slug) VALUES ('c1', 'one');
INSERT INTO events (id, community_id, kind, title, starts_at, ends_at, timezone, is_virtual, created_by, created_at,
                    updated_at, live_at, ended_at, host_missed_at)
SELECT CAST('eeeeeeee-0000-4000-8000-00000000000' || number AS uuid), 'c1', 'community_event', 'x', now(),
       now() + interval '1 hour', 'UTC', true, 'm', now(), now(),
       CASE WHEN live THEN now() END, CASE WHEN ended THEN now() END, CASE WHEN missed THEN now() END
FROM (VALUES (1, true, false, false), (2, false, true, true), (3, false, true, false), (4, false, true, false),
             (5, false, false, false)) AS wanted (number, live, ended, missed);
INSERT INTO outbox (reaction, key, due_at, priority, recorded_at)
SELECT reaction, 'eeeeeeee-0000-4000-8000-00000000000' || number, now(), 60, now()
FROM (VALUES (2, 'hooks.tell_host_missing'), (3, 'hooks.tell_ended'), (4, 'hooks.tell_live'), (4, 'hooks.tell_ended'))
    AS waiting (number, reaction);
INSERT INTO hook_endpoints (id, community_id, url, kinds, secret, created_by, created_at)
VALUES ('aaaaaaaa-0000-4000-8000-000000000001', 'c1', 'https://x.example', '{event.live}', 'x', 'm', now());
INSERT INTO hook_messages (id, endpoint_id, kind, subject, body, created_at)
SELECT gen_random_uuid(), 'aaaaaaaa-0000-4000-8000-000000000001', kind, gen_random_uuid(), '', CAST(made AS timestamptz)
FROM (VALUES ('second', '2026-01-02'), ('first', '2026-01-01')) AS sent (kind, made);
"""


async def test_what_was_told_of_events_is_not_told_again_and_what_waits_is_told(empty_url: str) -> None:
    await migrate(empty_url, "0019")
    await execute_script(empty_url, HOOKS_FROM_BEFORE)
    await migrate(empty_url)
    waiting = await fetch_rows(
        empty_url, "SELECT right(key, 1) AS event FROM outbox WHERE job = 'hooks.create_event_messages'"
    )
    assert sorted(row["event"] for row in waiting) == ["2", "3", "4"]
    former = "('hooks.tell_live', 'hooks.tell_ended', 'hooks.tell_host_missing')"
    assert await fetch_rows(empty_url, f"SELECT id FROM outbox WHERE job IN {former}") == []  # noqa: S608 - our names
    states = await fetch_rows(
        empty_url,
        "SELECT right(CAST(event_id AS text), 1) AS event, live, ended_runs, host_missed_at IS NOT NULL AS missed"
        " FROM hook_event_states ORDER BY event_id",
    )
    assert [tuple(row) for row in states] == [
        ("1", True, 0, False),
        ("2", False, 1, False),
        ("3", True, 1, False),
        ("4", False, 0, False),
    ]
    numbers = await fetch_rows(empty_url, "SELECT kind FROM hook_messages ORDER BY number")
    assert [row["kind"] for row in numbers] == ["first", "second"]
    await execute_script(
        empty_url,
        "INSERT INTO hook_messages (id, endpoint_id, kind, subject, body, created_at)"
        " SELECT gen_random_uuid(), endpoint_id, 'third', subject, '', now() FROM hook_messages LIMIT 1",
    )
    (newest,) = await fetch_rows(empty_url, "SELECT kind FROM hook_messages ORDER BY number DESC LIMIT 1")
    assert newest["kind"] == "third"


REGISTRANTS_FROM_BEFORE = """
INSERT INTO communities (id, slug) VALUES ('c1', 'one');
INSERT INTO events (id, community_id, kind, title, starts_at, ends_at, timezone, is_virtual, created_by, created_at,
                    updated_at)
VALUES ('eeeeeeee-0000-4000-8000-000000000001', 'c1', 'community_event', 'x', now(), now() + interval '1 hour', 'UTC',
        true, 'm', now(), now());
INSERT INTO accounts (id, community_id, zoom_account_id, zoom_user_id, status, connected_by, connected_at)
VALUES ('aaaaaaaa-0000-4000-8000-000000000001', 'c1', 'riverside', 'ada', 'connected', 'm', now());
INSERT INTO hosts (id, account_id, zoom_user_id, email, licensed, listed)
VALUES ('bbbbbbbb-0000-4000-8000-000000000001', 'aaaaaaaa-0000-4000-8000-000000000001', 'ada', 'a@x.example', true,
        true);
INSERT INTO meetings (id, event_id, account_id, host_id, state, marker, created_at)
VALUES ('dddddddd-0000-4000-8000-000000000001', 'eeeeeeee-0000-4000-8000-000000000001',
        'aaaaaaaa-0000-4000-8000-000000000001', 'bbbbbbbb-0000-4000-8000-000000000001', 'scheduled', 'm', now());
INSERT INTO registrations (id, event_id, member_id, email, name, rsvp, join_link, created_at, updated_at)
SELECT CAST('cccccccc-0000-4000-8000-00000000000' || number AS uuid), 'eeeeeeee-0000-4000-8000-000000000001',
       number, 'x@x.example', 'X', 'going', number, now(), now()
FROM generate_series(1, 3) AS number;
INSERT INTO registrants (id, registration_id, meeting_id, email, state, zoom_registrant_id, updated_at)
SELECT gen_random_uuid(), CAST('cccccccc-0000-4000-8000-00000000000' || number AS uuid),
       'dddddddd-0000-4000-8000-000000000001', 'x@x.example', state, known, now()
FROM (VALUES (1, 'pending', NULL), (2, 'pending', 'r2'), (3, 'ready', 'r3')) AS given (number, state, known);
"""


async def test_whoever_may_have_been_added_before_it_was_written_down_is_in_doubt(empty_url: str) -> None:
    await migrate(empty_url, "0019")
    await execute_script(empty_url, REGISTRANTS_FROM_BEFORE)
    await migrate(empty_url)
    found = await fetch_rows(
        empty_url, "SELECT attempt, attempt_ends_at <= now() FROM registrants ORDER BY registration_id"
    )
    assert [tuple(row) for row in found] == [("add", True), (None, None), (None, None)]


def configured(url: str) -> Config:
    """What Alembic is told of a database."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["url"] = url
    return config


def test_the_migrations_are_one_line() -> None:
    assert len(ScriptDirectory.from_config(configured("")).get_heads()) == 1


OLD_NAMES = """
INSERT INTO outbox (reaction, key, due_at, priority, lane, recorded_at) VALUES
    ('registrations.sync', 'r', now(), 60, 'an-account', now()),
    ('attendance.note_participant', 'd', now(), 30, 'heard:an-account', now()),
    ('hooks.tell_registration', 'r', now(), 90, 'told', now()),
    ('hooks.send', 'm', now(), 75, 'hook:c1/e', now());
INSERT INTO lanes (lane, not_before) VALUES ('heard:another', now());
INSERT INTO budgets (subject, day, used) VALUES ('host:ada', '2026-11-22', 3);
"""
WAITING = "SELECT {job}, {queue} FROM outbox ORDER BY 1"


async def test_what_waited_under_old_names_waits_under_the_new_ones_and_back(empty_url: str) -> None:
    await migrate(empty_url, "0023")
    await execute_script(empty_url, OLD_NAMES)
    before = await fetch_rows(empty_url, WAITING.format(job="reaction", queue="lane"))
    await migrate(empty_url, "0024")
    assert [tuple(row) for row in await fetch_rows(empty_url, WAITING.format(job="job", queue="queue"))] == [
        ("attendance.handle_participant", "delivery:an-account"),
        ("hooks.create_registration_messages", "hook_message"),
        ("hooks.send", "hook:c1/e"),
        ("registrants.sync", "an-account"),
    ]
    (paused,) = await fetch_rows(empty_url, "SELECT queue FROM queues")
    assert paused["queue"] == "delivery:another"
    (used,) = await fetch_rows(empty_url, "SELECT used FROM quota_usage WHERE key = 'host:ada'")
    assert used["used"] == 3
    await asyncio.to_thread(command.downgrade, configured(empty_url), "0023")
    assert await fetch_rows(empty_url, WAITING.format(job="reaction", queue="lane")) == before
