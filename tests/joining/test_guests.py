"""A guest without an account comes in by a link that opens nothing without the guest's mailbox."""

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

from app.joining import guest_browser
from app.registrations import guest_codes, guests
from tests.living import Living
from tests.meetings.house import STATUS, calls, cancel, change, later, rsvp, seen, spent, the_meeting
from tests.patience import PATIENCE
from tests.registrations.test_mailing import no_mail_server

GUS = {"email": "gus@guests.example", "name": "Gus Guest"}
PAGE = {"Accept": "text/html,application/xhtml+xml"}
SPARE = re.compile(r"\b[A-Z]{4}-[A-Z]{4}-[A-Z]{4}\b")
LINK = re.compile(r"/guest/([A-Za-z0-9_-]+)")


@dataclass
class Browser:
    """Somebody's browser, with cookies of its own; redirects are followed by hand."""

    http: httpx.AsyncClient
    link: str
    origin: dict[str, str] = field(default_factory=dict)

    async def get(self, path: str = "", **headers: str) -> httpx.Response:
        """A page of the guest's link."""
        return await self.http.get(f"/guest/{self.link}{path}", headers=PAGE | headers)

    async def post(self, path: str = "", **fields: str) -> httpx.Response:
        """A form sent from there."""
        return await self.http.post(f"/guest/{self.link}{path}", data=fields, headers=PAGE | self.origin)


@contextlib.asynccontextmanager
async def browser(living: Living, link: str) -> AsyncIterator[Browser]:
    """A browser that knows nothing but the link."""
    url = living.settings.public_url
    async with httpx.AsyncClient(base_url=url, timeout=PATIENCE) as http:
        yield Browser(http, link, {"Origin": url})


async def invited(living: Living, event: dict[str, Any], **said: Any) -> Any:
    """A guest, once the invite is there."""
    answer = await living.post("admin", f"/api/events/{event['id']}/guests", GUS | said)
    assert answer.status_code == 201, answer.text
    await living.quiet()
    return answer.json()


async def link_of(living: Living, to: str = GUS["email"]) -> str:
    """The link in the guest's next mail."""
    found = LINK.search(text_of(await living.mailbox.next(to=to)))
    assert found is not None
    return found[1]


def text_of(mail: Any, kind: str = "plain") -> str:
    """What a mail says."""
    return str(mail.message.get_body((kind,)).get_content())


async def code_for(living: Living, guest: Browser, to: str = GUS["email"]) -> str:
    """Ask for a code and read it."""
    asked = await guest.post("/code")
    assert asked.status_code == 303, asked.text
    assert asked.headers["location"] == f"{living.settings.public_url}/guest/{guest.link}/code"
    found = re.search(r"\b\d{6}\b", text_of(await living.mailbox.next(to=to)))
    assert found is not None
    return found[0]


async def confirmed(living: Living, guest: Browser) -> None:
    """Make the browser the guest's."""
    answer = await guest.post(code=await code_for(living, guest))
    assert answer.status_code == 303, answer.text


async def rows(living: Living, sql: str, *values: object) -> list[Any]:
    return await living.held.db.hot.fetch(sql, *values)


@pytest.fixture
async def event(living: Living) -> Any:
    """An event on Zoom tomorrow."""
    await living.connect()
    return await living.event()


async def test_a_guest_gets_from_the_invite_into_the_meeting(living: Living, event: Any) -> None:
    guest = await invited(living, event)
    assert (guest["status"], guest["position"], guest["revoked_at"]) == ("going", None, None)
    assert "link" not in guest
    mail = await living.mailbox.next(to=GUS["email"])
    assert "Open evening" in str(mail.message["Subject"])
    assert "will ask for a code" in text_of(mail)
    for kind in ("plain", "html"):
        assert "zoom-reviewer" not in text_of(mail, kind), "a guest cannot open the platform's page"
        assert "vent page" not in text_of(mail, kind)
    found = LINK.search(text_of(mail))
    assert found is not None
    async with browser(living, found[1]) as gus:
        asked = await gus.get()
        assert (asked.status_code, asked.text.count("<button>"), asked.text.count("<h1>")) == (200, 1, 1)
        await confirmed(living, gus)
        early = await gus.get()
        assert (early.status_code, "15 minutes before" in early.text) == (403, True)
        await living.forward(timedelta(hours=24))
        inside = await gus.http.get((await gus.get()).headers["location"])
        assert inside.status_code == 303
        assert "Gus" in (await living.zoom.get(inside.headers["location"])).text
    clicks = await rows(living, "SELECT member_id, via, outcome FROM clicks ORDER BY clicked_at")
    assert [(row["via"], row["outcome"]) for row in clicks] == [
        ("link", "too-early"),
        ("link", "ticket"),
        ("ticket", "redirected"),
    ]
    assert {row["member_id"] for row in clicks} == {f"guest:{guest['id']}"}
    [shown] = (await living.get("admin", f"/api/events/{event['id']}/guests")).json()["items"]
    assert (shown["invite"], shown["registrant"]["state"]) == ("sent", "ready")
    assert shown["confirmed_at"] is not None


