"""Fixtures of the benchmark: settings, a live event whose members may join, and the requests."""

import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Iterator, Mapping
from itertools import count, cycle
from uuid import UUID, uuid4

from app.core.settings import Settings
from app.demo.bench_load import post
from app.devstack.personas import AUDIENCE, COMMUNITY, TokenSigner
from app.jobs import JOBS
from app.resources import open_resources

# The service refuses a member beyond twenty clicks a minute. With this many members, no machine comes near that.
MEMBERS = 10_000
MEETING_ID = 81234567890
ZOOM_LINK = f"https://zoom.us/w/{MEETING_ID}?tk=QGq5Wk3bZ0nR9sXvT1uYfA2hLcEoJd7m"

# Every row that a click on Join reads. Foreign keys are checked at the end of the statement.
SEED = """
WITH community AS (
    INSERT INTO communities (id, slug) VALUES (:community, :slug)
), account AS (
    INSERT INTO accounts (id, community_id, zoom_account_id, zoom_user_id, status, connected_by, connected_at)
    VALUES (:account, :community, 'zoom-account', 'ada', 'connected', 'member-admin', :now)
), host AS (
    INSERT INTO hosts (id, account_id, zoom_user_id, email, licensed, listed, member_id)
    VALUES (:host, :account, 'ada', 'ada@riverside.example', true, true, 'member-admin')
), event AS (
    INSERT INTO events (id, community_id, kind, title, starts_at, ends_at, timezone, is_virtual, delivery_mode, host_id,
                        created_by, created_at, updated_at, live_at)
    VALUES (:event, :community, 'community_event', 'Open evening', :now, CAST(:now AS timestamptz) + interval '1 hour',
            'Europe/Berlin', true, 'zoom', :host, 'member-admin', :now, :now, :now)
), meeting AS (
    INSERT INTO meetings (id, event_id, account_id, host_id, state, zoom_meeting_id, marker, created_at)
    VALUES (:meeting, :event, :account, :host, 'scheduled', :zoom_meeting_id, 'bench', :now)
), registration AS (
    INSERT INTO registrations (id, event_id, member_id, email, email_verified, name, rsvp, join_link, created_at,
                               updated_at)
    SELECT gen_random_uuid(), :event, member_id, member_id || '@members.example', true, member_id, 'going', member_id,
           :now, :now
    FROM unnest(CAST(:members AS text[])) AS member_id
    RETURNING id, email, member_id
)
INSERT INTO registrants (id, registration_id, meeting_id, email, join_url, state, updated_at)
SELECT registrant, registration.id, :meeting, email, link, 'ready', :now
FROM registration
JOIN unnest(CAST(:members AS text[]), CAST(:registrants AS uuid[]), CAST(:links AS bytea[]))
    AS place (member_id, registrant, link) USING (member_id)
"""


def bench_settings(database_url: str, issuer: str, jwks_url: str, webhook_secret: str) -> dict[str, str]:
    """Return every setting the API process needs, by the name of its environment variable."""
    return {
        "DATABASE_URL": database_url,
        "REDIS_URL": "redis://127.0.0.1:1/0",  # the API opens no Redis connection
        "PUBLIC_URL": "https://api.example",
        "SPA_URL": "https://spa.example",
        "CORS_ORIGINS": "https://spa.example",
        "AUTH_JWKS_URL": jwks_url,
        "AUTH_ISSUER": issuer,
        "AUTH_AUDIENCE": AUDIENCE,
        "ENCRYPTION_KEYS": f"bench:{secrets.token_urlsafe(32)}",
        "SMTP_URL": "smtp://127.0.0.1:1",  # the API sends no mail
        "MAIL_FROM": "Kindryn <events@kindryn.example>",
        "ZOOM_CLIENT_ID": "bench-client",
        "ZOOM_CLIENT_SECRET": secrets.token_urlsafe(),
        "ZOOM_REDIRECT_URI": "https://api.example/api/integrations/zoom/callback",
        "ZOOM_WEBHOOK_SECRET_TOKEN": webhook_secret,
    }


async def seed(variables: Mapping[str, str], members: int = MEMBERS) -> UUID:
    """Insert a live event with this many registered members whose registrants are ready. Returns its id."""
    settings = Settings.model_validate({name.lower(): value for name, value in variables.items()})
    event = uuid4()
    registrants = [uuid4() for _ in range(members)]
    async with open_resources(settings, JOBS) as resources, resources.db.transaction() as tx:
        await tx.execute(
            SEED,
            community=COMMUNITY["id"],
            slug=COMMUNITY["slug"],
            account=uuid4(),
            host=uuid4(),
            event=event,
            meeting=uuid4(),
            zoom_meeting_id=MEETING_ID,
            members=[_member(number) for number in range(members)],
            registrants=registrants,
            links=[
                resources.encryption.encrypt(ZOOM_LINK, f"registrants.join_url:{registrant}")
                for registrant in registrants
            ],
            now=tx.now,
        )
    return event


def clicks(event: UUID, signer: TokenSigner, members: int = MEMBERS) -> Iterator[bytes]:
    """Yield clicks on Join without end, from one member of the event after the other."""
    path = f"/api/events/{event}/zoom-join"
    people = map(_member, range(members))
    tokens = (signer.token("member", {"sub": who, "email": f"{who}@members.example"}) for who in people)
    return cycle([post(path, {"Authorization": f"Bearer {token}"}) for token in tokens])


def deliveries(webhook_secret: str) -> Iterator[bytes]:
    """Yield new signed notifications of 1.2 KB without end (developers.zoom.us/docs/api/webhooks/)."""
    return (_signed(_notification(number), webhook_secret) for number in count())


def joins(webhook_secret: str, account_id: str) -> Iterator[bytes]:
    """Yield signed notifications without end of participants of an instance nobody knows.

    They must wait, because nothing reports that instance's start.
    """
    joined = {"event": "meeting.participant_joined"}
    for number in count():
        subject = {"uuid": f"unknown-{account_id}==", "participant": {"user_id": str(number), "user_name": "Somebody"}}
        payload = {"event_ts": 1784327121469 + number, "payload": {"account_id": account_id, "object": subject}}
        yield _signed(joined | payload, webhook_secret)


def _signed(notification: Mapping[str, object], webhook_secret: str) -> bytes:
    stamp = str(int(time.time()))
    body = json.dumps(notification).encode()
    signature = hmac.new(webhook_secret.encode(), f"v0:{stamp}:".encode() + body, hashlib.sha256).hexdigest()
    signed = {"x-zm-request-timestamp": stamp, "x-zm-signature": f"v0={signature}"}
    return post("/api/integrations/zoom/webhooks", {"Content-Type": "application/json; charset=utf-8"} | signed, body)


def _member(number: int) -> str:
    return f"member-{number}"


def _notification(number: int) -> dict[str, object]:
    subject = {
        "id": str(MEETING_ID),
        "uuid": "k1Jm2n3oR5uXyZ0aBcDeFg==",
        "host_id": "uLoRgfbbTayCX6r2Q_qQsQ",
        "topic": "Open evening. " * 60,
        "type": 2,
        "start_time": "2027-01-10T15:00:00Z",
        "timezone": "Europe/Berlin",
        "duration": 60,
    }
    return {
        "event": "meeting.started",
        "event_ts": 1784327121469 + number,
        "payload": {"account_id": "zoom-account", "object": subject},
    }
