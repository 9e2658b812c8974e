"""What the service does at its vendors, and what befalls it there, is counted."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from app.core import metrics, overview
from tests.live.house import listening, live_evening
from tests.living import Living
from tests.meetings.house import ADD, CREATE, faults, rsvp
from tests.patience import PATIENCE


def counted(sample: str, **labels: str) -> float:
    """A sample as it is now."""
    return metrics.REGISTRY.get_sample_value(f"kindryn_zoom_{sample}", labels) or 0


def calls(vendor: str, operation: str, outcome: str) -> float:
    """How many calls ended so, so far."""
    return counted("vendor_calls_total", vendor=vendor, operation=operation, outcome=outcome)


async def test_calls_to_zoom_to_the_mail_server_and_for_keys_are_counted_and_timed(living: Living) -> None:
    asked = [
        *(("zoom", "exchange", "200"), ("zoom", "get_me", "200"), ("zoom", "create_meeting", "201")),
        *(("zoom", "add_registrant", "201"), ("mail", "send", "sent"), ("jwks", "fetch", "200")),
    ]
    before = {call: calls(*call) for call in asked}
    timed = counted("vendor_call_seconds_count", vendor="zoom", operation="create_meeting")
    fetched = counted("jwks_refreshes_total", outcome="fetched")
    lag = counted("notification_lag_seconds_count")
    await living.connect()
    await rsvp(living, await living.event())
    assert [call for call in asked if calls(*call) <= before[call]] == []
    assert counted("vendor_call_seconds_count", vendor="zoom", operation="create_meeting") == timed + 1
    assert counted("jwks_refreshes_total", outcome="fetched") > fetched
    assert counted("notification_lag_seconds_count") > lag


async def test_a_call_that_zoom_refuses_or_never_answers_is_counted_as_that(living: Living) -> None:
    await living.connect()
    await faults(living, {"kind": "lose_answer", "operation": CREATE, "times": 1})
    before = calls("zoom", "create_meeting", "RemoteProtocolError")
    event = await living.event()
    assert calls("zoom", "create_meeting", "RemoteProtocolError") == before + 1
    await faults(living, {"kind": "status", "operation": ADD, "status": 503, "times": 1})
    before = calls("zoom", "add_registrant", "503")
    await rsvp(living, event)
    assert calls("zoom", "add_registrant", "503") == before + 1


async def test_a_limit_of_zooms_that_was_met_is_counted_by_its_label(living: Living) -> None:
    await living.connect()
    event = await living.event()
    before = counted("rate_limited_total", label="light")
    await faults(living, {"kind": "rate_per_second", "operation": ADD, "times": 1})
    await rsvp(living, event)
    assert counted("rate_limited_total", label="light") == before + 1


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        (None, "renewed"),
        ({"kind": "invalid_grant", "operation": "oauthRefresh", "times": None}, "NeedsReauth"),
        ({"kind": "status", "operation": "oauthRefresh", "status": 503, "times": 1}, "OutcomeUnknown"),
    ],
)
async def test_refreshes_of_a_grant_are_counted_by_what_came_of_them(
    living: Living, fault: dict[str, Any] | None, outcome: str
) -> None:
    await living.connect()
    event = await living.event()
    await faults(living, *[fault] if fault else [])
    before = counted("token_refreshes_total", outcome=outcome)
    await living.forward(timedelta(hours=1))
    (await living.patch("admin", f"/api/events/{event['id']}", {"title": "Another evening"})).raise_for_status()
    await living.quiet()
    assert counted("token_refreshes_total", outcome=outcome) > before


async def test_open_streams_and_connections_in_use_are_shown(living: Living) -> None:
    event = await live_evening(living, "member")
    before = counted("live_listeners")
    async with listening(living, event):
        assert counted("live_listeners") == before + 1
    async with asyncio.timeout(PATIENCE):
        while counted("live_listeners") != before:  # noqa: ASYNC110 - a gauge rings nobody
            await asyncio.sleep(0.01)
    assert counted("database_connections_most", pool="statements") == 10
    assert counted("database_connections_most", pool="transactions") == 20


async def test_connections_in_use_are_counted_when_somebody_looks(living: Living) -> None:
    metrics.pool_opened("statements", 10, lambda: living.held.db.hot.busy)
    hanging = asyncio.create_task(living.held.db.hot.fetchval("SELECT pg_sleep(600)"))
    async with asyncio.timeout(PATIENCE):
        while not counted("database_connections_busy", pool="statements"):  # noqa: ASYNC110 - a gauge rings nobody
            await asyncio.sleep(0.01)
    hanging.cancel()
    await asyncio.gather(hanging, return_exceptions=True)


async def test_accounts_are_counted_by_status_and_work_by_state_zeros_too(
    living: Living, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overview, "EVERY", 0.05)
    async with asyncio.timeout(PATIENCE):
        while not counted("outbox_rows", state="waiting"):  # noqa: ASYNC110 - a gauge rings nobody
            await asyncio.sleep(0.01)  # the sweeps are to be done again
    shown = [
        metrics.REGISTRY.get_sample_value("kindryn_zoom_accounts", {"status": status}) for status in metrics.STATUSES
    ]
    assert shown == [0, 0, 0]
    assert metrics.REGISTRY.get_sample_value("kindryn_zoom_outbox_rows", {"state": "dead"}) == 0
