"""One running simulator: its configuration, its state, and the sending of notifications."""

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from app.simulator.clock import Clock, zoom_time
from app.simulator.config import Config
from app.simulator.delivery import Envelope, NotificationSender
from app.simulator.errors import RefusalError, ZoomResponse, invalid_grant, token_expired
from app.simulator.faults import CallFault, Faults
from app.simulator.ids import stable_id
from app.simulator.journal import JournalEntry
from app.simulator.limits import Label, Limit, Tally, rate_refusal
from app.simulator.notifications import Notification, app_deauthorized
from app.simulator.pagination import PageTokens
from app.simulator.scopes import granting_scope, is_admin_scope
from app.simulator.seed import initial_state
from app.simulator.signing import format_timestamp, notification_headers
from app.simulator.state import Grant, Json, User
from app.simulator.switches import Switches

JOURNAL_LENGTH = 50_000  # entries; older ones are dropped, so that a long demo does not fill the memory


@dataclass(frozen=True)
class Endpoint:
    """Where a Zoom account's notifications go if it has its own subscription, and so its own secret."""

    url: str
    secret: str


@dataclass(frozen=True)
class Code:
    """An authorization code: who consented, and what the exchange must show."""

    user_id: str
    redirect_uri: str
    challenge: str
    method: str
    expires: datetime


