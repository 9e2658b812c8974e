"""A guest without an account joins by a link that needs the guest's mailbox."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest

from app.joining import guest_cookie
from app.registrations import guest_codes, guests
from tests.support.mail_steps import no_mail_server
from tests.support.service import RunningService
from tests.support.steps import (
    STATUS,
    advance,
    cancel,
    change,
    get_event,
    only_meeting,
    rsvp,
    set_quota_used,
    zoom_calls,
)
from tests.support.timeouts import TIMEOUT

GUS = {"email": "gus@guests.example", "name": "Gus Guest"}
PAGE = {"Accept": "text/html,application/xhtml+xml"}
SPARE = re.compile(r"\b[A-Z]{4}-[A-Z]{4}-[A-Z]{4}\b")
LINK = re.compile(r"/guest/([A-Za-z0-9_-]+)")


@dataclass
class Browser:
    """A browser with its own cookies; redirects are followed by hand."""

    http: httpx.AsyncClient
    link: str
    origin: dict[str, str] = field(default_factory=dict)

    async def get(self, path: str = "", **headers: str) -> httpx.Response:
        """Open a page of the guest's link."""
        return await self.http.get(f"/guest/{self.link}{path}", headers=PAGE | headers)

    async def post(self, path: str = "", **fields: str) -> httpx.Response:
        """Send a form of that page."""
        return await self.http.post(f"/guest/{self.link}{path}", data=fields, headers=PAGE | self.origin)


@contextlib.asynccontextmanager
async def open_browser(service: RunningService, link: str) -> AsyncIterator[Browser]:
    """A browser that has nothing but the link."""
    url = service.settings.public_url
    async with httpx.AsyncClient(base_url=url, timeout=TIMEOUT) as http:
        yield Browser(http, link, {"Origin": url})


async def invite_guest(service: RunningService, event: dict[str, Any], **fields: Any) -> Any:
    """Invite a guest and wait until the invitation is sent."""
    answer = await service.post("admin", f"/api/events/{event['id']}/guests", GUS | fields)
    assert answer.status_code == 201, answer.text
    await service.wait_idle()
    return answer.json()


async def guest_link(service: RunningService, to: str = GUS["email"]) -> str:
    """Return the link in the guest's next mail."""
    found = LINK.search(text_of(await service.mailbox.next(to=to)))
    assert found is not None
    return found[1]


def text_of(mail: Any, kind: str = "plain") -> str:
    """Return the text of a mail."""
    return str(mail.message.get_body((kind,)).get_content())


async def request_code(service: RunningService, guest: Browser, to: str = GUS["email"]) -> str:
    """Request a code and read it from the mail."""
    requested = await guest.post("/code")
    assert requested.status_code == 303, requested.text
    assert requested.headers["location"] == f"{service.settings.public_url}/guest/{guest.link}/code"
    found = re.search(r"\b\d{6}\b", text_of(await service.mailbox.next(to=to)))
    assert found is not None
    return found[0]


async def confirm_browser(service: RunningService, guest: Browser) -> None:
    """Confirm the browser as the guest's."""
    answer = await guest.post(code=await request_code(service, guest))
    assert answer.status_code == 303, answer.text


async def rows(service: RunningService, sql: str, *values: object) -> list[Any]:
    return await service.resources.db.pool.fetch(sql, *values)


@pytest.fixture
async def event(service: RunningService) -> Any:
    """An event on Zoom tomorrow."""
    await service.connect()
    return await service.create_event()


