"""Fixtures: a service without a worker, and the hosts of a connected Zoom account."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from app.accounts.models import Account, Host
from app.core.models import Community
from app.devstack.mailbox import Mailbox
from tests.support.service import COMMUNITY, RunningService, run_service

EVENTS = f"/api/communities/{COMMUNITY['slug']}/events"
SPACES = f"/api/communities/{COMMUNITY['slug']}/spaces"


@pytest.fixture
async def idle(database_url: str, redis_url: str, mailbox: Mailbox) -> AsyncIterator[RunningService]:
    """A service without a worker: no job runs."""
    async with run_service(database_url, redis_url, mailbox, worker=False) as service:
        yield service


@dataclass(frozen=True)
class Hosts:
    """An account with two licensed hosts; Rosa is `member2`."""

    account: UUID
    rosa: UUID
    liam: UUID


@pytest.fixture
async def hosts(idle: RunningService) -> Hosts:
    """Insert an account and its hosts, without any call to Zoom."""
    made = Hosts(uuid4(), uuid4(), uuid4())
    async with idle.resources.db.transaction() as tx:
        tx.session.add(Community(**COMMUNITY))
        await tx.session.flush()
        tx.session.add(
            Account(
                id=made.account,
                community_id=COMMUNITY["id"],
                zoom_account_id="riverside",
                zoom_user_id="rosa",
                user_scope="",
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


def whole_hour(service: RunningService, **offset: float) -> datetime:
    """Return a whole hour at this offset from the start of the test; the same one throughout the test."""
    now = service.clock.started_at + service.clock.ahead
    return (now + timedelta(**offset)).replace(minute=0, second=0, microsecond=0)


def event_body(service: RunningService, **fields: Any) -> dict[str, Any]:
    """Return the body of an event for tomorrow that runs nowhere in particular."""
    starts = whole_hour(service, days=1)
    body = {"title": "Circle", "starts_at": starts, "ends_at": starts + timedelta(hours=1), "timezone": "Europe/Berlin"}
    return {name: str(value) if isinstance(value, UUID) else _text(value) for name, value in (body | fields).items()}


def _text(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


async def create_event(service: RunningService, **fields: Any) -> Any:
    """Create an event as the admin, and return it as the response shows it."""
    response = await service.post("admin", EVENTS, event_body(service, **fields))
    assert response.status_code == 201, response.text
    return response.json()


async def set_rsvp(service: RunningService, who: str, event: Any, status: str) -> None:
    """Set the RSVP of a member."""
    response = await service.call(who, "PUT", f"/api/events/{event['id']}/rsvp", json={"status": status})
    assert response.status_code == 200, response.text


def url(event: Any) -> str:
    """Return the path of an event."""
    return f"/api/events/{event['id']}"
