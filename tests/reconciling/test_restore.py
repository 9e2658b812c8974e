"""After a backup was restored, everything that happened since the backup is found and repaired."""

import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from app.cli.reconcile import NOTHING_TO_DO, RUN_AGAIN, reconcile_accounts
from app.devstack.mailbox import Mail, Mailbox
from app.reconciling import apply_plan
from tests.reconciling.backup import dump, restore
from tests.support import calendars
from tests.support.service import COMMUNITY, RunningService, run_service, run_worker
from tests.support.steps import (
    ADD,
    CARD,
    advance,
    cancel,
    change,
    grant,
    notify_created,
    rsvp,
    set_behavior,
    zoom_meetings,
)

LISTS = ("meeting:read:list_meetings", "meeting:read:list_registrants")


@pytest.fixture
async def service(database_url: str, redis_url: str, mailbox: Mailbox) -> AsyncIterator[RunningService]:
    """A service whose worker the test starts and stops."""
    async with run_service(database_url, redis_url, mailbox, worker=False) as service:
        yield service


async def reconcile(
    service: RunningService, since: datetime, capsys: pytest.CaptureFixture[str], **options: Any
) -> tuple[str, bool]:
    """Run the command; return its output and whether it could read everything."""
    capsys.readouterr()
    complete = await reconcile_accounts(service.resources, since, dry_run=options.get("dry_run", False))
    return capsys.readouterr().out, complete


async def wait_quarter_hour(service: RunningService) -> None:
    """Run all jobs that become due within the next quarter of an hour."""
    await service.wait_idle()
    for _ in range(3):
        await advance(service, 6)


async def all_rows(service: RunningService) -> dict[str, list[str]]:
    """Return the rows of every table except that of the rate limiter."""
    names = await service.resources.db.pool.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    return {
        name: sorted(str(dict(row)) for row in await service.resources.db.pool.fetch(f'SELECT * FROM "{name}"'))  # noqa: S608 - our own names
        for (name,) in names
        if name != "rate_limit_slots"
    }


async def wanted_meetings(service: RunningService) -> list[tuple[str, str, str]]:
    """Return title, start and host's Zoom id of each meeting that events need."""
    rows = await service.resources.db.pool.fetch(
        "SELECT title, starts_at, zoom_user_id FROM events JOIN hosts ON hosts.id = host_id"
        " WHERE delivery_mode = 'zoom' AND cancelled_at IS NULL AND deleted_at IS NULL"
    )
    return sorted((row["title"], f"{row['starts_at']:%Y-%m-%dT%H:%M:%SZ}", row["zoom_user_id"]) for row in rows)


async def assert_zoom_has_what_is_wanted(service: RunningService) -> None:
    """Check that Zoom has exactly the needed meetings, with the members who are coming and our links."""
    there = await zoom_meetings(service)
    has = sorted((meeting["topic"], meeting["start_time"], meeting["host_id"]) for meeting in there)
    assert has == await wanted_meetings(service)
    for meeting in there:
        row = await service.resources.db.pool.fetchrow(
            "SELECT * FROM meetings WHERE zoom_meeting_id = $1 AND state = 'scheduled'", meeting["id"]
        )
        assert row is not None, meeting["topic"]
        coming = await service.resources.db.pool.fetch(
            "SELECT email FROM registrations WHERE event_id = $1 AND rsvp = 'going' AND waiting_since IS NULL",
            row["event_id"],
        )
        approved = {each["email"]: each for each in meeting["registrants"] if each["status"] == "approved"}
        assert sorted(approved) == sorted(each["email"] for each in coming), meeting["topic"]
        links = await service.resources.db.pool.fetch(
            "SELECT id, email, join_url, stale_since FROM registrants WHERE meeting_id = $1 AND state = 'ready'",
            row["id"],
        )
        assert len(links) == len(approved)
        for link in links:
            opened = service.resources.encryption.decrypt(link["join_url"], f"registrants.join_url:{link['id']}")
            assert opened == approved[link["email"]]["join_url"]
            assert link["stale_since"] is None


