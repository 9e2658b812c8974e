"""The API with nobody at work behind it, and hosts of a Zoom account that was connected once."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from app.accounts.models import Account, Host
from app.core.models import Community
from app.demo.mailbox import Mailbox
from tests.living import COMMUNITY, Living, alive

EVENTS = f"/api/communities/{COMMUNITY['slug']}/events"
SPACES = f"/api/communities/{COMMUNITY['slug']}/spaces"


@pytest.fixture
async def idle(database_url: str, redis_url: str, mailbox: Mailbox) -> AsyncIterator[Living]:
    """The service without a worker: nothing happens by itself."""
    async with alive(database_url, redis_url, mailbox, worker=False) as living:
        yield living


@dataclass(frozen=True)
class Hosts:
    """An account with two licensed hosts; Rosa is `member2`."""

    account: UUID
    rosa: UUID
    liam: UUID


@pytest.fixture
async def hosts(idle: Living) -> Hosts:
    """Hosts that are there without Zoom."""
    made = Hosts(uuid4(), uuid4(), uuid4())
    async with idle.held.db.transaction() as tx:
        tx.session.add(Community(**COMMUNITY))
        await tx.session.flush()
        tx.session.add(
            Account(
                id=made.account,
                community_id=COMMUNITY["id"],
                zoom_account_id="riverside",
                zoom_user_id="rosa",
                own_user_only="",
                status="connected",
                connected_by="m-admin",
                connected_at=tx.now,
            )
        )
        await tx.session.flush()
        for host_id, name, member_id in ((made.rosa, "Rosa", "m-member2"), (made.liam, "Liam", None)):
            tx.session.add(
                Host(
                    id=host_id,
                    account_id=made.account,
                    zoom_user_id=name,
                    email=f"{name.lower()}@zoom.example",
                    name=name,
                    licensed=True,
                    listed=True,
                    member_id=member_id,
                )
            )
    return made


def at(living: Living, **later: float) -> datetime:
    """A whole hour, so much later than now; the same one in all of a test."""
    now = living.clock.began + living.clock.ahead
    return (now + timedelta(**later)).replace(minute=0, second=0, microsecond=0)


def wished(living: Living, **wishes: Any) -> dict[str, Any]:
    """The body of an event tomorrow that runs nowhere in particular."""
    starts = at(living, days=1)
    body = {"title": "Circle", "starts_at": starts, "ends_at": starts + timedelta(hours=1), "timezone": "Europe/Berlin"}
    return {name: str(value) if isinstance(value, UUID) else _text(value) for name, value in (body | wishes).items()}


def _text(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


async def scheduled(living: Living, **wishes: Any) -> Any:
    """An event made by the admin, as the answer showed it."""
    answer = await living.post("admin", EVENTS, wished(living, **wishes))
    assert answer.status_code == 201, answer.text
    return answer.json()


async def answered(living: Living, who: str, event: Any, status: str) -> None:
    """A member's RSVP."""
    answer = await living.call(who, "PUT", f"/api/events/{event['id']}/rsvp", json={"status": status})
    assert answer.status_code == 200, answer.text


def url(event: Any) -> str:
    """Where an event is."""
    return f"/api/events/{event['id']}"
