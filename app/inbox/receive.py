"""Finds whose secrets may sign a delivery, and stores the delivery once, encrypted, with its jobs.

A hot path, so it uses asyncpg alone.
"""

import hashlib
import secrets
from dataclasses import dataclass, field
from uuid import UUID, uuid4

from app import facts
from app.accounts import webhook_secrets
from app.clients.zoom.notifications import Notification
from app.core import logs, outbox
from app.inbox.models import source_of
from app.resources import Resources

MAX_NAME_LENGTH = 200  # characters; longer event names and account ids are cut

_COLUMNS = (
    "jobs", "keys", "dues", "priorities", "queues", "correlation", "now",
    "id", "digest", "kind", "zoom_account_id", "signed_by", "body",
)  # fmt: skip

# One statement stores the delivery and enqueues its jobs. A known delivery enqueues nothing, and a stored one is never
# without its jobs.
STORE_DELIVERY = outbox.positional(
    f"""
WITH stored AS (
    INSERT INTO deliveries (id, digest, kind, zoom_account_id, signed_by, body, received_at)
    VALUES (:id, :digest, :kind, :zoom_account_id, :signed_by, :body, CAST(:now AS timestamptz))
    ON CONFLICT (digest) DO NOTHING
    RETURNING id
), requested AS (
    {outbox.UPSERT.format(where="WHERE EXISTS (SELECT FROM stored)")}
    RETURNING outbox.id
)
SELECT EXISTS (SELECT FROM stored)
""",  # noqa: S608 - both parts are constants
    _COLUMNS,
)

ACCOUNT_SECRETS = """
SELECT zoom_account_id, webhook_secret, former_webhook_secret, webhook_secret_changed_at FROM accounts
WHERE id = $1 AND status <> 'disconnected' AND webhook_secret IS NOT NULL
"""


@dataclass(frozen=True)
class SigningIdentity:
    """Whose secrets are valid for a delivery.

    The app's secrets (no `account_id`) are valid for any account, and an account's own secrets for that account only.
    """

    secrets: tuple[str, ...] = field(repr=False)
    account_id: UUID | None = None
    zoom_account_id: str | None = None

    def covers(self, notification: Notification) -> bool:
        """Return whether this identity may send notifications about the notification's account."""
        return self.account_id is None or notification.account_id == self.zoom_account_id


def app_identity(resources: Resources) -> SigningIdentity:
    """Return the app's identity, with all its active secrets."""
    return SigningIdentity(resources.settings.webhook_secrets or _random_secret())


async def account_identity(resources: Resources, account_id: str) -> SigningIdentity:
    """Return the identity of an account with a secret of its own.

    For an unknown account the result has a random secret that nobody knows. So the answer, and the time it takes, are
    those of a wrong signature.
    """
    try:
        account_uuid = UUID(account_id)
    except ValueError:
        return SigningIdentity(_random_secret())
    row = await resources.db.pool.fetchrow(ACCOUNT_SECRETS, account_uuid)
    if row is None:
        return SigningIdentity(_random_secret())
    zoom_account_id, *secret_columns = row
    valid_secrets = webhook_secrets.valid_secrets(
        webhook_secrets.StoredSecrets(*secret_columns), resources.encryption, account_uuid, resources.clock.now()
    )
    return SigningIdentity(valid_secrets, account_uuid, zoom_account_id)


async def store(resources: Resources, identity: SigningIdentity, notification: Notification, body: bytes) -> bool:
    """Store a delivery once, encrypted, and enqueue its jobs; return False if it is stored already."""
    delivery_id = uuid4()
    now = resources.clock.now()
    signed_by = identity.account_id
    zoom_account_id = _clean(notification.account_id or "") or None
    source = source_of(signed_by, zoom_account_id)
    job_requests = resources.jobs.requests_for(facts.DeliveryStored(delivery_id, source), now)
    values = outbox.upsert_parameters(job_requests, logs.correlation(), now) | {
        "id": delivery_id,
        "digest": delivery_digest(identity, body),
        "kind": _clean(notification.event),
        "zoom_account_id": zoom_account_id,
        "signed_by": signed_by,
        "body": resources.encryption.encrypt(body, f"deliveries.body:{delivery_id}"),
    }
    stored: bool = await resources.db.pool.fetchval(STORE_DELIVERY, *(values[name] for name in _COLUMNS))
    if stored:
        resources.pubsub.publish(outbox.TOPIC)
    return stored


def delivery_digest(identity: SigningIdentity, body: bytes) -> bytes:
    """Return the digest that identifies a delivery: the SHA-256 of its raw body.

    For an account's own deliveries its id goes in too. Otherwise somebody who knows that secret could send first what
    Zoom is about to send to another connection of the same Zoom account, and Zoom's delivery would be dropped as a
    duplicate.
    """
    return hashlib.sha256((identity.account_id.bytes if identity.account_id else b"") + body).digest()


def _random_secret() -> tuple[str, ...]:
    return (secrets.token_hex(),)


def _clean(text: str) -> str:
    """Return text that PostgreSQL can store: without NUL and lone surrogates, which JSON may contain."""
    return text.encode("utf-8", "replace").decode().replace("\0", "")[:MAX_NAME_LENGTH]
