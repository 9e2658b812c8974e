"""Joining with forwarded links, moved events, double clicks, and people who come back."""

import asyncio
import contextlib
import re
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from time import perf_counter
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from app.core import outbox
from app.devstack.mailbox import Mailbox
from tests.support.load_client import PEOPLE, LoadClient, LoadTest, TimedResponse, load_test, personal_link
from tests.support.service import COMMUNITY, RunningService, run_service
from tests.support.steps import cancel, change, get_event, rsvp

PAGE = {"Accept": "text/html,application/xhtml+xml"}
PREFETCHES = ({"Purpose": "prefetch"}, {"Sec-Purpose": "prefetch;prerender"}, {"X-Moz": "prefetch"})
LINK = re.compile(r"/join/([A-Za-z0-9_-]+)")


@pytest.fixture
async def event(service: RunningService) -> Any:
    """An event on Zoom tomorrow with Mia, `member`, going."""
    await service.connect()
    event = await service.create_event()
    await rsvp(service, event)
    return event


async def advance_to(service: RunningService, moment: str, **later: float) -> None:
    """Advance to a time of the event, or to this much later."""
    await service.advance_clock(datetime.fromisoformat(moment) + timedelta(**later) - service.clock.now())


async def act_in_meeting(service: RunningService, event: dict[str, Any], action: str) -> None:
    """Start or end the meeting as its host in Zoom."""
    (await service.zoom.post(f"/simulator/meetings/{event['zoom']['meeting_id']}/{action}")).raise_for_status()
    await service.wait_idle()


async def click_join(
    service: RunningService, event: dict[str, Any], who: str = "member", **options: Any
) -> httpx.Response:
    """Click on Join."""
    return await service.post(who, f"/api/events/{event['id']}/zoom-join", **options)


async def open_page(service: RunningService, who: str | None, path: str, **headers: str) -> httpx.Response:
    """Open a page in a browser with a persona's cookie, or without one."""
    token = service.platform.token(who, service.clock.now()) if who else None
    cookie = {"Cookie": f"{service.settings.auth_cookie}={token}"} if token else {}
    return await service.api.get(path, headers=PAGE | cookie | headers)


async def invite_link(service: RunningService, to: str = "member@members.example") -> str:
    """Return the link in a person's invitation."""
    mail = await service.mailbox.next(to=to)
    body = mail.message.get_body(("plain",))
    found = LINK.search(str(body.get_content() if body else ""))
    assert found is not None
    return f"/join/{found[1]}"


async def stored_counts(service: RunningService) -> list[int]:
    """Return the numbers of clicks and tickets."""
    tables = ("clicks", "tickets")
    return [await service.resources.db.pool.fetchval(f"SELECT count(*) FROM {table}") for table in tables]  # noqa: S608 - our own tables


def problem_slug(answer: httpx.Response) -> str:
    """Return the slug of a problem."""
    return str(answer.json()["type"]).rpartition("/")[2]


async def test_a_forwarded_join_link_lets_nobody_else_in(service: RunningService, event: Any) -> None:
    link = await invite_link(service)
    await rsvp(service, event, "member2")
    own = await invite_link(service, "member2@members.example")
    await advance_to(service, event["starts_at"])
    signed_out = await open_page(service, None, link)
    page = f"{service.settings.spa_url}/{COMMUNITY['slug']}/events/{event['id']}/join?link={link.rpartition('/')[2]}"
    assert (signed_out.status_code, signed_out.headers["location"]) == (303, page)
    offered = await open_page(service, "member2", link)
    assert (offered.status_code, f'href="{service.settings.public_url}{own}"' in offered.text) == (403, True)
    for who in ("coach", "stranger", "neighbour"):
        refused = await open_page(service, who, link)
        assert (refused.status_code, "/join/" in refused.text) == (403, False)
        with_link = await click_join(service, event, who, json={"link": link.rpartition("/")[2]})
        assert (with_link.status_code, "own_link" in with_link.json()) == (403, False)
    assert (await stored_counts(service))[1] == 0
    # The link in the response lets its owner in.
    mine = await open_page(service, "member2", own)
    assert (await open_page(service, "member2", mine.headers["location"])).status_code == 303