async def test_whoever_only_looks_changes_nothing(living: Living, event: Any) -> None:
    await invited(living, event)
    link = await link_of(living)
    await living.forward(timedelta(hours=24))
    async with browser(living, link) as scanner:
        for _ in range(3):
            assert (await scanner.get()).status_code == 200
        assert (await scanner.get(**{"Sec-Purpose": "prefetch"})).status_code == 204
        for path in ("", "/code"):
            assert (await scanner.http.head(f"/guest/{link}{path}")).status_code == 204
        assert (await scanner.get("/code")).status_code == 200
        assert dict(scanner.http.cookies) == {}
    await living.quiet()
    for table in ("clicks", "tickets"):
        assert await rows(living, f"SELECT FROM {table}") == []
    [row] = await rows(living, "SELECT code, codes_asked FROM guests")
    assert (row["code"], row["codes_asked"]) == (None, "[]")
    assert await rows(living, "SELECT FROM guest_codes") == []


async def test_a_forwarded_link_opens_nothing_without_the_mailbox(living: Living, event: Any) -> None:
    await invited(living, event)
    link = await link_of(living)
    await living.forward(timedelta(hours=24))
    async with browser(living, link) as gus, browser(living, link) as other:
        await confirmed(living, gus)
        assert (await gus.get()).status_code == 303
        assert "<button>" in (await other.get()).text
        code = await code_for(living, other)
        tries = [await other.post(code=f"{(int(code) + n) % 1_000_000:06}") for n in range(1, 6)]
        assert [answer.status_code for answer in tries] == [403] * 4 + [410]
        assert (await other.post(code=code)).status_code == 410
        assert guest_browser.COOKIE not in other.http.cookies
        assert (await gus.get()).status_code == 303


async def test_a_code_works_once_for_ten_minutes_and_the_latest_only(living: Living, event: Any) -> None:
    await invited(living, event)
    link = await link_of(living)
    async with browser(living, link) as gus, browser(living, link) as other:
        first = await code_for(living, gus)
        second = await code_for(living, gus)
        if first != second:
            assert (await gus.post(code=first)).status_code == 403
        assert (await gus.post(code=f" {second[:3]} {second[3:]}")).status_code == 303
        assert (await other.post(code=second)).status_code == 410
        late = await code_for(living, other)
        await living.forward(timedelta(minutes=10))
        refused = await other.post(code=late)
        assert refused.status_code == 410
        assert refused.text.count("<button>") == 1


async def test_two_who_type_the_code_at_once_are_one_use(living: Living, event: Any) -> None:
    await invited(living, event)
    async with browser(living, await link_of(living)) as gus:
        code = await code_for(living, gus)
        answers = await asyncio.gather(*(gus.post(code=code) for _ in range(5)))
        assert sorted(answer.status_code for answer in answers) == [303] + [410] * 4


async def test_three_codes_an_hour_are_mailed(living: Living, event: Any) -> None:
    await invited(living, event)
    async with browser(living, await link_of(living)) as gus:
        for _ in range(3):
            code = await code_for(living, gus)
        often = await gus.post("/code")
        assert (often.status_code, int(often.headers["retry-after"]) > 3500) == (429, True)
        assert "in 60 minutes" in often.text
        assert (await gus.post(code=code)).status_code == 303
        await living.forward(timedelta(hours=1))
        await code_for(living, gus)


