"""A backup is restored, and what happened after it was made is found and put right."""

import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from app.cli.reconcile import AGAIN, NOTHING, bring_together
from app.demo.mailbox import Mail, Mailbox
from app.reconciling import applying
from tests.living import COMMUNITY, Living, _working, alive
from tests.meetings.house import ADD, CARD, at_zoom, cancel, change, grant, later, notify_created, rsvp, switch
from tests.reconciling.restoring import dump, restore
from tests.registrations import calendars

LISTS = ("meeting:read:list_meetings", "meeting:read:list_registrants")


@pytest.fixture
async def living(database_url: str, redis_url: str, mailbox: Mailbox) -> AsyncIterator[Living]:
    """The service without a worker, which a test starts and stops."""
    async with alive(database_url, redis_url, mailbox, worker=False) as living:
        yield living


async def reconciled(
    living: Living, since: datetime, capsys: pytest.CaptureFixture[str], **how: Any
) -> tuple[str, bool]:
    """What the command says, and whether it could look at everything."""
    capsys.readouterr()
    complete = await bring_together(living.held, since, dry_run=how.get("dry_run", False))
    return capsys.readouterr().out, complete


async def rests(living: Living) -> None:
    """Everything that became due within the next quarter of an hour is done."""
    await living.quiet()
    for _ in range(3):
        await later(living, 6)


async def everything(living: Living) -> dict[str, list[str]]:
    """Every row of every table, but for the time calls were made."""
    names = await living.held.db.hot.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    return {
        name: sorted(str(dict(row)) for row in await living.held.db.hot.fetch(f'SELECT * FROM "{name}"'))  # noqa: S608 - our own names
        for (name,) in names
        if name != "paces"
    }


async def wanted_meetings(living: Living) -> list[tuple[str, str, str]]:
    """Title, start and host's Zoom id of each meeting that events want."""
    rows = await living.held.db.hot.fetch(
        "SELECT title, starts_at, zoom_user_id FROM events JOIN hosts ON hosts.id = host_id"
        " WHERE delivery_mode = 'zoom' AND cancelled_at IS NULL AND deleted_at IS NULL"
    )
    return sorted((row["title"], f"{row['starts_at']:%Y-%m-%dT%H:%M:%SZ}", row["zoom_user_id"]) for row in rows)


async def assert_zoom_has_what_is_wanted(living: Living) -> None:
    """Exactly the wanted meetings, and at each exactly those who are coming, each with the link we hold."""
    there = await at_zoom(living)
    has = sorted((meeting["topic"], meeting["start_time"], meeting["host_id"]) for meeting in there)
    assert has == await wanted_meetings(living)
    for meeting in there:
        row = await living.held.db.hot.fetchrow(
            "SELECT * FROM meetings WHERE zoom_meeting_id = $1 AND state = 'scheduled'", meeting["id"]
        )
        assert row is not None, meeting["topic"]
        coming = await living.held.db.hot.fetch(
            "SELECT email FROM registrations WHERE event_id = $1 AND rsvp = 'going' AND waiting_since IS NULL",
            row["event_id"],
        )
        approved = {each["email"]: each for each in meeting["registrants"] if each["status"] == "approved"}
        assert sorted(approved) == sorted(each["email"] for each in coming), meeting["topic"]
        links = await living.held.db.hot.fetch(
            "SELECT id, email, join_url, doubted_at FROM registrants WHERE meeting_id = $1 AND state = 'ready'",
            row["id"],
        )
        assert len(links) == len(approved)
        for link in links:
            opened = living.held.seal.open(link["join_url"], f"registrants.join_url:{link['id']}")
            assert opened == approved[link["email"]]["join_url"]
            assert link["doubted_at"] is None


def assert_no_number_is_used_twice(mails: list[Mail]) -> None:
    """Whatever came to one calendar under one SEQUENCE says the same."""
    said: dict[tuple[str, int], set[str]] = defaultdict(set)
    for mail in mails:
        parts = {part.get_content_type(): part for part in mail.message.walk() if not part.is_multipart()}
        if "text/calendar" in parts:
            uid, entry = calendars.read(parts, mail.recipients[0])
            said[uid, entry.sequence].add(
                f"{entry.here} {entry.title} {entry.starts_at} {entry.ends_at} {entry.tentative}"
            )
    assert said
    assert {key: what for key, what in said.items() if len(what) > 1} == {}


async def changing_calls(living: Living) -> list[str]:
    """The calls that change something at Zoom, so far."""
    done = [entry["operation"] for entry in await living.journal() if entry["method"] != "GET"]
    return [operation for operation in done if operation and not operation.startswith("oauth")]


def coming(meeting: dict[str, Any]) -> list[str]:
    """The addresses of who is approved at a meeting."""
    return sorted(each["email"] for each in meeting["registrants"] if each["status"] == "approved")


def in_days(days: int, hours: int = 0) -> str:
    """A moment, as events say it."""
    return (datetime.now(UTC).replace(microsecond=0) + timedelta(days=days, hours=hours)).isoformat()