def assert_no_number_is_used_twice(mails: list[Mail]) -> None:
    """Check that all mails to one calendar with one SEQUENCE say the same."""
    contents: dict[tuple[str, int], set[str]] = defaultdict(set)
    for mail in mails:
        parts = {part.get_content_type(): part for part in mail.message.walk() if not part.is_multipart()}
        if "text/calendar" in parts:
            uid, entry = calendars.read_invite(parts, mail.recipients[0])
            contents[uid, entry.sequence].add(
                f"{entry.is_present} {entry.title} {entry.starts_at} {entry.ends_at} {entry.tentative}"
            )
    assert contents
    assert {key: what for key, what in contents.items() if len(what) > 1} == {}


async def changing_calls(service: RunningService) -> list[str]:
    """Return the calls so far that changed something at Zoom."""
    done = [entry["operation"] for entry in await service.journal() if entry["method"] != "GET"]
    return [operation for operation in done if operation and not operation.startswith("oauth")]


def approved_emails(meeting: dict[str, Any]) -> list[str]:
    """Return the addresses of the approved registrants of a meeting."""
    return sorted(each["email"] for each in meeting["registrants"] if each["status"] == "approved")


def in_days(days: int, hours: int = 0) -> str:
    """Return a start this many days from now."""
    return (datetime.now(UTC).replace(microsecond=0) + timedelta(days=days, hours=hours)).isoformat()


async def first_life(service: RunningService) -> dict[str, Any]:
    """Create events with members who are coming, as they are in the backup."""
    await service.connect()
    names = ("stays", "renamed", "cancelled", "left", "joined", "moved", "described")
    made = {
        name: await service.create_event(
            title=f"Event that is {name}",
            starts_at=(service.clock.now().replace(microsecond=0) + timedelta(days=2, hours=2 * at)).isoformat(),
            ends_at=(service.clock.now().replace(microsecond=0) + timedelta(days=2, hours=2 * at + 1)).isoformat(),
        )
        for at, name in enumerate(names)
    }
    for name in ("stays", "renamed", "cancelled", "left", "moved"):
        await rsvp(service, made[name])
    await rsvp(service, made["joined"], "member2", "not_going")
    await wait_quarter_hour(service)
    return made


async def second_life(service: RunningService, made: dict[str, Any]) -> None:
    """Do what happens after the backup and is lost."""
    await change(service, made["renamed"], title="Renamed since")
    await wait_quarter_hour(service)
    await change(service, made["renamed"], title="Renamed twice")
    await cancel(service, made["cancelled"])
    await rsvp(service, made["left"], status="not_going")
    await rsvp(service, made["joined"], "member2")
    await change(service, made["moved"], host_id=(await service.hosts())["ben@riverside.example"]["id"])
    await change(service, made["described"], description="Bring tea.")
    await rsvp(service, made["stays"], "member2")
    new = await service.create_event(title="Made since")
    await rsvp(service, new)
    await wait_quarter_hour(service)


@contextlib.asynccontextmanager
async def restored(service: RunningService, folder: Path) -> AsyncIterator[tuple[dict[str, Any], datetime]]:
    """Run the service, make a backup, go on, restore it. Return the events and the time of the backup."""
    async with run_worker(service.resources):
        made = await first_life(service)
    since = service.clock.now()
    await dump(service, folder / "backup")
    async with run_worker(service.resources):
        # The access token expires meanwhile, so that the refresh token is used up.
        await service.advance_clock(timedelta(hours=2))
        await second_life(service, made)
    await restore(service, folder / "backup")
    yield made, since