async def test_whoever_holds_the_link_never_locks_the_guest_out(living: Living, event: Any) -> None:
    await invited(living, event)
    link = await link_of(living)
    async with browser(living, link) as gus, browser(living, link) as thief:
        code = await code_for(living, gus)
        stolen = ""
        for _ in range(3):
            stolen = await code_for(living, thief)
        assert (await thief.post("/code")).status_code == 429
        wrong = f"{(int(stolen) + 1) % 1_000_000:06}"
        assert [(await thief.post(code=wrong)).status_code for _ in range(5)] == [403] * 4 + [410]
        assert (await gus.post(code=code)).status_code == 303, "the code the guest asked for before"
    async with browser(living, link) as elsewhere:
        assert (await elsewhere.post(code=wrong)).status_code == 410, "who asked for none has none"
        assert (await elsewhere.post(code=await code_for(living, elsewhere))).status_code == 303
    # The thief throws the cookies away, and asks until no more codes are mailed.
    asked = 0
    while asked < guest_codes.MAILS_AN_HOUR:
        async with browser(living, link) as thief:
            answer = await thief.post("/code")
            if answer.status_code == 429:
                break
            asked += 1
    await living.quiet()
    assert len(living.mailbox.all()) == guest_codes.MAILS_AN_HOUR + 1, "the invite, and so many codes"
    async with browser(living, link) as gus:
        often = await gus.post("/code")
        assert (often.status_code, "the longer one" in often.text) == (429, True)
        spare = SPARE.search(text_of(living.mailbox.all()[-1]))
        assert spare is not None
        assert (await gus.post(code="BCDF-GHJK-LMNP")).status_code == 410
        assert (await gus.post(code=f" {spare[0].lower()} ")).status_code == 303
        assert (await gus.get()).status_code == 403, "the guest is known, and early"


async def test_a_code_counts_only_in_the_browser_that_asked_for_it(living: Living, event: Any) -> None:
    await invited(living, event)
    link = await link_of(living)
    async with browser(living, link) as gus, browser(living, link) as thief:
        mine, other = await code_for(living, gus), await code_for(living, thief)
        if mine != other:
            assert (await thief.post(code=mine)).status_code == 403
        assert (await gus.post(code=mine)).status_code == 303
        assert (await thief.post(code=other)).status_code == 303


async def test_the_spare_code_of_a_revoked_guest_opens_nothing(living: Living, event: Any) -> None:
    guest = await invited(living, event)
    async with browser(living, await link_of(living)) as gus:
        assert (await gus.post("/code")).status_code == 303
        spare = SPARE.search(text_of(await living.mailbox.next(to=GUS["email"])))
        assert spare is not None
        path = f"/api/events/{event['id']}/guests"
        assert (await living.call("admin", "DELETE", f"{path}/{guest['id']}")).status_code == 204
        assert (await gus.post(code=spare[0])).status_code == 403
        await invited(living, event)
        assert (await gus.post(code=spare[0])).status_code == 410


async def test_forms_count_from_our_own_pages_only(living: Living, event: Any) -> None:
    await invited(living, event)
    async with browser(living, await link_of(living)) as gus:
        code = await code_for(living, gus)
        for origin in (None, "null", "https://evil.example", "https://spa.example"):
            gus.origin = {"Origin": origin} if origin else {}
            for answer in (await gus.post("/code"), await gus.post(code=code)):
                assert answer.status_code == 403
                assert guest_browser.COOKIE not in gus.http.cookies
        gus.origin = {"Origin": living.settings.public_url}
        assert (await gus.post(code=code)).status_code == 303
        page = await gus.get("/code")
        # With `no-referrer` browsers would send `Origin: null` with the form.
        assert page.headers["referrer-policy"] == "same-origin"
        assert page.headers["cache-control"] == "no-store"
        assert page.headers["content-security-policy"].endswith("form-action 'self'")


async def test_the_cookie_is_for_one_guest_one_link_and_one_event(living: Living, event: Any) -> None:
    await invited(living, event)
    await invited(living, event, email="gitta@guests.example", name="Gitta")
    link, other = await link_of(living), await link_of(living, "gitta@guests.example")
    async with browser(living, link) as gus, browser(living, other) as thief:
        answer = await gus.post(code=await code_for(living, gus))
        said = answer.headers["set-cookie"].lower()
        for part in ("httponly", "samesite=lax", f"path=/guest/{link.lower()}"):
            assert part in said
        value = gus.http.cookies[guest_browser.COOKIE]
        altered = value[:-6] + ("A" if value[-6] != "A" else "B") + value[-5:]
        for forged in (value, altered, "", "nonsense", "%C3%A9"):
            page = await thief.get(Cookie=f"{guest_browser.COOKIE}={forged}")
            assert (page.status_code, "<button>" in page.text) == (200, True)
        meeting = f"/simulator/meetings/{event['zoom']['meeting_id']}"
        await living.forward(timedelta(hours=24))
        (await living.zoom.post(f"{meeting}/start")).raise_for_status()
        await living.quiet()
        assert (await gus.get()).status_code == 303
        gus.http.cookies.clear()
        # The event goes on for longer than planned, and the cookie does not.
        await living.forward(timedelta(minutes=76))
        late = await gus.get(Cookie=f"{guest_browser.COOKIE}={value}")
        assert (late.status_code, "<button>" in late.text) == (200, True)
        await confirmed(living, gus)
        assert (await gus.get()).status_code == 303