async def first_life(living: Living) -> dict[str, Any]:
    """Events with people coming, as they are when the backup is made."""
    await living.connect()
    names = ("stays", "renamed", "cancelled", "left", "joined", "moved", "described")
    made = {
        name: await living.event(
            title=f"Event that is {name}",
            starts_at=(living.clock.now().replace(microsecond=0) + timedelta(days=2, hours=2 * at)).isoformat(),
            ends_at=(living.clock.now().replace(microsecond=0) + timedelta(days=2, hours=2 * at + 1)).isoformat(),
        )
        for at, name in enumerate(names)
    }
    for name in ("stays", "renamed", "cancelled", "left", "moved"):
        await rsvp(living, made[name])
    await rsvp(living, made["joined"], "member2", "not_going")
    await rests(living)
    return made


async def second_life(living: Living, made: dict[str, Any]) -> None:
    """What happens after the backup, and is lost."""
    await change(living, made["renamed"], title="Renamed since")
    await rests(living)
    await change(living, made["renamed"], title="Renamed twice")
    await cancel(living, made["cancelled"])
    await rsvp(living, made["left"], status="not_going")
    await rsvp(living, made["joined"], "member2")
    await change(living, made["moved"], host_id=(await living.hosts())["ben@riverside.example"]["id"])
    await change(living, made["described"], description="Bring tea.")
    await rsvp(living, made["stays"], "member2")
    new = await living.event(title="Made since")
    await rsvp(living, new)
    await rests(living)


@contextlib.asynccontextmanager
async def restored(living: Living, folder: Path) -> AsyncIterator[tuple[dict[str, Any], datetime]]:
    """A life after which the backup of an earlier moment was restored; the events, and when that was."""
    async with _working(living.held):
        made = await first_life(living)
    since = living.clock.now()
    await dump(living, folder / "backup")
    async with _working(living.held):
        # The access token runs out meanwhile, so that the refresh token is spent.
        await living.forward(timedelta(hours=2))
        await second_life(living, made)
    await restore(living, folder / "backup")
    yield made, since


