"""No secret is anywhere but where it has to be, after a long run of the service."""

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
from app.devstack.mailbox import Mailbox
from tests.scenarios.security.recorder import Recorder
from tests.scenarios.security.scenario import run_scenario
from tests.scenarios.security.secret_search import (
    Artifact,
    Leak,
    Secret,
    artifacts_of_database,
    artifacts_of_mail,
    artifacts_of_report,
    encodings,
    search,
)
from tests.support.service import run_service


@dataclass
class RecordedRun:
    """A recorded run: its artifacts, and the secrets to search for."""

    recorder: Recorder
    log: io.BytesIO
    artifacts: list[Artifact]
    secrets: list[Secret]


@pytest.fixture(scope="module")
def log() -> Iterator[io.BytesIO]:
    """Everything logged, from DEBUG on."""
    handlers = logging.root.handlers[:]
    level = logging.root.level
    before = structlog.get_config()
    stream = io.BytesIO()
    logs.configure(stream, logging.DEBUG)
    yield stream
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    structlog.configure(**before)


@pytest.fixture(scope="module")
async def recorded(
    log: io.BytesIO, module_database_url: str, module_redis_url: str, mail_server: Mailbox
) -> AsyncIterator[RecordedRun]:
    """The long run with everything it left."""
    mail_server.clear()
    key = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode().rstrip("=")
    async with run_service(module_database_url, module_redis_url, mail_server, encryption_keys=f"k7:{key}") as service:
        recorder = Recorder(service)
        service.api.event_hooks["response"].append(recorder.record)
        await run_scenario(recorder)
        yield RecordedRun(recorder, log, await recorder.artifacts(log.getvalue()), await recorder.all_secrets())


async def test_no_secret_is_in_any_answer_mail_log_line_or_table(recorded: RecordedRun) -> None:
    assert search(recorded.artifacts, recorded.secrets) == []


async def test_the_recorded_run_was_long_enough_to_be_searched(recorded: RecordedRun) -> None:
    """There were secrets of every kind, and artifacts of every kind."""
    kinds = {secret.kind for secret in recorded.secrets}
    assert {
        "access_token", "refresh_token", "code", "registrant_join_url", "registrant_join_url tk", "join_url", "pwd",
        "passcode", "start_url", "zak", "zoom_client_secret", "zoom_webhook_secret_token", "encryption_keys",
        "PKCE verifier", "platform token", "ticket", "handle", "state", "join link", "guest link", "guest's cookie",
        "stream key", "name", "e-mail",
        "webhook secret of an account",
    } <= kinds  # fmt: skip
    filled = {artifact.where.split()[0] for artifact in recorded.artifacts if artifact.content}
    assert {"answer", "mail", "log", "metrics", "table"} <= filled
    refreshes = [secret for secret in recorded.secrets if secret.kind == "refresh_token"]
    assert len({secret.value for secret in refreshes}) > 4
    assert len(recorded.artifacts) > 300


async def test_the_only_zoom_links_were_in_redirects_made_for_their_owners(recorded: RecordedRun) -> None:
    links = [(artifact.where, allowed) for artifact in recorded.artifacts for allowed in artifact.allowed_secrets]
    assert len(links) == 4
    assert all(where.split()[2] == "GET" and where.split()[3].startswith("/j/") for where, _ in links)
    without = [Artifact(artifact.where, artifact.content) for artifact in recorded.artifacts]
    found = search(without, recorded.secrets)
    assert {leak.where for leak in found} == {where for where, _ in links}


PLACES = ("answer 1 GET /api/events body", "answer 1 GET /api/events location", "mail 1", "log", "table events")


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize("kind", ["registrant_join_url", "registrant_join_url tk", "refresh_token", "passcode", "zak"])
async def test_a_planted_secret_is_found_in_every_form(kind: str, where: str, recorded: RecordedRun) -> None:
    secret = next(secret for secret in recorded.secrets if secret.kind == kind)
    planted = [Artifact(f"{where} {form}", b'{"a":"' + content + b'"}') for form, content in encodings(secret.value)]
    found = {leak.where for leak in search(planted, recorded.secrets) if leak.kind == kind}
    assert found == {artifact.where for artifact in planted}