class Simulator:
    """All of one simulated Zoom. `reset` restores the initial state."""

    def __init__(self, config: Config) -> None:
        self._initial = config
        self.sender = NotificationSender(config.retry_compression, self.now)
        self._initialize()

    def _initialize(self) -> None:
        self.config = self._initial
        self.switches = Switches(enforce_limits=self._initial.enforce_limits)
        self.clock = Clock()
        self.state = initial_state()
        self.faults = Faults()
        self.faults_changed = asyncio.Event()
        self.tally = Tally()
        self.page_tokens = PageTokens()
        self.journal: deque[JournalEntry] = deque(maxlen=JOURNAL_LENGTH)
        self.codes: dict[str, Code] = {}
        self.zaks: dict[str, tuple[str, datetime]] = {}
        self.secrets: list[Json] = []
        self.endpoints: dict[str, Endpoint] = {}

    async def reset(self) -> None:
        """Restore the initial state: drop pending work, state and settings."""
        await self.sender.clear()
        self._initialize()

    def now(self) -> datetime:
        """Return the simulator's current time in UTC."""
        return self.clock.now()

    @contextlib.contextmanager
    def backdated(self, minutes: float) -> Iterator[None]:
        """Let the actions in the block happen this many minutes ago."""
        present = self.clock
        self.clock = Clock(present.shift - timedelta(minutes=minutes))
        try:
            yield
        finally:
            self.clock = present

    def base_url(self, requested: str) -> str:
        """Return the base of issued links: the configured one, or that of the request."""
        return (self.config.public_url or requested).rstrip("/")

    def issue_secret(self, kind: str, value: str) -> str:
        """Record a secret as issued, and return it."""
        if value:
            self.secrets.append({"kind": kind, "value": value, "issued_at": zoom_time(self.now())})
        return value

    async def wait_latency(self, fault: CallFault | None) -> None:
        """Wait for the latency in force and for that of this call's fault. New faults end the wait early."""
        seconds = self.faults.latency_seconds + (fault.seconds if fault and fault.kind == "latency" else 0)
        if seconds:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.faults_changed.wait(), seconds)

    def set_faults(self, faults: Faults) -> None:
        """Replace the faults in force. Calls that wait for a latency go on."""
        self.faults = faults
        self.faults_changed.set()
        self.faults_changed = asyncio.Event()

    def raise_fault(self, fault: CallFault, label: Label) -> None:
        """Raise the refusal that a fault causes, if any. `label` is the rate label of a 429."""
        switches = self.switches
        if fault.retry_after is not None:
            switches = switches.model_copy(update={"retry_after": fault.retry_after})
        if fault.kind == "status":
            raise RefusalError(ZoomResponse(fault.status, fault.body))
        if fault.kind == "rate_per_second":
            raise rate_refusal(label, Limit(30, "second", label), self.now(), switches)
        if fault.kind == "rate_per_day":
            raise rate_refusal(label, Limit(6000, "day", label), self.now(), switches)
        if fault.kind == "expired_token":
            raise token_expired(self.switches)
        if fault.kind == "invalid_grant":
            raise invalid_grant(self.switches)

    def send_notifications(self, notifications: Iterable[Notification]) -> None:
        """Send the notifications that the account's plan and a live grant cover.

        Record why others are withheld.
        """
        for notification in notifications:
            reason = self._withheld_reason(notification)
            if reason is not None:
                self.sender.record_unsent(notification.event, notification.account_id, reason)
                continue
            document = notification.envelope(self.now(), self.switches)
            self._dispatch(notification.event, notification.account_id, document, self.config.webhook_url)

    def deauthorize(self, user: User, *, notify: bool = True) -> int:
        """Remove the app as a user: all their tokens become invalid and the app is notified.

        Returns how many grants ended.
        """
        grants = [grant for grant in self.state.grants if grant.user_id == user.id and grant.alive]
        for grant in grants:
            grant.alive = False
        if not notify:
            return len(grants)
        signature = stable_id(f"deauthorized:{user.id}:{self.now().isoformat()}")
        document = app_deauthorized(user, self.config.client_id, signature, self.now(), self.switches)
        url = self.config.deauthorization_url or self.config.webhook_url
        self._dispatch("app_deauthorized", user.account_id, document, url, own_subscription=False)
        return len(grants)

    def sign(self, body: bytes, secret: str, timestamp: str | None = None) -> dict[str, str]:
        """Return the headers of a notification sent now, or at another `timestamp`."""
        timestamp = timestamp or format_timestamp(self.now(), self.switches.timestamp_unit)
        return notification_headers(self.config.client_id, secret, body, timestamp)

    def subscribe(self, url: str | None, secret: str | None, account_id: str | None) -> None:
        """Set where notifications go and what signs them, for the app or for one account.

        `None` changes nothing.
        """
        if account_id is None:
            url = self.config.webhook_url if url is None else url
            secret = self.config.webhook_secret if secret is None else secret
            self.config = replace(self.config, webhook_url=url, webhook_secret=secret)
            return
        present = self.endpoints.get(account_id, Endpoint(self.config.webhook_url or "", self.config.webhook_secret))
        self.endpoints[account_id] = Endpoint(url or present.url, secret or present.secret)

    def _withheld_reason(self, notification: Notification) -> str | None:
        subscription = notification.subscription
        if subscription.paid and self.state.accounts[notification.account_id].plan == "free":
            return "withheld: not on this plan"
        if not any(self._grant_covers(grant, notification) for grant in self.state.grants):
            return f"withheld: nobody granted {subscription.scope}"
        return None

    def _grant_covers(self, grant: Grant, notification: Notification) -> bool:
        if not grant.alive or grant.account_id != notification.account_id:
            return False
        subscription = notification.subscription
        scope = granting_scope(subscription.scope, [subscription.classic], grant.scopes)
        return scope is not None and (is_admin_scope(scope) or grant.user_id == notification.host_id)

    def _dispatch(
        self, event: str, account_id: str, document: Json, url: str | None, *, own_subscription: bool = True
    ) -> None:
        own = self.endpoints.get(account_id) if own_subscription else None
        endpoint = own or (Endpoint(url, self.config.webhook_secret) if url else None)
        if endpoint is None:
            self.sender.record_unsent(event, account_id, "withheld: no endpoint")
            return
        body = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
        first_headers = self.sign(body, endpoint.secret)
        sign_again = self.switches.retries_signed_anew
        envelope = Envelope(
            event,
            account_id,
            endpoint.url,
            body,
            lambda: self.sign(body, endpoint.secret) if sign_again else first_headers,
        )
        fault = self.faults.next_notification_fault(event)
        if fault is not None and fault.lost:
            self.sender.record_unsent(event, account_id, "lost")
            return
        for _ in range(fault.copies if fault else 1):
            if fault is not None and fault.shuffled:
                self.sender.hold_back(envelope)
            else:
                self.sender.send(envelope, fault.late_seconds if fault else 0.0)