async def test_after_a_restore_zoom_has_exactly_what_is_wanted_and_no_sequence_is_used_twice(
    service: RunningService, every_mail: list[Mail], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await set_behavior(service, refresh_grace_seconds=10**6)
    await grant(service, *LISTS)
    async with restored(service, tmp_path) as (made, since):
        output, complete = await reconcile(service, since, capsys)
        assert complete, output
        assert NOTHING_TO_DO not in output
        # No job has run yet, and a second plan has nothing to write.
        output, complete = await reconcile(service, since, capsys)
        assert (NOTHING_TO_DO in output, complete) == (True, True), output
        async with run_worker(service.resources):
            await wait_quarter_hour(service)
        await assert_zoom_has_what_is_wanted(service)
        assert await calendars.assert_calendars_match(service, every_mail)
        output, complete = await reconcile(service, since, capsys)
        assert (NOTHING_TO_DO in output, complete) == (True, True), output
        async with run_worker(service.resources):
            for name in ("stays", "renamed", "cancelled", "left", "joined", "moved"):
                await change(service, made[name], title=f"Changed after all: {name}")
            await wait_quarter_hour(service)
        await assert_zoom_has_what_is_wanted(service)
        assert_no_number_is_used_twice(every_mail)
        assert await calendars.assert_calendars_match(service, every_mail)


async def test_a_dry_run_shows_the_plan_and_changes_nothing(
    service: RunningService, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await grant(service, *LISTS)
    async with run_worker(service.resources):
        await service.connect()
        event = await service.create_event()
    since = service.clock.now()
    await dump(service, tmp_path / "backup")
    async with run_worker(service.resources):
        await service.create_event(title="Made since", starts_at=in_days(3), ends_at=in_days(3, 1))
        await change(service, event, title="Renamed since")
    await restore(service, tmp_path / "backup")
    before = await all_rows(service)
    called = await changing_calls(service)
    output, complete = await reconcile(service, since, capsys, dry_run=True)
    assert complete
    assert {"raise", "read", "delete", "correct"} <= {line.split()[0] for line in output.splitlines() if line}
    assert "Made since" not in output, "titles are nobody's business"
    assert await all_rows(service) == before
    assert await changing_calls(service) == called


async def test_what_was_being_made_when_the_backup_was_taken_is_adopted_and_not_made_again(
    service: RunningService, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await grant(service, *LISTS)
    async with run_worker(service.resources):
        await service.connect()
        host_id = (await service.hosts())["ada@riverside.example"]["id"]
    body = {"title": "Open evening", "starts_at": in_days(3), "ends_at": in_days(3, 1), "timezone": "UTC"}
    path = f"/api/communities/{COMMUNITY['slug']}/events"
    wanted = body | {"is_virtual": True, "delivery_mode": "zoom", "host_id": host_id}
    event = (await service.post("admin", path, wanted)).json()
    answered = await service.call("member", "PUT", f"/api/events/{event['id']}/rsvp", json={"status": "going"})
    answered.raise_for_status()
    since = service.clock.now()
    await dump(service, tmp_path / "backup")
    async with run_worker(service.resources):
        await wait_quarter_hour(service)
    await restore(service, tmp_path / "backup")
    (made,) = await zoom_meetings(service)
    called = await changing_calls(service)
    output, complete = await reconcile(service, since, capsys)
    assert complete
    assert f"adopt          meeting {made['id']}" in output
    async with run_worker(service.resources):
        await wait_quarter_hour(service)
    assert [meeting["id"] for meeting in await zoom_meetings(service)] == [made["id"]]
    assert ADD not in (await changing_calls(service))[len(called) :], "her registrant was adopted, too"
    await assert_zoom_has_what_is_wanted(service)


async def test_with_the_required_scopes_alone_everybody_known_converges_and_the_rest_is_said(
    service: RunningService, every_mail: list[Mail], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await set_behavior(service, refresh_grace_seconds=10**6)
    async with restored(service, tmp_path) as (made, since):
        output, complete = await reconcile(service, since, capsys)
        assert complete
        assert all(scope in output for scope in LISTS)
        async with run_worker(service.resources):
            # A restored service receives notifications again.
            lost = next(meeting for meeting in await zoom_meetings(service) if meeting["topic"] == "Made since")
            await notify_created(service, lost)
            await wait_quarter_hour(service)
        output, complete = await reconcile(service, since, capsys)
        assert f"delete  meeting {lost['id']}" in output
        async with run_worker(service.resources):
            await wait_quarter_hour(service)
        output, complete = await reconcile(service, since, capsys)
        assert NOTHING_TO_DO in output
        there = {meeting["topic"]: meeting for meeting in await zoom_meetings(service)}
        # No notification told of the meeting that was created on another host.
        assert [(meeting["topic"]) for meeting in await zoom_meetings(service)].count("Event that is moved") == 2
        assert approved_emails(there["Event that is left"]) == ["member@members.example"]
        assert approved_emails(there["Event that is joined"]) == []
        assert approved_emails(there["Event that is renamed"]) == ["member@members.example"]
        assert_no_number_is_used_twice(every_mail)
    assert made


async def test_a_connection_that_was_renewed_since_is_shown_and_all_is_well_once_it_is_made_again(
    service: RunningService, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await grant(service, *LISTS)
    async with restored(service, tmp_path) as (_, since):
        output, complete = await reconcile(service, since, capsys)
        assert not complete
        assert "needs to be connected again" in output
        assert RUN_AGAIN in output
        card = (await service.get("admin", CARD)).json()
        assert [account["status"] for account in card["accounts"]] == ["needs_reauth"]
        async with run_worker(service.resources):
            await service.connect()
            await wait_quarter_hour(service)
        output, complete = await reconcile(service, since, capsys)
        assert complete, output
        async with run_worker(service.resources):
            await wait_quarter_hour(service)
        await assert_zoom_has_what_is_wanted(service)
        assert NOTHING_TO_DO in (await reconcile(service, since, capsys))[0]


async def test_it_can_be_interrupted_and_run_beside_workers(
    service: RunningService, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    await set_behavior(service, refresh_grace_seconds=10**6)
    await grant(service, *LISTS)
    async with restored(service, tmp_path) as (_, since):
        applied = 0
        original = apply_plan._apply

        async def interrupted(*arguments: Any) -> None:
            nonlocal applied
            applied += 1
            if applied == 3:
                raise KeyboardInterrupt
            await original(*arguments)

        with monkeypatch.context() as patched:
            patched.setattr(apply_plan, "_apply", interrupted)
            with pytest.raises(KeyboardInterrupt):
                await reconcile(service, since, capsys)
        async with run_worker(service.resources):
            output, complete = await reconcile(service, since, capsys)
            assert (NOTHING_TO_DO in output, complete) == (False, True)
            await wait_quarter_hour(service)
        await assert_zoom_has_what_is_wanted(service)
        assert NOTHING_TO_DO in (await reconcile(service, since, capsys))[0]


async def test_what_was_held_since_is_adopted_as_it_is(
    service: RunningService, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await set_behavior(service, refresh_grace_seconds=10**6)
    await grant(service, *LISTS)
    async with run_worker(service.resources):
        await service.connect()
        host_id = (await service.hosts())["ada@riverside.example"]["id"]
    starts = service.clock.now().replace(microsecond=0) + timedelta(minutes=30)
    body = {"title": "Open evening", "starts_at": starts.isoformat(), "timezone": "UTC", "is_virtual": True}
    wanted = {"ends_at": (starts + timedelta(hours=1)).isoformat(), "delivery_mode": "zoom", "host_id": host_id}
    event = (await service.post("admin", f"/api/communities/{COMMUNITY['slug']}/events", body | wanted)).json()
    since = service.clock.now()
    await dump(service, tmp_path / "backup")
    async with run_worker(service.resources):
        await service.wait_idle()
        (made,) = await zoom_meetings(service)
        await service.advance_clock(timedelta(minutes=31))
        (await service.zoom.post(f"/simulator/meetings/{made['id']}/start")).raise_for_status()
        await service.advance_clock(timedelta(minutes=60))
        (await service.zoom.post(f"/simulator/meetings/{made['id']}/end")).raise_for_status()
        await advance(service, 30)
    await restore(service, tmp_path / "backup")
    called = await changing_calls(service)
    output, complete = await reconcile(service, since, capsys)
    assert complete
    assert f"adopt          meeting {made['id']}" in output
    async with run_worker(service.resources):
        await wait_quarter_hour(service)
    assert await changing_calls(service) == called, "it is over: nobody changes it"
    shown = (await service.get("admin", f"/api/events/{event['id']}")).json()
    assert (shown["status"], shown["zoom"]["meeting_id"]) == ("ended", str(made["id"]))
    assert NOTHING_TO_DO in (await reconcile(service, since, capsys))[0]