async def test_a_guest_gets_from_the_invite_into_the_meeting(service: RunningService, event: Any) -> None:
    guest = await invite_guest(service, event)
    assert (guest["status"], guest["position"], guest["revoked_at"]) == ("going", None, None)
    assert "link" not in guest
    mail = await service.mailbox.next(to=GUS["email"])
    assert "Open evening" in str(mail.message["Subject"])
    assert "will ask for a code" in text_of(mail)
    for kind in ("plain", "html"):
        assert "zoom-reviewer" not in text_of(mail, kind), "a guest cannot open the platform's page"
        assert "vent page" not in text_of(mail, kind)
    found = LINK.search(text_of(mail))
    assert found is not None
    async with open_browser(service, found[1]) as gus:
        asked = await gus.get()
        assert (asked.status_code, asked.text.count("<button>"), asked.text.count("<h1>")) == (200, 1, 1)
        await confirm_browser(service, gus)
        early = await gus.get()
        assert (early.status_code, "15 minutes before" in early.text) == (403, True)
        await service.advance_clock(timedelta(hours=24))
        inside = await gus.http.get((await gus.get()).headers["location"])
        assert inside.status_code == 303
        assert "Gus" in (await service.zoom.get(inside.headers["location"])).text
    clicks = await rows(service, "SELECT member_id, via, outcome FROM clicks ORDER BY clicked_at")
    assert [(row["via"], row["outcome"]) for row in clicks] == [
        ("link", "too-early"),
        ("link", "ticket"),
        ("ticket", "redirected"),
    ]
    assert {row["member_id"] for row in clicks} == {f"guest:{guest['id']}"}
    [shown] = (await service.get("admin", f"/api/events/{event['id']}/guests")).json()["items"]
    assert (shown["invite"], shown["registrant"]["state"]) == ("sent", "ready")
    assert shown["confirmed_at"] is not None


async def test_whoever_only_looks_changes_nothing(service: RunningService, event: Any) -> None:
    await invite_guest(service, event)
    link = await guest_link(service)
    await service.advance_clock(timedelta(hours=24))
    async with open_browser(service, link) as scanner:
        for _ in range(3):
            assert (await scanner.get()).status_code == 200
        assert (await scanner.get(**{"Sec-Purpose": "prefetch"})).status_code == 204
        for path in ("", "/code"):
            assert (await scanner.http.head(f"/guest/{link}{path}")).status_code == 204
        assert (await scanner.get("/code")).status_code == 200
        assert dict(scanner.http.cookies) == {}
    await service.wait_idle()
    for table in ("clicks", "tickets"):
        assert await rows(service, f"SELECT FROM {table}") == []
    [row] = await rows(service, "SELECT code, codes_asked FROM guests")
    assert (row["code"], row["codes_asked"]) == (None, "[]")
    assert await rows(service, "SELECT FROM guest_codes") == []


async def test_a_forwarded_link_opens_nothing_without_the_mailbox(service: RunningService, event: Any) -> None:
    await invite_guest(service, event)
    link = await guest_link(service)
    await service.advance_clock(timedelta(hours=24))
    async with open_browser(service, link) as gus, open_browser(service, link) as other:
        await confirm_browser(service, gus)
        assert (await gus.get()).status_code == 303
        assert "<button>" in (await other.get()).text
        code = await request_code(service, other)
        tries = [await other.post(code=f"{(int(code) + n) % 1_000_000:06}") for n in range(1, 6)]
        assert [answer.status_code for answer in tries] == [403] * 4 + [410]
        assert (await other.post(code=code)).status_code == 410
        assert guest_cookie.COOKIE not in other.http.cookies
        assert (await gus.get()).status_code == 303


async def test_a_code_works_once_for_ten_minutes_and_the_latest_only(service: RunningService, event: Any) -> None:
    await invite_guest(service, event)
    link = await guest_link(service)
    async with open_browser(service, link) as gus, open_browser(service, link) as other:
        first = await request_code(service, gus)
        second = await request_code(service, gus)
        if first != second:
            assert (await gus.post(code=first)).status_code == 403
        assert (await gus.post(code=f" {second[:3]} {second[3:]}")).status_code == 303
        assert (await other.post(code=second)).status_code == 410
        late = await request_code(service, other)
        await service.advance_clock(timedelta(minutes=10))
        refused = await other.post(code=late)
        assert refused.status_code == 410
        assert refused.text.count("<button>") == 1


async def test_two_who_type_the_code_at_once_are_one_use(service: RunningService, event: Any) -> None:
    await invite_guest(service, event)
    async with open_browser(service, await guest_link(service)) as gus:
        code = await request_code(service, gus)
        answers = await asyncio.gather(*(gus.post(code=code) for _ in range(5)))
        assert sorted(answer.status_code for answer in answers) == [303] + [410] * 4


