"""The configuration of a simulator: the registered app, and how strict time and limits are."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Config:
    """The app's registration at Zoom's Marketplace.

    `redirect_uris` are compared character for character. `scopes` are what a person grants when approving. An app that
    names a scope with `:admin` is admin-managed: only owners and admins of a Zoom account can add it. `webhook_url`
    receives notifications signed with `webhook_secret`; `None` means that nobody is subscribed. `deauthorization_url`
    receives `app_deauthorized` and defaults to `webhook_url`. `public_url` is the base of every link that is issued (no
    trailing slash) and defaults to that of the request. `retry_compression` divides Zoom's waits of 5, 20 and 60
    minutes: 6000 turns the first into 50 ms.
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