async def test_mail_scanners_and_link_previews_change_nothing(service: RunningService, event: Any) -> None:
    link = await invite_link(service)
    await advance_to(service, event["starts_at"])
    ticket = (await click_join(service, event)).json()["url"]
    await service.wait_idle()  # a meeting that should be running is read
    before = await stored_counts(service)
    asked = len(await service.journal())
    for path in (link, ticket):
        for headers in PREFETCHES:
            looked = await open_page(service, "member", path, **headers)
            assert (looked.status_code, looked.content) == (204, b"")
        assert (await service.api.head(path)).status_code == 204
    for _ in range(3):
        assert (await service.api.get(link)).status_code == 303
    await service.wait_idle()
    assert await stored_counts(service) == before
    assert len(await service.journal()) == asked
    assert (await service.api.get(ticket)).status_code == 303, "the pass is still good"


async def test_a_double_click_is_two_passes_and_a_pass_is_one_redirect(service: RunningService, event: Any) -> None:
    await advance_to(service, event["starts_at"])
    first, second = await asyncio.gather(click_join(service, event), click_join(service, event))
    tickets = [answer.json()["url"] for answer in (first, second)]
    assert len(set(tickets)) == 2
    locations = [(await service.api.get(ticket)).headers["location"] for ticket in tickets]
    assert len(set(locations)) == 1, "both lead to the same personal link"
    ticket = (await click_join(service, event)).json()["url"]
    answers = await asyncio.gather(*(service.api.get(ticket) for _ in range(10)))
    assert sorted(answer.status_code for answer in answers) == [303] + [410] * 9


async def test_who_comes_back_after_the_redirect_is_shown_the_way_in_again(service: RunningService, event: Any) -> None:
    await advance_to(service, event["starts_at"])
    ticket = (await click_join(service, event)).json()["url"]
    assert (await open_page(service, "member", ticket)).status_code == 303
    back = await open_page(service, "member", ticket)
    assert (back.status_code, "already used" in back.text) == (410, True)
    assert back.headers["cache-control"] == "no-store", "or the browser would show the redirect again"
    way_on = re.search(r'href="([^"]+)"', back.text)
    assert way_on is not None
    again = await open_page(service, "member", way_on[1])
    assert (await open_page(service, "member", again.headers["location"])).status_code == 303
    signed_out = await open_page(service, None, ticket)
    assert f"{service.settings.spa_url}/{COMMUNITY['slug']}/events/{event['id']}" in signed_out.text


async def test_a_pass_that_lay_around_is_refused_with_the_way_to_a_fresh_one(
    service: RunningService, event: Any
) -> None:
    await advance_to(service, event["starts_at"])
    ticket = (await click_join(service, event)).json()["url"]
    await service.advance_clock(timedelta(seconds=61))
    late = await open_page(service, "member", ticket)
    assert (late.status_code, "expired" in late.text) == (410, True)
    way_on = re.search(r'href="([^"]+)"', late.text)
    assert way_on is not None
    assert (await open_page(service, "member", way_on[1])).status_code == 303


async def test_who_clicks_on_a_page_from_before_the_move_is_told_when_it_opens_now(
    service: RunningService, event: Any
) -> None:
    link = await invite_link(service)
    await advance_to(service, event["starts_at"], minutes=-10)
    ticket = (await click_join(service, event)).json()["url"]
    starts, ends = (datetime.fromisoformat(event[name]) + timedelta(days=2) for name in ("starts_at", "ends_at"))
    await change(service, event, starts_at=starts.isoformat(), ends_at=ends.isoformat())
    opens_at = starts - timedelta(minutes=15)
    for refused in (await service.api.get(ticket), await click_join(service, event)):
        assert (refused.status_code, problem_slug(refused)) == (403, "too-early")
        assert datetime.fromisoformat(refused.json()["opens_at"]) == opens_at
    await advance_to(service, opens_at.isoformat())
    assert (await open_page(service, "member", link)).status_code == 303, "the link of the first invite is still good"