async def test_three_codes_an_hour_are_mailed(service: RunningService, event: Any) -> None:
    await invite_guest(service, event)
    async with open_browser(service, await guest_link(service)) as gus:
        for _ in range(3):
            code = await request_code(service, gus)
        often = await gus.post("/code")
        assert (often.status_code, int(often.headers["retry-after"]) > 3500) == (429, True)
        assert "in 60 minutes" in often.text
        assert (await gus.post(code=code)).status_code == 303
        await service.advance_clock(timedelta(hours=1))
        await request_code(service, gus)


async def test_whoever_holds_the_link_never_locks_the_guest_out(service: RunningService, event: Any) -> None:
    await invite_guest(service, event)
    link = await guest_link(service)
    async with open_browser(service, link) as gus, open_browser(service, link) as thief:
        code = await request_code(service, gus)
        stolen = ""
        for _ in range(3):
            stolen = await request_code(service, thief)
        assert (await thief.post("/code")).status_code == 429
        wrong = f"{(int(stolen) + 1) % 1_000_000:06}"
        assert [(await thief.post(code=wrong)).status_code for _ in range(5)] == [403] * 4 + [410]
        assert (await gus.post(code=code)).status_code == 303, "the code the guest asked for before"
    async with open_browser(service, link) as elsewhere:
        assert (await elsewhere.post(code=wrong)).status_code == 410, "who asked for none has none"
        assert (await elsewhere.post(code=await request_code(service, elsewhere))).status_code == 303
    # The thief deletes the cookies and requests codes until no more are mailed.
    asked = 0
    while asked < guest_codes.MAX_MAILS_PER_HOUR:
        async with open_browser(service, link) as thief:
            answer = await thief.post("/code")
            if answer.status_code == 429:
                break
            asked += 1
    await service.wait_idle()
    assert len(service.mailbox.all()) == guest_codes.MAX_MAILS_PER_HOUR + 1, "the invite, and so many codes"
    async with open_browser(service, link) as gus:
        often = await gus.post("/code")
        assert (often.status_code, "the longer one" in often.text) == (429, True)
        spare = SPARE.search(text_of(service.mailbox.all()[-1]))
        assert spare is not None
        assert (await gus.post(code="BCDF-GHJK-LMNP")).status_code == 410
        assert (await gus.post(code=f" {spare[0].lower()} ")).status_code == 303
        assert (await gus.get()).status_code == 403, "the guest is known, and early"


async def test_a_code_counts_only_in_the_browser_that_asked_for_it(service: RunningService, event: Any) -> None:
    await invite_guest(service, event)
    link = await guest_link(service)
    async with open_browser(service, link) as gus, open_browser(service, link) as thief:
        mine, other = await request_code(service, gus), await request_code(service, thief)
        if mine != other:
            assert (await thief.post(code=mine)).status_code == 403
        assert (await gus.post(code=mine)).status_code == 303
        assert (await thief.post(code=other)).status_code == 303


async def test_the_spare_code_of_a_revoked_guest_opens_nothing(service: RunningService, event: Any) -> None:
    guest = await invite_guest(service, event)
    async with open_browser(service, await guest_link(service)) as gus:
        assert (await gus.post("/code")).status_code == 303
        spare = SPARE.search(text_of(await service.mailbox.next(to=GUS["email"])))
        assert spare is not None
        path = f"/api/events/{event['id']}/guests"
        assert (await service.call("admin", "DELETE", f"{path}/{guest['id']}")).status_code == 204
        assert (await gus.post(code=spare[0])).status_code == 403
        await invite_guest(service, event)
        assert (await gus.post(code=spare[0])).status_code == 410


