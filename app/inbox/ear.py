"""Who may speak here, and how what was said is kept: the hot part of the inbox, on asyncpg alone."""

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

LONGEST_NAME = 200  # characters of an event name or account id that are kept

_COLUMNS = (
    "reactions", "keys", "dues", "priorities", "lanes", "correlation", "now",
    "id", "digest", "kind", "zoom_account_id", "signed_by", "body",
)  # fmt: skip

# One statement: a delivery that is known already asks for nothing, and one that is stored is never left unasked for.
STORE = outbox.positional(
    f"""
WITH stored AS (
    INSERT INTO deliveries (id, digest, kind, zoom_account_id, signed_by, body, received_at)
    VALUES (:id, :digest, :kind, :zoom_account_id, :signed_by, :body, CAST(:now AS timestamptz))
    ON CONFLICT (digest) DO NOTHING
    RETURNING id
), asked AS (
    {outbox.UPSERT.format(where="WHERE EXISTS (SELECT FROM stored)")}
    RETURNING outbox.id
)
SELECT EXISTS (SELECT FROM stored)
""",  # noqa: S608 - both parts are constants
    _COLUMNS,
)

OWN_SECRETS = """
SELECT zoom_account_id, webhook_secret, former_webhook_secret, webhook_secret_changed_at FROM accounts
WHERE id = $1 AND status <> 'disconnected' AND webhook_secret IS NOT NULL
"""


@dataclass(frozen=True)
class Speaker:
    """Whose secrets count for a delivery. The app's (no `account_id`) speak for any account, an account's own for none
    but that one."""

    secrets: tuple[str, ...] = field(repr=False)
    account_id: UUID | None = None
    zoom_account_id: str | None = None

    def may_say(self, notification: Notification) -> bool:
        """Whether the notification is about an account this speaker speaks for."""
        return self.account_id is None or notification.account_id == self.zoom_account_id


def the_app(held: Resources) -> Speaker:
    """The app itself, with every secret that is active."""
    return Speaker(held.settings.webhook_secrets or _nobodys())


async def the_account(held: Resources, account_id: str) -> Speaker:
    """An account with a secret of its own; the one before it counts for a day more. For an unknown account it is one
    that nobody knows, so that the answer, and the time it takes, are those of a wrong signature."""
    try:
        known = UUID(account_id)
    except ValueError:
        return Speaker(_nobodys())
    row = await held.db.hot.fetchrow(OWN_SECRETS, known)
    if row is None:
        return Speaker(_nobodys())
    zoom_account_id, *kept = row
    own = webhook_secrets.accepted(webhook_secrets.Kept(*kept), held.seal, known, held.clock.now())
    return Speaker(own, known, zoom_account_id)


async def keep(held: Resources, speaker: Speaker, notification: Notification, body: bytes) -> bool:
    """Store a delivery once, sealed, with the work it asks for; False if it is known already."""
    delivery_id, now = uuid4(), held.clock.now()
    signed_by, zoom_account_id = speaker.account_id, _storable(notification.account_id or "") or None
    source = source_of(signed_by, zoom_account_id)
    wanted = held.reactions.wants(facts.DeliveryStored(delivery_id, source), now)
    values = outbox.columns(wanted, logs.correlation(), now) | {
        "id": delivery_id,
        "digest": digest(speaker, body),
        "kind": _storable(notification.event),
        "zoom_account_id": zoom_account_id,
        "signed_by": signed_by,
        "body": held.seal.seal(body, f"deliveries.body:{delivery_id}"),
    }
    stored: bool = await held.db.hot.fetchval(STORE, *(values[name] for name in _COLUMNS))
    if stored:
        held.bell.ring(outbox.TOPIC)
    return stored


def digest(speaker: Speaker, body: bytes) -> bytes:
    """What a delivery is known by: the SHA-256 of its raw body.

    An account's own deliveries are known among themselves only. Otherwise whoever knows that secret could say first
    what Zoom is about to tell another connection of the same Zoom account, which would then never hear it.
    """
    return hashlib.sha256((speaker.account_id.bytes if speaker.account_id else b"") + body).digest()


def _nobodys() -> tuple[str, ...]:
    return (secrets.token_hex(),)


def _storable(text: str) -> str:
    """PostgreSQL holds neither NUL nor lone surrogates, and JSON may hold both."""
    return text.encode("utf-8", "replace").decode().replace("\0", "")[:LONGEST_NAME]
