"""Searches for secrets in everything the service has answered, mailed, logged and stored.

It searches for a secret as it is, percent-encoded (once and twice), as JSON and HTML escape it, in hex, and in base64
at each of its three alignments. It searches for the first and for the last characters of a long secret, so that it
finds a truncated one too. It searches for a URL as a whole, and for each value of its query.
"""

import base64
import html
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

import asyncpg

SHORTEST = 8  # characters; shorter texts are found everywhere
PIECE_LENGTH = 24  # characters at either end that identify a long secret


@dataclass(frozen=True)
class Secret:
    """Something that must not be found.

    `forbidden_in` are the beginnings of the places where it must not be: all places, unless it has to be somewhere.
    """

    kind: str
    value: str = field(repr=False)
    forbidden_in: tuple[str, ...] = ("",)


@dataclass(frozen=True)
class Artifact:
    """Something the service answered or stored, and where.

    `allowed_secrets` are the secrets that have to be there: a personal link in the `Location` of the redirect made for
    its owner.
    """

    where: str
    content: bytes = field(repr=False)
    allowed_secrets: frozenset[str] = field(default=frozenset(), repr=False)


@dataclass(frozen=True, order=True)
class Leak:
    """A secret that was found: its kind, its encoding, and the place."""

    kind: str
    form: str
    where: str


@dataclass(frozen=True)
class _Needle:
    content: bytes
    form: str
    secret: Secret


def search(artifacts: Iterable[Artifact], secrets: Iterable[Secret]) -> list[Leak]:
    """Return every secret that was found where it must not be, sorted.

    Raises ValueError for a secret too short to search for.
    """
    needles: dict[bytes, list[_Needle]] = defaultdict(list)
    for secret in dict.fromkeys(secrets):
        if len(secret.value) < SHORTEST:
            raise ValueError(f"a {secret.kind} of {len(secret.value)} characters cannot be searched for")
        for piece in pieces(secret.value):
            for form, content in encodings(piece):
                needles[content[:SHORTEST]].append(_Needle(content, form, secret))
    leaks = {leak for artifact in artifacts for leak in _found(artifact, needles)}
    return sorted(leaks)


def _found(artifact: Artifact, needles: dict[bytes, list[_Needle]]) -> Iterator[Leak]:
    content = artifact.content
    for place in range(len(content) - SHORTEST + 1):
        for needle in needles.get(content[place : place + SHORTEST], ()):
            if content.startswith(needle.content, place) and _is_leak(needle.secret, artifact):
                yield Leak(needle.secret.kind, needle.form, artifact.where)


def _is_leak(secret: Secret, artifact: Artifact) -> bool:
    if any(secret.value in allowed for allowed in artifact.allowed_secrets):
        return False
    return artifact.where.startswith(secret.forbidden_in)


def pieces(value: str) -> list[str]:
    """Return the whole secret, or beginning and end of a long one that is not a URL."""
    return [value] if "://" in value or len(value) < 2 * PIECE_LENGTH else [value[:PIECE_LENGTH], value[-PIECE_LENGTH:]]


def encodings(text: str) -> Iterator[tuple[str, bytes]]:
    """Yield a text in every encoding to search for, each once."""
    quoted, escaped = quote(text, safe=""), json.dumps(text)[1:-1]
    disguises = {
        "plain": text,
        "percent-encoded": quoted,
        "percent-encoded, lower case": _lower_escapes(quoted),
        "percent-encoded twice": quote(quoted, safe=""),
        "percent-encoded but for slashes": quote(text),
        "in JSON": escaped,
        "in JSON, slashes escaped": escaped.replace("/", "\\/"),
        "in JSON, for HTML": escaped.replace("&", "\\u0026"),
        "in HTML": html.escape(text),
        "in hex": text.encode().hex(),
        "in hex, upper case": text.encode().hex().upper(),
        **{f"in base64, {name}": encoded for name, encoded in _base64(text.encode())},
    }
    yielded: set[str] = set()
    for form, disguise in disguises.items():
        if disguise not in yielded:
            yielded.add(disguise)
            yield form, disguise.encode()