async def test_a_leak_into_the_log_is_found(recorded: RecordedRun) -> None:
    passcode = next(secret.value for secret in recorded.secrets if secret.kind == "passcode")
    length = len(recorded.log.getvalue())
    logs.get("planted").debug("meeting made", note=f"it is {passcode}", who="Mia Member")
    logs.get("planted").info("not a leak", join_url="hidden by its name")
    leaks = search([Artifact("log", recorded.log.getvalue()[length:])], recorded.secrets)
    assert leaks == [Leak("name", "plain", "log"), Leak("passcode", "plain", "log")]


async def test_a_leak_into_the_database_is_found(recorded: RecordedRun) -> None:
    resources = recorded.recorder.service.resources
    tk = _of(recorded, "registrant_join_url tk")
    url = recorded.recorder.service.settings.database_url.get_secret_value()
    for column, value in (
        ("title", tk),
        ("title", tk[:30]),
        ("description", base64.b64encode(f"?tk={tk}".encode()).decode()),
    ):
        row = await resources.db.pool.fetchrow(f"SELECT id, {column} FROM events LIMIT 1")  # noqa: S608 - a name of this test
        await resources.db.pool.execute(f"UPDATE events SET {column} = $1 WHERE id = $2", value, row["id"])  # noqa: S608 - likewise
        assert {leak.where for leak in search(await artifacts_of_database(url), recorded.secrets)} == {"table events"}
        await resources.db.pool.execute(f"UPDATE events SET {column} = $1 WHERE id = $2", row[column], row["id"])  # noqa: S608 - likewise
    sealed = await resources.db.pool.fetchrow("SELECT id, join_url FROM registrants WHERE join_url IS NOT NULL LIMIT 1")
    for plain in (tk.encode(), base64.b64encode(tk.encode()), b"\x00\x01" + tk.encode()):
        await resources.db.pool.execute("UPDATE registrants SET join_url = $1 WHERE id = $2", plain, sealed["id"])
        assert {leak.where for leak in search(await artifacts_of_database(url), recorded.secrets)} == {
            "table registrants"
        }
    await resources.db.pool.execute(
        "UPDATE registrants SET join_url = $1 WHERE id = $2", sealed["join_url"], sealed["id"]
    )
    assert search(await artifacts_of_database(url), recorded.secrets) == []


async def test_a_leak_into_a_mail_is_found_however_it_is_encoded(recorded: RecordedRun) -> None:
    tk = _of(recorded, "registrant_join_url tk")
    folded = base64.encodebytes(f"Come: https://zoom.us/w/1?tk={tk}".encode())
    head = b"Subject: Come\r\nContent-Type: text/plain\r\n"
    for mail in (
        head + b"\r\n" + tk.encode(),
        head + b"Content-Transfer-Encoding: base64\r\n\r\n" + folded,
        head + b"Content-Transfer-Encoding: quoted-printable\r\n\r\n" + tk[:20].encode() + b"=\r\n" + tk[20:].encode(),
        b"Subject: =?utf-8?b?" + base64.b64encode(tk.encode()) + b"?=\r\n\r\nCome",
    ):
        assert {leak.kind for leak in search(artifacts_of_mail(1, mail), recorded.secrets)} >= {
            "registrant_join_url tk"
        }


async def test_a_personal_link_in_somebody_elses_redirect_is_found(recorded: RecordedRun) -> None:
    mine, theirs = (secret.value for secret in _all(recorded, "registrant_join_url")[:2])
    redirect = Artifact("answer 1 GET /j/x location", theirs.encode(), frozenset({mine}))
    assert {leak.kind for leak in search([redirect], recorded.secrets)} >= {"registrant_join_url"}
    assert search([Artifact(redirect.where, mine.encode(), redirect.allowed_secrets)], recorded.secrets) == []


def _all(recorded: RecordedRun, kind: str) -> list[Secret]:
    return [secret for secret in recorded.secrets if secret.kind == kind]


def _of(recorded: RecordedRun, kind: str) -> str:
    return _all(recorded, kind)[0].value


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
    report = json.loads(json.dumps(REPORT))
    link = REPORT["secrets"][0]["value"]  # type: ignore[index]  # a literal above
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
    assert bool(search(*artifacts_of_report(json.dumps(report)))) is (part not in {None, "path"})