async def test_forms_count_from_our_own_pages_only(service: RunningService, event: Any) -> None:
    await invite_guest(service, event)
    async with open_browser(service, await guest_link(service)) as gus:
        code = await request_code(service, gus)
        for origin in (None, "null", "https://evil.example", "https://spa.example"):
            gus.origin = {"Origin": origin} if origin else {}
            for answer in (await gus.post("/code"), await gus.post(code=code)):
                assert answer.status_code == 403
                assert guest_cookie.COOKIE not in gus.http.cookies
        gus.origin = {"Origin": service.settings.public_url}
        assert (await gus.post(code=code)).status_code == 303
        page = await gus.get("/code")
        # With `no-referrer` browsers would send `Origin: null` with the form.
        assert page.headers["referrer-policy"] == "same-origin"
        assert page.headers["cache-control"] == "no-store"
        assert page.headers["content-security-policy"].endswith("form-action 'self'")


async def test_the_cookie_is_for_one_guest_one_link_and_one_event(service: RunningService, event: Any) -> None:
    await invite_guest(service, event)
    await invite_guest(service, event, email="gitta@guests.example", name="Gitta")
    link, other = await guest_link(service), await guest_link(service, "gitta@guests.example")
    async with open_browser(service, link) as gus, open_browser(service, other) as thief:
        answer = await gus.post(code=await request_code(service, gus))
        cookie = answer.headers["set-cookie"].lower()
        for part in ("httponly", "samesite=lax", f"path=/guest/{link.lower()}"):
            assert part in cookie
        value = gus.http.cookies[guest_cookie.COOKIE]
        altered = value[:-6] + ("A" if value[-6] != "A" else "B") + value[-5:]
        for forged in (value, altered, "", "nonsense", "%C3%A9"):
            page = await thief.get(Cookie=f"{guest_cookie.COOKIE}={forged}")
            assert (page.status_code, "<button>" in page.text) == (200, True)
        meeting = f"/simulator/meetings/{event['zoom']['meeting_id']}"
        await service.advance_clock(timedelta(hours=24))
        (await service.zoom.post(f"{meeting}/start")).raise_for_status()
        await service.wait_idle()
        assert (await gus.get()).status_code == 303
        gus.http.cookies.clear()
        # The event lasts longer than planned, but the cookie expires.
        await service.advance_clock(timedelta(minutes=76))
        late = await gus.get(Cookie=f"{guest_cookie.COOKIE}={value}")
        assert (late.status_code, "<button>" in late.text) == (200, True)
        await confirm_browser(service, gus)
        assert (await gus.get()).status_code == 303


async def test_a_guest_who_is_revoked_is_told_so_and_everybody_else_forgets_them(
    service: RunningService, event: Any
) -> None:
    guest = await invite_guest(service, event)
    path = f"/api/events/{event['id']}/guests"
    async with open_browser(service, await guest_link(service)) as gus:
        await confirm_browser(service, gus)
        await service.advance_clock(timedelta(hours=24))
        ticket = (await gus.get()).headers["location"]
        for _ in range(2):
            assert (await service.call("admin", "DELETE", f"{path}/{guest['id']}")).status_code == 204
        await service.wait_idle()
        for page in (await gus.get(), await gus.get("/code"), await gus.post("/code")):
            assert (page.status_code, "taken back" in page.text) == (403, True)
        assert "taken back" in (await gus.http.get(ticket, headers=PAGE)).text
        [shown] = (await service.get("admin", path)).json()["items"]
        assert (shown["status"], shown["registrant"]["state"]) == ("revoked", "cancelled")
        assert (await get_event(service, event))["counts"]["going"] == 0
        assert 'text/calendar; method="CANCEL"'.lower() in content_types(await service.mailbox.next(to=GUS["email"]))
        assert await zoom_calls(service, STATUS, succeeded=True)

        again = await invite_guest(service, event, name="Gus Again")
        assert (again["id"], again["name"], again["status"]) == (guest["id"], "Gus Again", "going")
        assert "<button>" in (await gus.get()).text, "the browser of an earlier invitation is nobody's"


def content_types(mail: Any) -> str:
    """Return the content types of a mail's parts, with their calendar methods."""
    return " ".join(str(part["content-type"]) for part in mail.message.walk()).lower()