async def test_a_rehearsal_opens_the_door_for_as_long_as_it_lasts(service: RunningService, event: Any) -> None:
    assert problem_slug(await click_join(service, event)) == "too-early"
    await act_in_meeting(service, event, "start")
    assert (await click_join(service, event)).status_code == 200
    await act_in_meeting(service, event, "end")
    assert problem_slug(await click_join(service, event)) == "too-early"
    assert (await get_event(service, event))["status"] == "scheduled"
    await advance_to(service, event["starts_at"])
    assert (await click_join(service, event)).status_code == 200


async def test_an_event_that_ended_early_is_over_and_opens_again_with_its_meeting(
    service: RunningService, event: Any
) -> None:
    await advance_to(service, event["starts_at"])
    await act_in_meeting(service, event, "start")
    await advance_to(service, event["starts_at"], minutes=20)
    await act_in_meeting(service, event, "end")
    ended = await click_join(service, event)
    assert (ended.status_code, problem_slug(ended)) == (410, "event-ended")
    assert "if the host starts it again" in ended.json()["detail"]
    await act_in_meeting(service, event, "start")
    ticket = (await click_join(service, event)).json()["url"]
    assert (await service.api.get(ticket)).status_code == 303
    # A live meeting overrides the schedule, however late it gets.
    await advance_to(service, event["ends_at"], hours=2)
    assert (await click_join(service, event)).status_code == 200
    await act_in_meeting(service, event, "end")
    over = await click_join(service, event)
    assert (problem_slug(over), over.json()["detail"]) == ("event-ended", "This event has ended.")


async def test_an_event_cancelled_while_live_shuts_its_door_at_once(service: RunningService, event: Any) -> None:
    link = await invite_link(service)
    await advance_to(service, event["starts_at"])
    await act_in_meeting(service, event, "start")
    ticket = (await click_join(service, event)).json()["url"]
    await cancel(service, event)
    for refused in (await service.api.get(ticket), await click_join(service, event)):
        assert (refused.status_code, problem_slug(refused)) == (410, "event-cancelled")
    page = await open_page(service, "member", link)
    assert (page.status_code, "This event was cancelled." in page.text) == (410, True)


async def test_who_comes_before_the_host_is_let_through_to_zooms_waiting_page(
    service: RunningService, event: Any
) -> None:
    await advance_to(service, event["starts_at"], minutes=-15)
    ticket = (await click_join(service, event)).json()["url"]
    page = await service.zoom.get((await service.api.get(ticket)).headers["location"])
    assert "The host has not started this meeting yet." in page.text
    assert "as Mia Member" in page.text


async def test_the_door_opens_by_our_clock_and_forgives_the_platforms_half_a_minute(
    service: RunningService, event: Any
) -> None:
    await advance_to(service, event["starts_at"], minutes=-15, seconds=-30)
    shown = (await get_event(service, event, "member"))["join"]
    ours = datetime.fromisoformat(shown["now"])
    assert abs(ours - service.clock.now()) < timedelta(seconds=10)
    assert datetime.fromisoformat(shown["opens_at"]) == datetime.fromisoformat(event["starts_at"]) - timedelta(
        minutes=15
    )
    assert problem_slug(await click_join(service, event)) == "too-early"
    await service.advance_clock(timedelta(seconds=30))
    path = f"/api/events/{event['id']}/zoom-join"
    now = int(service.clock.now().timestamp())
    tokens = {
        "ahead by 25 s": ({"iat": now + 25, "exp": now + 3600}, 200),
        "behind by 25 s": ({"iat": now - 3600, "exp": now - 25}, 200),
        "ahead by minutes": ({"iat": now + 120, "exp": now + 3600}, 401),
        "behind by minutes": ({"iat": now - 3600, "exp": now - 120}, 401),
    }
    for claims, status in tokens.values():
        bearer = {"Authorization": f"Bearer {service.platform.token('member', service.clock.now(), **claims)}"}
        # Nobody asks a browser for its clock.
        headers = bearer | {"Date": "Thu, 01 Jan 1970 00:00:00 GMT"}
        assert (await service.api.post(path, headers=headers)).status_code == status


