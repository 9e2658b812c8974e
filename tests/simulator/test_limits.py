from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from app.simulator.clock import Clock
from app.simulator.limits import (
    HOST_DAILY,
    RATE_LIMITS,
    Limit,
    Tally,
    period_start,
    rate_headers,
    resets_at,
    retry_after,
)
from app.simulator.switches import Switches
from tests.simulator.driver import ADA, BEN, WIL, ZoomDriver

NOON = datetime(2026, 11, 22, 12, 0, 0, 400_000, tzinfo=UTC)


@dataclass(frozen=True)
class FakeClock(Clock):
    """A clock that stands still."""

    moment: datetime = NOON

    def now(self) -> datetime:
        """Return the same moment each time."""
        return self.moment


def spend(zoom: ZoomDriver, key: str, limit: Limit, times: int) -> None:
    """Count calls as already made today."""
    for _ in range(times):
        zoom.simulator.tally.spend(key, limit, zoom.simulator.now())


async def move_to_next_day(zoom: ZoomDriver, email: str = ADA) -> None:
    """Move to just after UTC midnight, with a fresh token."""
    now = datetime.now(UTC)
    await zoom.control("PUT", "/clock", {"seconds": (resets_at("day", now) - now).total_seconds() + 1})
    await zoom.connect(email)


def test_a_tally_counts_per_key_and_period() -> None:
    limit, tally = Limit(2, "second", "Light"), Tally()
    tally.spend("a", limit, NOON)
    tally.spend("a", limit, NOON + timedelta(seconds=0.5))
    assert tally.remaining("a", limit, NOON) == 0
    assert tally.remaining("b", limit, NOON) == 2
    assert tally.remaining("a", limit, NOON + timedelta(seconds=0.6)) == 2


def test_days_are_utc_days() -> None:
    assert period_start("day", NOON) == datetime(2026, 11, 22, tzinfo=UTC)
    assert resets_at("day", NOON) == datetime(2026, 11, 23, tzinfo=UTC)
    assert resets_at("minute", NOON) == datetime(2026, 11, 22, 12, 1, tzinfo=UTC)


def test_retry_after_has_every_form_it_was_seen_in() -> None:
    midnight = resets_at("day", NOON)
    assert retry_after("none", midnight, NOON) == {}
    assert retry_after("seconds", midnight, NOON) == {"Retry-After": "43200"}
    assert retry_after("iso", midnight, NOON) == {"Retry-After": "2026-11-23T00:00:00Z"}
    assert retry_after("http-date", midnight, NOON) == {"Retry-After": "Mon, 23 Nov 2026 00:00:00 GMT"}


def test_headers_are_the_category_alone_or_the_full_set() -> None:
    assert rate_headers("Light", HOST_DAILY, 0, NOON, Switches()) == {"X-RateLimit-Category": "Light"}
    full = rate_headers("Light", HOST_DAILY, 0, NOON, Switches(rate_headers="full", retry_after="iso"))
    assert full == {
        "X-RateLimit-Category": "Light",
        "X-RateLimit-Type": "Daily-limit",
        "X-RateLimit-Limit": "100",
        "X-RateLimit-Remaining": "0",
        "Retry-After": "2026-11-23T00:00:00Z",
    }
    qps = rate_headers("Heavy", Limit(1, "second", "Heavy"), 0, NOON, Switches(rate_headers="full"))
    assert qps["X-RateLimit-Type"] == "QPS"
    assert qps["X-RateLimit-Reset"] == "2026-11-22T12:00:01Z"


@pytest.mark.parametrize(("email", "path", "allowed"), [(WIL, "/users/me", 4), (WIL, "/users", 2), (ADA, "/users", 60)])
async def test_calls_per_second_depend_on_plan_and_label(
    limited: ZoomDriver, email: str, path: str, allowed: int
) -> None:
    limited.simulator.clock = FakeClock(moment=NOON)
    await limited.connect(email)
    statuses = [(await limited.call("GET", path)).status_code for _ in range(allowed + 1)]
    assert statuses == [200] * allowed + [429]
    limited.simulator.clock = FakeClock(moment=NOON + timedelta(seconds=1))
    assert (await limited.call("GET", path)).status_code == 200


