"""The service counts its calls to vendors and their outcomes."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from app.core import metrics, shared_metrics
from tests.support.live_steps import live_event, open_stream
from tests.support.service import RunningService
from tests.support.steps import ADD, CREATE, rsvp, set_faults
from tests.support.timeouts import TIMEOUT


def sample_value(sample: str, **labels: str) -> float:
    """Return the current value of a sample."""
    return metrics.REGISTRY.get_sample_value(f"kindryn_zoom_{sample}", labels) or 0


def account_counts() -> list[float | None]:
    """Return the number of accounts by status; None where it was not counted yet."""
    name = "kindryn_zoom_accounts"
    return [metrics.REGISTRY.get_sample_value(name, {"status": status}) for status in metrics.STATUSES]


def calls(vendor: str, operation: str, outcome: str) -> float:
    """Return how many calls have ended with this outcome."""
    return sample_value("vendor_calls_total", vendor=vendor, operation=operation, outcome=outcome)


async def test_calls_to_zoom_to_the_mail_server_and_for_keys_are_counted_and_timed(service: RunningService) -> None:
    expected_calls = [
        *(("zoom", "exchange", "200"), ("zoom", "get_me", "200"), ("zoom", "create_meeting", "201")),
        *(("zoom", "add_registrant", "201"), ("mail", "send", "sent"), ("jwks", "fetch", "200")),
    ]
    before = {call: calls(*call) for call in expected_calls}
    timed = sample_value("vendor_call_seconds_count", vendor="zoom", operation="create_meeting")
    fetched = sample_value("jwks_refreshes_total", outcome="fetched")
    lag = sample_value("notification_lag_seconds_count")
    await service.connect()
    await rsvp(service, await service.create_event())
    assert [call for call in expected_calls if calls(*call) <= before[call]] == []
    assert sample_value("vendor_call_seconds_count", vendor="zoom", operation="create_meeting") == timed + 1
    assert sample_value("jwks_refreshes_total", outcome="fetched") > fetched
    assert sample_value("notification_lag_seconds_count") > lag


async def test_a_call_that_zoom_refuses_or_never_answers_is_counted_as_that(service: RunningService) -> None:
    await service.connect()
    await set_faults(service, {"kind": "lose_answer", "operation": CREATE, "times": 1})
    before = calls("zoom", "create_meeting", "RemoteProtocolError")
    event = await service.create_event()
    assert calls("zoom", "create_meeting", "RemoteProtocolError") == before + 1
    await set_faults(service, {"kind": "status", "operation": ADD, "status": 503, "times": 1})
    before = calls("zoom", "add_registrant", "503")
    await rsvp(service, event)
    assert calls("zoom", "add_registrant", "503") == before + 1


async def test_a_limit_of_zooms_that_was_met_is_counted_by_its_label(service: RunningService) -> None:
    await service.connect()
    event = await service.create_event()
    before = sample_value("rate_limited_total", label="light")
    await set_faults(service, {"kind": "rate_per_second", "operation": ADD, "times": 1})
    await rsvp(service, event)
    assert sample_value("rate_limited_total", label="light") == before + 1


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        (None, "renewed"),
        ({"kind": "invalid_grant", "operation": "oauthRefresh", "times": None}, "NeedsReauth"),
        ({"kind": "status", "operation": "oauthRefresh", "status": 503, "times": 1}, "OutcomeUnknown"),
    ],
)
async def test_refreshes_of_a_grant_are_counted_by_what_came_of_them(
    service: RunningService, fault: dict[str, Any] | None, outcome: str
) -> None:
    await service.connect()
    event = await service.create_event()
    await set_faults(service, *[fault] if fault else [])
    before = sample_value("token_refreshes_total", outcome=outcome)
    await service.advance_clock(timedelta(hours=1))
    (await service.patch("admin", f"/api/events/{event['id']}", {"title": "Another evening"})).raise_for_status()
    await service.wait_idle()
    assert sample_value("token_refreshes_total", outcome=outcome) > before


async def test_open_streams_and_connections_in_use_are_shown(service: RunningService) -> None:
    event = await live_event(service, "member")
    before = sample_value("live_listeners")
    async with open_stream(service, event):
        assert sample_value("live_listeners") == before + 1
    async with asyncio.timeout(TIMEOUT):
        while sample_value("live_listeners") != before:  # noqa: ASYNC110 - a gauge sets no event
            await asyncio.sleep(0.01)
    assert sample_value("database_connections_max", pool="statements") == 10
    assert sample_value("database_connections_max", pool="transactions") == 20


async def test_connections_in_use_are_counted_when_somebody_looks(service: RunningService) -> None:
    metrics.pool_opened("statements", 10, lambda: service.resources.db.pool.busy)
    hanging = asyncio.create_task(service.resources.db.pool.fetchval("SELECT pg_sleep(600)"))
    async with asyncio.timeout(TIMEOUT):
        while not sample_value("database_connections_busy", pool="statements"):  # noqa: ASYNC110 - a gauge sets no event
            await asyncio.sleep(0.01)
    hanging.cancel()
    await asyncio.gather(hanging, return_exceptions=True)


async def test_accounts_are_counted_by_status_and_work_by_state_zeros_too(
    service: RunningService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_metrics, "INTERVAL", 0.05)
    async with asyncio.timeout(TIMEOUT):
        while not sample_value("outbox_rows", state="waiting"):  # noqa: ASYNC110 - a gauge sets no event
            await asyncio.sleep(0.01)  # the periodic jobs are due again
        while None in (shown := account_counts()):  # noqa: ASYNC110 - as above; accounts are counted after the outbox
            await asyncio.sleep(0.01)
    assert shown == [0, 0, 0]
    assert metrics.REGISTRY.get_sample_value("kindryn_zoom_outbox_rows", {"state": "dead"}) == 0
