"""No secret is anywhere but where it has to be: a long life of the service, and a search through all it left."""

import base64
import io
import json
import logging
import secrets
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest
import structlog

from app.core import logs
from app.demo.mailbox import Mailbox
from tests.living import alive
from tests.safety.life import Life
from tests.safety.search import Exhibit, Leak, Secret, forms, of_database, of_mail, of_report, search
from tests.safety.story import live


@dataclass
class Lived:
    """A life that was lived, what it left, and what it must not have left."""

    life: Life
    log: io.BytesIO
    exhibits: list[Exhibit]
    secrets: list[Secret]


@pytest.fixture(scope="module")
def log() -> Iterator[io.BytesIO]:
    """Everything logged, from DEBUG on."""
    handlers, level, before = logging.root.handlers[:], logging.root.level, structlog.get_config()
    stream = io.BytesIO()
    logs.configure(stream, logging.DEBUG)
    yield stream
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    structlog.configure(**before)


@pytest.fixture(scope="module")
async def lived(
    log: io.BytesIO, module_database_url: str, module_redis_url: str, mail_server: Mailbox
) -> AsyncIterator[Lived]:
    """The long life, and everything of it."""
    mail_server.clear()
    key = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode().rstrip("=")
    async with alive(module_database_url, module_redis_url, mail_server, encryption_keys=f"k7:{key}") as living:
        life = Life(living)
        living.api.event_hooks["response"].append(life.keep)
        await live(life)
        yield Lived(life, log, await life.exhibits(log.getvalue()), await life.everything_secret())


async def test_no_secret_is_in_any_answer_mail_log_line_or_table(lived: Lived) -> None:
    assert search(lived.exhibits, lived.secrets) == []


async def test_the_life_was_long_enough_to_be_searched(lived: Lived) -> None:
    """Of every kind of secret there were some, and of every kind of place."""
    kinds = {secret.kind for secret in lived.secrets}
    assert {
        "access_token", "refresh_token", "code", "registrant_join_url", "registrant_join_url tk", "join_url", "pwd",
        "passcode", "start_url", "zak", "zoom_client_secret", "zoom_webhook_secret_token", "encryption_keys",
        "PKCE verifier", "platform token", "ticket", "handle", "state", "join link", "guest link", "guest's cookie",
        "stream key", "name", "e-mail",
        "webhook secret of an account",
    } <= kinds  # fmt: skip
    filled = {exhibit.where.split()[0] for exhibit in lived.exhibits if exhibit.content}
    assert {"answer", "mail", "log", "metrics", "table"} <= filled
    refreshes = [secret for secret in lived.secrets if secret.kind == "refresh_token"]
    assert len({secret.value for secret in refreshes}) > 4
    assert len(lived.exhibits) > 300


async def test_the_only_zoom_links_were_in_redirects_made_for_their_owners(lived: Lived) -> None:
    links = [(exhibit.where, held) for exhibit in lived.exhibits for held in exhibit.may_hold]
    assert len(links) == 4
    assert all(where.split()[2] == "GET" and where.split()[3].startswith("/j/") for where, _ in links)
    without = [Exhibit(exhibit.where, exhibit.content) for exhibit in lived.exhibits]
    found = search(without, lived.secrets)
    assert {leak.where for leak in found} == {where for where, _ in links}


PLACES = ("answer 1 GET /api/events body", "answer 1 GET /api/events location", "mail 1", "log", "table events")


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize("kind", ["registrant_join_url", "registrant_join_url tk", "refresh_token", "passcode", "zak"])
async def test_a_planted_secret_is_found_in_every_form(kind: str, where: str, lived: Lived) -> None:
    secret = next(secret for secret in lived.secrets if secret.kind == kind)
    planted = [Exhibit(f"{where} {form}", b'{"a":"' + content + b'"}') for form, content in forms(secret.value)]
    found = {leak.where for leak in search(planted, lived.secrets) if leak.kind == kind}
    assert found == {exhibit.where for exhibit in planted}


async def test_a_leak_into_the_log_is_found(lived: Lived) -> None:
    passcode = next(secret.value for secret in lived.secrets if secret.kind == "passcode")
    length = len(lived.log.getvalue())
    logs.get("planted").debug("meeting made", note=f"it is {passcode}", who="Mia Member")
    logs.get("planted").info("not a leak", join_url="hidden by its name")
    leaks = search([Exhibit("log", lived.log.getvalue()[length:])], lived.secrets)
    assert leaks == [Leak("name", "plain", "log"), Leak("passcode", "plain", "log")]