async def test_the_per_second_body_is_zooms(limited: ZoomDriver) -> None:
    sentence = "You have reached the maximum per-second rate limit for this API. Try again later."
    fault = {"kind": "rate_per_second", "times": 2}
    await limited.control("PUT", "/faults", {"calls": [fault]})
    hit = await limited.call("GET", "/users/me")
    assert (hit.status_code, hit.json()) == (429, {"code": 429, "message": sentence})
    assert "retry-after" not in hit.headers
    await limited.control("PUT", "/switches", {"per_second_code": 4001})
    assert (await limited.call("GET", "/users/me")).json()["code"] == 4001


async def test_a_free_account_has_six_thousand_light_calls_a_day(limited: ZoomDriver) -> None:
    await limited.connect(WIL)
    wil = (await limited.call("GET", "/users/me")).json()
    _, daily = RATE_LIMITS["free"]["Light"]
    spend(limited, wil["account_id"], daily, 5_998)
    assert (await limited.call("GET", "/users/me")).status_code == 200
    refused = await limited.call("GET", "/users/me")
    assert (refused.status_code, refused.json()["code"]) == (429, 429)
    assert refused.json()["message"].startswith("You have reached the maximum daily rate limit for this API.")
    await move_to_next_day(limited, WIL)
    assert (await limited.call("GET", "/users/me")).status_code == 200


async def test_a_host_has_a_hundred_creates_and_updates_a_day(limited: ZoomDriver) -> None:
    meeting = await limited.meeting(ADA)
    spend(limited, meeting["host_id"], HOST_DAILY, 98)
    path = f"/meetings/{meeting['id']}"
    assert (await limited.call("PATCH", path, {"topic": "The hundredth"})).status_code == 204
    for refused in (
        await limited.call("PATCH", path, {"topic": "One too many"}),
        await limited.call("POST", f"/users/{ADA}/meetings", {}),
    ):
        assert refused.status_code == 429
        assert refused.json() == {
            "code": 429,
            "message": "You have exceeded the daily rate limit (100) of Meeting Create/Update API requests permitted"
            " for this particular user. You may resume these requests at GMT 00:00:00.",
        }
    assert (await limited.call("GET", path)).json()["topic"] == "The hundredth"
    assert (await limited.meeting(BEN))["host_email"] == BEN
    assert (await limited.call("DELETE", path)).status_code == 204
    await move_to_next_day(limited)
    assert (await limited.meeting(ADA))["host_email"] == ADA


async def test_a_registrant_is_added_three_times_a_day_per_meeting(limited: ZoomDriver) -> None:
    meeting, other = await limited.meeting(), await limited.meeting()
    for _ in range(3):
        assert (await limited.add(meeting["id"])).status_code == 201
    refused = await limited.add(meeting["id"])
    assert refused.status_code == 429
    assert refused.json() == {
        "code": 429,
        "message": "You have exceeded the daily rate limit of (3) for Add meeting registrant API requests for the"
        " registrant (mia@member.example). You can resume these API requests at GMT 00:00:00.",
    }
    assert (await limited.add(other["id"])).status_code == 201
    assert (await limited.add(meeting["id"], "noa@member.example")).status_code == 201
    await move_to_next_day(limited)
    assert (await limited.add(meeting["id"])).status_code == 201


async def test_the_three_a_day_can_count_across_meetings(limited: ZoomDriver) -> None:
    await limited.control("PUT", "/switches", {"registrant_limit_key": "email"})
    meeting, other = await limited.meeting(), await limited.meeting()
    for _ in range(3):
        await limited.add(meeting["id"])
    assert (await limited.add(other["id"])).status_code == 429


async def test_a_status_changes_ten_times_a_day(limited: ZoomDriver) -> None:
    meeting = await limited.meeting()
    await limited.add(meeting["id"])
    path = f"/meetings/{meeting['id']}/registrants/status"
    body = {"action": "approve", "registrants": [{"email": "mia@member.example"}]}
    for _ in range(10):
        assert (await limited.call("PUT", path, body)).status_code == 204
    refused = await limited.call("PUT", path, body)
    assert refused.status_code == 429
    assert "daily rate limit of (10) for Update registrant's status" in refused.json()["message"]


async def test_limits_can_be_switched_off(limited: ZoomDriver) -> None:
    await limited.control("PUT", "/switches", {"enforce_limits": False})
    meeting = await limited.meeting()
    assert [(await limited.add(meeting["id"])).status_code for _ in range(5)] == [201] * 5