async def test_a_guest_who_is_revoked_is_told_so_and_everybody_else_forgets_them(living: Living, event: Any) -> None:
    guest = await invited(living, event)
    path = f"/api/events/{event['id']}/guests"
    async with browser(living, await link_of(living)) as gus:
        await confirmed(living, gus)
        await living.forward(timedelta(hours=24))
        ticket = (await gus.get()).headers["location"]
        for _ in range(2):
            assert (await living.call("admin", "DELETE", f"{path}/{guest['id']}")).status_code == 204
        await living.quiet()
        for page in (await gus.get(), await gus.get("/code"), await gus.post("/code")):
            assert (page.status_code, "taken back" in page.text) == (403, True)
        assert "taken back" in (await gus.http.get(ticket, headers=PAGE)).text
        [shown] = (await living.get("admin", path)).json()["items"]
        assert (shown["status"], shown["registrant"]["state"]) == ("revoked", "cancelled")
        assert (await seen(living, event))["counts"]["going"] == 0
        assert 'text/calendar; method="CANCEL"'.lower() in mail_types(await living.mailbox.next(to=GUS["email"]))
        assert await calls(living, STATUS, succeeded=True)

        again = await invited(living, event, name="Gus Again")
        assert (again["id"], again["name"], again["status"]) == (guest["id"], "Gus Again", "going")
        assert "<button>" in (await gus.get()).text, "the browser of an earlier invitation is nobody's"


def mail_types(mail: Any) -> str:
    """The parts of a mail, with their calendar methods."""
    return " ".join(str(part["content-type"]) for part in mail.message.walk()).lower()


async def test_an_address_that_is_coming_already_is_refused(living: Living, event: Any) -> None:
    await rsvp(living, event)
    await invited(living, event)
    path = f"/api/events/{event['id']}/guests"
    for email in ("MEMBER@members.example", "Gus@guests.example", "ada@riverside.example", "gus", "g\r\n@x.example"):
        answer = await living.post("admin", path, GUS | {"email": email})
        assert answer.status_code == 422, answer.text
        assert answer.json()["errors"][0]["field"] == "email"
    assert (await seen(living, event))["counts"]["going"] == 2


async def test_a_guest_who_becomes_a_member_comes_in_either_way(living: Living, event: Any) -> None:
    guest = await invited(living, event, email="member@members.example")
    link = await link_of(living, "member@members.example")
    await rsvp(living, event)
    mine = (await seen(living, event, "member"))["my_rsvp"]
    assert mine["registrant"]["state"] == "ready"
    await living.forward(timedelta(hours=24))
    async with browser(living, link) as gus:
        await living.mailbox.next(to="member@members.example")
        code = await code_for(living, gus, "member@members.example")
        assert (await gus.post(code=code)).status_code == 303
        # Signed in to the platform, too.
        session = living.platform.token("member", living.clock.now())
        gus.http.cookies.set(living.settings.auth_cookie, session)
        assert (await gus.http.get((await gus.get()).headers["location"])).status_code == 303
    path = f"/api/events/{event['id']}/guests/{guest['id']}"
    assert (await living.call("admin", "DELETE", path)).status_code == 204
    await living.quiet()
    url = (await living.post("member", f"/api/events/{event['id']}/zoom-join")).json()["url"]
    inside = await living.zoom.get((await living.get("member", url)).headers["location"])
    assert inside.status_code == 200, "to Zoom both were one registrant, which must not be cancelled"
    assert [person["status"] for person in await registrants(living)] == ["approved"]
    await rsvp(living, event, status="not_going")
    assert [person["status"] for person in await registrants(living)] == ["cancelled"]


async def registrants(living: Living) -> list[dict[str, Any]]:
    """Whom Zoom knows at the only meeting."""
    found = (await the_meeting(living))["registrants"]
    return list(found.values()) if isinstance(found, dict) else found


async def test_guests_take_places_and_wait_like_everybody(living: Living, event: Any) -> None:
    await change(living, event, capacity=1)
    first = await invited(living, event)
    second = await invited(living, event, email="gitta@guests.example", name="Gitta")
    assert (first["status"], second["status"], second["position"]) == ("going", "waiting", 1)
    assert (await seen(living, event))["counts"] == {"going": 1, "maybe": 0, "waiting": 1}
    path = f"/api/events/{event['id']}/guests"
    assert (await living.call("admin", "DELETE", f"{path}/{first['id']}")).status_code == 204
    await living.quiet()
    mail = await living.mailbox.next(to="gitta@guests.example")
    assert "Open evening" in str(mail.message["Subject"])
    shown = (await living.get("admin", path, params={"limit": 1})).json()
    rest = (await living.get("admin", path, params={"limit": 1, "cursor": shown["next_cursor"]})).json()
    assert [row["status"] for row in (*shown["items"], *rest["items"])] == ["revoked", "going"]
    assert rest["next_cursor"] is None