async def test_an_address_that_is_coming_already_is_refused(service: RunningService, event: Any) -> None:
    await rsvp(service, event)
    await invite_guest(service, event)
    path = f"/api/events/{event['id']}/guests"
    for email in ("MEMBER@members.example", "Gus@guests.example", "ada@riverside.example", "gus", "g\r\n@x.example"):
        answer = await service.post("admin", path, GUS | {"email": email})
        assert answer.status_code == 422, answer.text
        assert answer.json()["errors"][0]["field"] == "email"
    assert (await get_event(service, event))["counts"]["going"] == 2


async def test_a_guest_who_becomes_a_member_comes_in_either_way(service: RunningService, event: Any) -> None:
    guest = await invite_guest(service, event, email="member@members.example")
    link = await guest_link(service, "member@members.example")
    await rsvp(service, event)
    mine = (await get_event(service, event, "member"))["my_rsvp"]
    assert mine["registrant"]["state"] == "ready"
    await service.advance_clock(timedelta(hours=24))
    async with open_browser(service, link) as gus:
        await service.mailbox.next(to="member@members.example")
        code = await request_code(service, gus, "member@members.example")
        assert (await gus.post(code=code)).status_code == 303
        # The browser is also signed in to the platform.
        session = service.platform.token("member", service.clock.now())
        gus.http.cookies.set(service.settings.auth_cookie, session)
        assert (await gus.http.get((await gus.get()).headers["location"])).status_code == 303
    path = f"/api/events/{event['id']}/guests/{guest['id']}"
    assert (await service.call("admin", "DELETE", path)).status_code == 204
    await service.wait_idle()
    url = (await service.post("member", f"/api/events/{event['id']}/zoom-join")).json()["url"]
    inside = await service.zoom.get((await service.get("member", url)).headers["location"])
    assert inside.status_code == 200, "to Zoom both were one registrant, which must not be cancelled"
    assert [person["status"] for person in await zoom_registrants(service)] == ["approved"]
    await rsvp(service, event, status="not_going")
    assert [person["status"] for person in await zoom_registrants(service)] == ["cancelled"]


async def zoom_registrants(service: RunningService) -> list[dict[str, Any]]:
    """Return the registrants of the only meeting at Zoom."""
    found = (await only_meeting(service))["registrants"]
    return list(found.values()) if isinstance(found, dict) else found


async def test_guests_take_places_and_wait_like_everybody(service: RunningService, event: Any) -> None:
    await change(service, event, capacity=1)
    first = await invite_guest(service, event)
    second = await invite_guest(service, event, email="gitta@guests.example", name="Gitta")
    assert (first["status"], second["status"], second["position"]) == ("going", "waiting", 1)
    assert (await get_event(service, event))["counts"] == {"going": 1, "maybe": 0, "waiting": 1}
    path = f"/api/events/{event['id']}/guests"
    assert (await service.call("admin", "DELETE", f"{path}/{first['id']}")).status_code == 204
    await service.wait_idle()
    mail = await service.mailbox.next(to="gitta@guests.example")
    assert "Open evening" in str(mail.message["Subject"])
    shown = (await service.get("admin", path, params={"limit": 1})).json()
    rest = (await service.get("admin", path, params={"limit": 1, "cursor": shown["next_cursor"]})).json()
    assert [row["status"] for row in (*shown["items"], *rest["items"])] == ["revoked", "going"]
    assert rest["next_cursor"] is None


async def test_a_guest_reads_the_language_of_their_locale_and_nothing_harmful(
    service: RunningService, event: Any
) -> None:
    await change(service, event, title='<b>Abend & "Lied"</b>')
    await invite_guest(service, event, name="Änne <i>Ö</i>", locale="de-AT")
    mail = await service.mailbox.next(to=GUS["email"])
    assert str(mail.message["Subject"]).startswith("Einladung")
    found = LINK.search(text_of(mail))
    assert found is not None
    async with open_browser(service, found[1]) as gus:
        page = await gus.get()
        assert '<html lang="de">' in page.text
        assert "Code schicken" in page.text
        await gus.post("/code")
        mail = await service.mailbox.next(to=GUS["email"])
        code = re.search(r"\b\d{6}\b", text_of(mail))
        assert code is not None
        html = text_of(mail, "html")
        assert "<b>" not in html
        assert "<i>" not in html
        assert code[0] not in str(mail.message["Subject"])
        assert (await gus.post(code=code[0])).status_code == 303
        early = await gus.get()
        assert "15 Minuten vor dem Start" in early.text
        assert "Uhr (Europe/Berlin)" in early.text
        await cancel(service, event)
        assert "Dieses Event wurde abgesagt." in (await gus.get()).text


