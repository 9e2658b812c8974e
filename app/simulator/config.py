"""What a simulator is started with: the app as it is registered at Zoom, and how lenient time and limits are."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Config:
    """The app's registration at Zoom's Marketplace.

    `redirect_uris` are compared character for character. `scopes` is what a person grants when approving; an app
    that names a scope with `:admin` is admin-managed, and only owners and admins of a Zoom account can add it.
    `webhook_url` receives notifications signed with `webhook_secret`; `None` means nobody subscribed.
    `deauthorization_url` receives `app_deauthorized`, and is `webhook_url` unless given.
    `public_url` is the base of every link that is handed out (no trailing slash), by default that of the request.
    `retry_compression` divides Zoom's waits of 5, 20 and 60 minutes: 6000 turns the first into 50 ms.
    """

    client_id: str
    client_secret: str
    redirect_uris: Sequence[str]
    webhook_url: str | None
    webhook_secret: str
    scopes: Sequence[str]
    public_url: str | None = None
    deauthorization_url: str | None = None
    retry_compression: float = 1.0
    enforce_limits: bool = True
    app_name: str = "Kindryn"