async def test_a_guest_reads_the_language_of_their_locale_and_nothing_harmful(living: Living, event: Any) -> None:
    await change(living, event, title='<b>Abend & "Lied"</b>')
    await invited(living, event, name="Änne <i>Ö</i>", locale="de-AT")
    mail = await living.mailbox.next(to=GUS["email"])
    assert str(mail.message["Subject"]).startswith("Einladung")
    found = LINK.search(text_of(mail))
    assert found is not None
    async with browser(living, found[1]) as gus:
        page = await gus.get()
        assert '<html lang="de">' in page.text
        assert "Code schicken" in page.text
        await gus.post("/code")
        mail = await living.mailbox.next(to=GUS["email"])
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
        await cancel(living, event)
        assert "Dieses Event wurde abgesagt." in (await gus.get()).text


async def test_a_code_outlives_a_mail_server_that_is_down(living: Living, event: Any) -> None:
    await invited(living, event)
    async with browser(living, await link_of(living)) as gus:
        with no_mail_server(living):
            assert (await gus.post("/code")).status_code == 303
            await living.quiet()
        await later(living, 1)
        found = re.search(r"\b\d{6}\b", text_of(await living.mailbox.next(to=GUS["email"])))
        assert found is not None
        assert (await gus.post(code=found[0])).status_code == 303


async def test_a_link_that_is_none_is_not_found(living: Living, event: Any) -> None:
    await rsvp(living, event)
    [member] = await rows(living, "SELECT join_link FROM registrations")
    for link in ("unknown", member["join_link"], "%00", "a.b", "%C3%A9", "x" * 200):
        async with browser(living, link) as nobody:
            for answer in (await nobody.get(), await nobody.get("/code"), await nobody.post("/code")):
                assert answer.status_code == 404
                assert "There is no such guest link." in answer.text


async def test_only_admins_invite_and_only_so_many(living: Living, event: Any, monkeypatch: Any) -> None:
    path = f"/api/events/{event['id']}/guests"
    for who, status in ((None, 401), ("stranger", 404), ("neighbour", 404), ("member", 403), ("coach", 403)):
        assert (await living.post(who, path, GUS)).status_code == status
        assert (await living.get(who, path)).status_code == status
    once = {"headers": {"Idempotency-Key": "a-key-of-mine"}}
    first, again = [await living.post("admin", path, GUS, **once) for _ in range(2)]
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert len((await living.get("owner", path)).json()["items"]) == 1
    foreign = await living.call("admin", "DELETE", f"{path}/{event['id']}")
    assert foreign.status_code == 404
    for wrong in ({"name": " "}, {"locale": "de\n"}, {"name": "x" * 129}, {"more": 1}):
        assert (await living.post("admin", path, GUS | {"email": "x@guests.example"} | wrong)).status_code == 422
    monkeypatch.setattr(guests, "MOST", 1)
    full = await living.post("admin", path, GUS | {"email": "x@guests.example"})
    assert (full.status_code, full.json()["type"].rpartition("/")[2]) == (409, "event-full")
    monkeypatch.undo()
    await spent(living, "guests:m-admin", guests.A_DAY)
    often = await living.post("admin", path, GUS | {"email": "x@guests.example"})
    assert (often.status_code, "retry-after" in often.headers) == (429, True)
    assert (await living.post("owner", path, GUS | {"email": "x@guests.example"})).status_code == 201


async def test_nobody_answers_for_a_guest_but_by_inviting(living: Living, event: Any) -> None:
    guest = await invited(living, event)
    path = f"/api/events/{event['id']}/registrations/guest:{guest['id']}"
    body = {"status": "maybe", "email": "evil@guests.example"}
    assert (await living.call("admin", "PUT", path, json=body)).status_code == 404
    await cancel(living, event)
    answer = await living.post("admin", f"/api/events/{event['id']}/guests", GUS | {"email": "x@guests.example"})
    assert (answer.status_code, answer.json()["type"].rpartition("/")[2]) == (409, "event-closed")
    revoked = await living.call("admin", "DELETE", f"/api/events/{event['id']}/guests/{guest['id']}")
    assert revoked.status_code == 204
    [row] = await rows(living, "SELECT rsvp FROM registrations WHERE event_id = $1", UUID(event["id"]))
    assert row["rsvp"] == "not_going"