async def test_a_code_outlives_a_mail_server_that_is_down(service: RunningService, event: Any) -> None:
    await invite_guest(service, event)
    async with open_browser(service, await guest_link(service)) as gus:
        with no_mail_server(service):
            assert (await gus.post("/code")).status_code == 303
            await service.wait_idle()
        await advance(service, 1)
        found = re.search(r"\b\d{6}\b", text_of(await service.mailbox.next(to=GUS["email"])))
        assert found is not None
        assert (await gus.post(code=found[0])).status_code == 303


async def test_a_link_that_is_none_is_not_found(service: RunningService, event: Any) -> None:
    await rsvp(service, event)
    [member] = await rows(service, "SELECT join_link FROM registrations")
    for link in ("unknown", member["join_link"], "%00", "a.b", "%C3%A9", "x" * 200):
        async with open_browser(service, link) as nobody:
            for answer in (await nobody.get(), await nobody.get("/code"), await nobody.post("/code")):
                assert answer.status_code == 404
                assert "There is no such guest link." in answer.text


async def test_only_admins_invite_and_only_so_many(service: RunningService, event: Any, monkeypatch: Any) -> None:
    path = f"/api/events/{event['id']}/guests"
    for who, status in ((None, 401), ("stranger", 404), ("neighbour", 404), ("member", 403), ("coach", 403)):
        assert (await service.post(who, path, GUS)).status_code == status
        assert (await service.get(who, path)).status_code == status
    once = {"headers": {"Idempotency-Key": "a-key-of-mine"}}
    first, again = [await service.post("admin", path, GUS, **once) for _ in range(2)]
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert len((await service.get("owner", path)).json()["items"]) == 1
    foreign = await service.call("admin", "DELETE", f"{path}/{event['id']}")
    assert foreign.status_code == 404
    for wrong in ({"name": " "}, {"locale": "de\n"}, {"name": "x" * 129}, {"more": 1}):
        assert (await service.post("admin", path, GUS | {"email": "x@guests.example"} | wrong)).status_code == 422
    monkeypatch.setattr(guests, "MAX_PER_EVENT", 1)
    full = await service.post("admin", path, GUS | {"email": "x@guests.example"})
    assert (full.status_code, full.json()["type"].rpartition("/")[2]) == (409, "event-full")
    monkeypatch.undo()
    await set_quota_used(service, "guests:m-admin", guests.MAX_PER_DAY)
    often = await service.post("admin", path, GUS | {"email": "x@guests.example"})
    assert (often.status_code, "retry-after" in often.headers) == (429, True)
    assert (await service.post("owner", path, GUS | {"email": "x@guests.example"})).status_code == 201


async def test_nobody_answers_for_a_guest_but_by_inviting(service: RunningService, event: Any) -> None:
    guest = await invite_guest(service, event)
    path = f"/api/events/{event['id']}/registrations/guest:{guest['id']}"
    body = {"status": "maybe", "email": "evil@guests.example"}
    assert (await service.call("admin", "PUT", path, json=body)).status_code == 404
    await cancel(service, event)
    answer = await service.post("admin", f"/api/events/{event['id']}/guests", GUS | {"email": "x@guests.example"})
    assert (answer.status_code, answer.json()["type"].rpartition("/")[2]) == (409, "event-closed")
    revoked = await service.call("admin", "DELETE", f"/api/events/{event['id']}/guests/{guest['id']}")
    assert revoked.status_code == 204
    [row] = await rows(service, "SELECT rsvp FROM registrations WHERE event_id = $1", UUID(event["id"]))
    assert row["rsvp"] == "not_going"