async def test_after_a_restore_zoom_has_exactly_what_is_wanted_and_no_sequence_is_used_twice(
    living: Living, every_mail: list[Mail], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await switch(living, refresh_grace_seconds=10**6)
    await grant(living, *LISTS)
    async with restored(living, tmp_path) as (made, since):
        said, complete = await reconciled(living, since, capsys)
        assert complete, said
        assert NOTHING not in said
        # Nobody has worked yet, and nothing is to be written down any more.
        said, complete = await reconciled(living, since, capsys)
        assert (NOTHING in said, complete) == (True, True), said
        async with _working(living.held):
            await rests(living)
        await assert_zoom_has_what_is_wanted(living)
        assert await calendars.assert_they_agree(living, every_mail)
        said, complete = await reconciled(living, since, capsys)
        assert (NOTHING in said, complete) == (True, True), said
        async with _working(living.held):
            for name in ("stays", "renamed", "cancelled", "left", "joined", "moved"):
                await change(living, made[name], title=f"Changed after all: {name}")
            await rests(living)
        await assert_zoom_has_what_is_wanted(living)
        assert_no_number_is_used_twice(every_mail)
        assert await calendars.assert_they_agree(living, every_mail)


async def test_a_dry_run_shows_the_plan_and_changes_nothing(
    living: Living, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await grant(living, *LISTS)
    async with _working(living.held):
        await living.connect()
        event = await living.event()
    since = living.clock.now()
    await dump(living, tmp_path / "backup")
    async with _working(living.held):
        await living.event(title="Made since", starts_at=in_days(3), ends_at=in_days(3, 1))
        await change(living, event, title="Renamed since")
    await restore(living, tmp_path / "backup")
    before, called = await everything(living), await changing_calls(living)
    said, complete = await reconciled(living, since, capsys, dry_run=True)
    assert complete
    assert {"raise", "read", "delete", "correct"} <= {line.split()[0] for line in said.splitlines() if line}
    assert "Made since" not in said, "titles are nobody's business"
    assert await everything(living) == before
    assert await changing_calls(living) == called


async def test_what_was_being_made_when_the_backup_was_taken_is_adopted_and_not_made_again(
    living: Living, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await grant(living, *LISTS)
    async with _working(living.held):
        await living.connect()
        host_id = (await living.hosts())["ada@riverside.example"]["id"]
    body = {"title": "Open evening", "starts_at": in_days(3), "ends_at": in_days(3, 1), "timezone": "UTC"}
    path = f"/api/communities/{COMMUNITY['slug']}/events"
    wanted = body | {"is_virtual": True, "delivery_mode": "zoom", "host_id": host_id}
    event = (await living.post("admin", path, wanted)).json()
    answered = await living.call("member", "PUT", f"/api/events/{event['id']}/rsvp", json={"status": "going"})
    answered.raise_for_status()
    since = living.clock.now()
    await dump(living, tmp_path / "backup")
    async with _working(living.held):
        await rests(living)
    await restore(living, tmp_path / "backup")
    (made,) = await at_zoom(living)
    called = await changing_calls(living)
    said, complete = await reconciled(living, since, capsys)
    assert complete
    assert f"adopt          meeting {made['id']}" in said
    async with _working(living.held):
        await rests(living)
    assert [meeting["id"] for meeting in await at_zoom(living)] == [made["id"]]
    assert ADD not in (await changing_calls(living))[len(called) :], "her registrant was adopted, too"
    await assert_zoom_has_what_is_wanted(living)


async def test_with_the_required_scopes_alone_everybody_known_converges_and_the_rest_is_said(
    living: Living, every_mail: list[Mail], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await switch(living, refresh_grace_seconds=10**6)
    async with restored(living, tmp_path) as (made, since):
        said, complete = await reconciled(living, since, capsys)
        assert complete
        assert all(scope in said for scope in LISTS)
        async with _working(living.held):
            # A restored service is told of what goes on at Zoom again.
            lost = next(meeting for meeting in await at_zoom(living) if meeting["topic"] == "Made since")
            await notify_created(living, lost)
            await rests(living)
        said, complete = await reconciled(living, since, capsys)
        assert f"delete  meeting {lost['id']}" in said
        async with _working(living.held):
            await rests(living)
        said, complete = await reconciled(living, since, capsys)
        assert NOTHING in said
        there = {meeting["topic"]: meeting for meeting in await at_zoom(living)}
        # Nobody has told of what was made on another host.
        assert [(meeting["topic"]) for meeting in await at_zoom(living)].count("Event that is moved") == 2
        assert coming(there["Event that is left"]) == ["member@members.example"]
        assert coming(there["Event that is joined"]) == []
        assert coming(there["Event that is renamed"]) == ["member@members.example"]
        assert_no_number_is_used_twice(every_mail)
    assert made


async def test_a_connection_that_was_renewed_since_is_shown_and_all_is_well_once_it_is_made_again(
    living: Living, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await grant(living, *LISTS)
    async with restored(living, tmp_path) as (_, since):
        said, complete = await reconciled(living, since, capsys)
        assert not complete
        assert "needs to be connected again" in said
        assert AGAIN in said
        card = (await living.get("admin", CARD)).json()
        assert [account["status"] for account in card["accounts"]] == ["needs_reauth"]
        async with _working(living.held):
            await living.connect()
            await rests(living)
        said, complete = await reconciled(living, since, capsys)
        assert complete, said
        async with _working(living.held):
            await rests(living)
        await assert_zoom_has_what_is_wanted(living)
        assert NOTHING in (await reconciled(living, since, capsys))[0]


async def test_it_can_be_interrupted_and_run_beside_workers(
    living: Living, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    await switch(living, refresh_grace_seconds=10**6)
    await grant(living, *LISTS)
    async with restored(living, tmp_path) as (_, since):
        applied, whole = 0, applying._apply

        async def interrupted(*arguments: Any) -> None:
            nonlocal applied
            applied += 1
            if applied == 3:
                raise KeyboardInterrupt
            await whole(*arguments)

        with monkeypatch.context() as patched:
            patched.setattr(applying, "_apply", interrupted)
            with pytest.raises(KeyboardInterrupt):
                await reconciled(living, since, capsys)
        async with _working(living.held):
            said, complete = await reconciled(living, since, capsys)
            assert (NOTHING in said, complete) == (False, True)
            await rests(living)
        await assert_zoom_has_what_is_wanted(living)
        assert NOTHING in (await reconciled(living, since, capsys))[0]


async def test_what_was_held_since_is_adopted_as_it_is(
    living: Living, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await switch(living, refresh_grace_seconds=10**6)
    await grant(living, *LISTS)
    async with _working(living.held):
        await living.connect()
        host_id = (await living.hosts())["ada@riverside.example"]["id"]
    starts = living.clock.now().replace(microsecond=0) + timedelta(minutes=30)
    body = {"title": "Open evening", "starts_at": starts.isoformat(), "timezone": "UTC", "is_virtual": True}
    wanted = {"ends_at": (starts + timedelta(hours=1)).isoformat(), "delivery_mode": "zoom", "host_id": host_id}
    event = (await living.post("admin", f"/api/communities/{COMMUNITY['slug']}/events", body | wanted)).json()
    since = living.clock.now()
    await dump(living, tmp_path / "backup")
    async with _working(living.held):
        await living.quiet()
        (made,) = await at_zoom(living)
        await living.forward(timedelta(minutes=31))
        (await living.zoom.post(f"/simulator/meetings/{made['id']}/start")).raise_for_status()
        await living.forward(timedelta(minutes=60))
        (await living.zoom.post(f"/simulator/meetings/{made['id']}/end")).raise_for_status()
        await later(living, 30)
    await restore(living, tmp_path / "backup")
    called = await changing_calls(living)
    said, complete = await reconciled(living, since, capsys)
    assert complete
    assert f"adopt          meeting {made['id']}" in said
    async with _working(living.held):
        await rests(living)
    assert await changing_calls(living) == called, "it is over: nobody changes it"
    seen = (await living.get("admin", f"/api/events/{event['id']}")).json()
    assert (seen["status"], seen["zoom"]["meeting_id"]) == ("ended", str(made["id"]))
    assert NOTHING in (await reconciled(living, since, capsys))[0]