async def test_a_leak_into_the_database_is_found(lived: Lived) -> None:
    held, tk = lived.life.living.held, _of(lived, "registrant_join_url tk")
    url = lived.life.living.settings.database_url.get_secret_value()
    for column, value in (
        ("title", tk),
        ("title", tk[:30]),
        ("description", base64.b64encode(f"?tk={tk}".encode()).decode()),
    ):
        row = await held.db.hot.fetchrow(f"SELECT id, {column} FROM events LIMIT 1")  # noqa: S608 - a name of this test
        await held.db.hot.execute(f"UPDATE events SET {column} = $1 WHERE id = $2", value, row["id"])  # noqa: S608 - likewise
        assert {leak.where for leak in search(await of_database(url), lived.secrets)} == {"table events"}
        await held.db.hot.execute(f"UPDATE events SET {column} = $1 WHERE id = $2", row[column], row["id"])  # noqa: S608 - likewise
    sealed = await held.db.hot.fetchrow("SELECT id, join_url FROM registrants WHERE join_url IS NOT NULL LIMIT 1")
    for plain in (tk.encode(), base64.b64encode(tk.encode()), b"\x00\x01" + tk.encode()):
        await held.db.hot.execute("UPDATE registrants SET join_url = $1 WHERE id = $2", plain, sealed["id"])
        assert {leak.where for leak in search(await of_database(url), lived.secrets)} == {"table registrants"}
    await held.db.hot.execute("UPDATE registrants SET join_url = $1 WHERE id = $2", sealed["join_url"], sealed["id"])
    assert search(await of_database(url), lived.secrets) == []


async def test_a_leak_into_a_mail_is_found_however_it_is_encoded(lived: Lived) -> None:
    tk = _of(lived, "registrant_join_url tk")
    folded = base64.encodebytes(f"Come: https://zoom.us/w/1?tk={tk}".encode())
    head = b"Subject: Come\r\nContent-Type: text/plain\r\n"
    for mail in (
        head + b"\r\n" + tk.encode(),
        head + b"Content-Transfer-Encoding: base64\r\n\r\n" + folded,
        head + b"Content-Transfer-Encoding: quoted-printable\r\n\r\n" + tk[:20].encode() + b"=\r\n" + tk[20:].encode(),
        b"Subject: =?utf-8?b?" + base64.b64encode(tk.encode()) + b"?=\r\n\r\nCome",
    ):
        assert {leak.kind for leak in search(of_mail(1, mail), lived.secrets)} >= {"registrant_join_url tk"}


async def test_a_personal_link_in_somebody_elses_redirect_is_found(lived: Lived) -> None:
    mine, theirs = (secret.value for secret in _all(lived, "registrant_join_url")[:2])
    redirect = Exhibit("answer 1 GET /j/x location", theirs.encode(), frozenset({mine}))
    assert {leak.kind for leak in search([redirect], lived.secrets)} >= {"registrant_join_url"}
    assert search([Exhibit(redirect.where, mine.encode(), redirect.may_hold)], lived.secrets) == []


def _all(lived: Lived, kind: str) -> list[Secret]:
    return [secret for secret in lived.secrets if secret.kind == kind]


def _of(lived: Lived, kind: str) -> str:
    return _all(lived, kind)[0].value


REPORT = {
    "answers": [
        {"who": "member", "method": "GET", "path": "/j/t1", "status": 303, "headers": {}, "location": "", "body": "{}"}
    ],
    "mails": {"1.eml": "Subject: Come\n\nCome."},
    "logs": {"api": "{}"},
    "database": "COPY public.events (id) FROM stdin;",
    "secrets": [{"kind": "registrant_join_url", "value": "https://zoom.us/w/1?tk=" + "Zx9" * 20, "issued_at": ""}],
}


@pytest.mark.parametrize("part", ["body", "headers", "path", "mails", "logs", "database", "location elsewhere", None])
def test_the_demos_report_is_searched_the_same_way(part: str | None) -> None:
    report, link = json.loads(json.dumps(REPORT)), REPORT["secrets"][0]["value"]  # type: ignore[index]  # a literal above
    answer = report["answers"][0]
    answer["location"] = link
    if part == "body":
        answer["body"] = json.dumps({"url": link})
    elif part == "headers":
        answer["headers"]["x-link"] = link
    elif part == "path":
        answer["path"] = f"/j/t1?to={link}"
    elif part == "location elsewhere":
        answer["path"] = "/join/l1"
    elif part == "mails":
        report["mails"]["1.eml"] += link
    elif part == "logs":
        report["logs"]["api"] += link
    elif part == "database":
        report["database"] += f"\\\\x{link.encode().hex()}"
    assert bool(search(*of_report(json.dumps(report)))) is (part not in {None, "path"})