@pytest.fixture
async def load(database_url: str, redis_url: str, mailbox: Mailbox, tmp_path: Path) -> AsyncIterator[LoadTest]:
    """A live event, and all its members as clients of an API process, without a worker."""
    async with (
        run_service(database_url, redis_url, mailbox, worker=False) as service,
        load_test(service, tmp_path) as load,
    ):
        yield load


def print_timings(what: str, answers: Sequence[TimedResponse], seconds: float) -> None:
    """Print how fast it was."""
    times = sorted(answer.seconds for answer in answers)
    median, slowest = times[len(times) // 2], times[-1]
    print(f"{what}: {len(answers)} in {seconds:.2f} s; the middle one {median:.2f} s, the slowest {slowest:.2f} s")  # noqa: T201 - the figure is wanted


async def test_five_hundred_people_at_once_all_come_in_by_their_own_links(load: LoadTest) -> None:
    await load.set_registrants("ready")
    began = perf_counter()
    answers = await load.join()
    print_timings("clicks on Join", answers, perf_counter() - began)
    assert Counter(answer.status for answer in answers) == {200: PEOPLE}
    paths = [urlsplit(answer.json["url"]).path for answer in answers]
    began = perf_counter()
    redirects = await asyncio.gather(*map(LoadClient.get, load.clients, paths))
    print_timings("redirects", redirects, perf_counter() - began)
    assert Counter(answer.status for answer in redirects) == {303: PEOPLE}
    assert [answer.headers["location"] for answer in redirects] == [personal_link(f"member-{n}") for n in range(PEOPLE)]
    [row] = await load.rows("SELECT count(*) FROM clicks WHERE outcome = 'redirected'")
    assert row["count"] == PEOPLE


async def test_five_hundred_who_wait_for_their_places_keep_nobody_else_waiting(load: LoadTest) -> None:
    await load.set_registrants("pending")
    with load.service.resources.pubsub.subscribe(outbox.TOPIC) as woken:
        began = perf_counter()
        clicks = asyncio.create_task(load.join())
        # The last registrant is ready by then, or all clients have given up.
        requested = 0
        while requested < PEOPLE and not clicks.done():
            woken.clear()
            [row] = await load.rows("SELECT count(*) FROM outbox WHERE priority = 0")
            requested = row["count"]
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(woken.wait(), 0.1)
    # A request needs a free connection to the database, and the pool has ten.
    for path in ("/healthz", "/readyz"):
        assert (await load.api.get(path)).status_code == 200
    await load.set_registrants("ready")
    await load.publish()
    answers = await clicks
    print_timings("clicks on Join with a wait", answers, perf_counter() - began)
    counted = Counter(answer.status for answer in answers)
    assert set(counted) <= {200, 503}, "a click ends in a pass or in one clear sentence"
    refused = [client for client, answer in zip(load.clients, answers, strict=True) if answer.status == 503]
    for answer in answers:
        assert answer.status == 200 or (answer.headers["retry-after"], answer.json["status"]) == ("5", 503)
    print(f"{counted[200]} came in at once, {len(refused)} were told to try again in 5 s")  # noqa: T201 - likewise
    again = await load.join(refused) if refused else []
    assert {answer.status for answer in again} <= {200}