def _lower_escapes(quoted: str) -> str:
    parts = quoted.split("%")
    return "%".join([parts[0], *(part[:2].lower() + part[2:] for part in parts[1:])])


def _base64(content: bytes) -> Iterator[tuple[str, str]]:
    """Yield the characters that depend on `content` alone, wherever in the encoded bytes it begins."""
    for before in range(3):
        padded = b"\0" * before + content
        whole = len(padded) - len(padded) % 3
        first = -(-before * 4 // 3)
        encoded = padded[:whole]
        yield f"alignment {before}", base64.b64encode(encoded).decode()[first:]
        yield f"alignment {before}, URL-safe", base64.urlsafe_b64encode(encoded).decode()[first:]


def with_query(secret: Secret) -> list[Secret]:
    """Return a secret, and the values of its query if it is a URL."""
    if "://" not in secret.value:
        return [secret]
    query = parse_qsl(urlsplit(secret.value).query)
    values = [Secret(f"{secret.kind} {name}", value, secret.forbidden_in) for name, value in query]
    return [secret, *(value for value in values if len(value.value) >= SHORTEST)]


def secrets_issued_by(by_simulator: Sequence[dict[str, Any]]) -> list[Secret]:
    """Return the response of `GET /simulator/secrets` as secrets."""
    return [part for entry in by_simulator for part in with_query(Secret(entry["kind"], entry["value"]))]


def artifacts_of_mail(number: int, content: bytes) -> list[Artifact]:
    """Return a mail as it was sent, and each of its parts decoded."""
    message = message_from_bytes(content, policy=policy.default)
    parts = [part.get_payload(decode=True) for part in message.walk()]
    decoded = [part for part in parts if isinstance(part, bytes)]
    headers = "\n".join(f"{name}: {value}" for name, value in message.items()).encode()
    return [Artifact(f"mail {number}", each) for each in (content, headers, *decoded)]


async def artifacts_of_database(url: str) -> list[Artifact]:
    """Return every table with its content.

    Text stays as it is; binary columns are as they are, in hex, and decoded as base64.
    """
    connection = await asyncpg.connect(url)
    try:
        named = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
        return [await _table(connection, row["tablename"]) for row in await connection.fetch(named)]
    finally:
        await connection.close()


async def _table(connection: Any, name: str) -> Artifact:
    rows = await connection.fetch(f'SELECT * FROM "{name}"')  # noqa: S608 - the database's own list of tables
    cells = [_cell(value) for row in rows for value in row.values() if value is not None]
    return Artifact(f"table {name}", b"\n".join(cells))


def _cell(value: object) -> bytes:
    if not isinstance(value, bytes):
        return str(value).encode()
    try:
        decoded = base64.b64decode(value, validate=True)
    except ValueError:
        decoded = b""
    return b" ".join((value, value.hex().encode(), decoded))


def artifacts_of_report(text: str) -> tuple[list[Artifact], list[Secret]]:
    """Return the demo's report (`app/demo/collected_output.py`) as what to search, and the secrets to search for.

    The `Location` of a redirect may contain its link if it answers a ticket, because the walk has checked whose it is.
    """
    report = json.loads(text)
    artifacts = [Artifact("table dump", report["database"].encode())]
    for number, response in enumerate(report["answers"]):
        where = f"answer {number} {response['method']} {response['path']}"
        location = response.pop("location") or ""
        opened = frozenset({location}) if urlsplit(response.pop("path")).path.startswith("/j/") else frozenset()
        artifacts += [
            Artifact(where, json.dumps(response).encode()),
            Artifact(f"{where} location", location.encode(), opened),
        ]
        artifacts.append(Artifact(where, response["body"].encode()))
    for number, mail in enumerate(report["mails"].values()):
        artifacts += artifacts_of_mail(number, mail.encode())
    artifacts += [Artifact(f"log {name}", log.encode()) for name, log in report["logs"].items()]
    return artifacts, secrets_issued_by(report["secrets"])
