"""Zoom: how one talks to it, who is asking, what it can be asked, what it says by itself. Knows no room.

Start at `operations` (what we call) and `errors` (what can go wrong, and when to try again). `protocol`, `refusals`,
`waits`, `hosts`, `scopes` and `notifications` are pure; `transport`, `auth` and `client` do the talking.
"""

from app.clients.zoom.auth import OAuth, TokenSource, pkce
from app.clients.zoom.bodies import MeetingBody, MeetingSettingsBody, RegistrantBody, RegistrantReference
from app.clients.zoom.client import AccountClient, Zoom
from app.clients.zoom.errors import (
    Again,
    AppMisconfigured,
    BadAnswer,
    ForeignHost,
    HostCannotRegister,
    InvalidRequest,
    MeetingFull,
    MeetingOver,
    MissingScopes,
    NeedsReauth,
    NoAnswer,
    NotAllowed,
    NotFound,
    NotLicensed,
    NotSent,
    OutcomeUnknown,
    PageTokenExpired,
    RateLimited,
    Refused,
    RegistrationOff,
    ServerError,
    Unauthorized,
    ZoomError,
)
from app.clients.zoom.hosts import accepted_api_url, is_zoom_link
from app.clients.zoom.models import LICENSED, Meeting, MeetingSettings, Registrant, Token, User, UserSettings
from app.clients.zoom.operations import LABELS, Label
from app.clients.zoom.scopes import SCOPES, Scope, allows, is_admin_grant, missing

__all__ = [
    "LABELS",
    "LICENSED",
    "SCOPES",
    "AccountClient",
    "Again",
    "AppMisconfigured",
    "BadAnswer",
    "ForeignHost",
    "HostCannotRegister",
    "InvalidRequest",
    "Label",
    "Meeting",
    "MeetingBody",
    "MeetingFull",
    "MeetingOver",
    "MeetingSettings",
    "MeetingSettingsBody",
    "MissingScopes",
    "NeedsReauth",
    "NoAnswer",
    "NotAllowed",
    "NotFound",
    "NotLicensed",
    "NotSent",
    "OAuth",
    "OutcomeUnknown",
    "PageTokenExpired",
    "RateLimited",
    "Refused",
    "Registrant",
    "RegistrantBody",
    "RegistrantReference",
    "RegistrationOff",
    "Scope",
    "ServerError",
    "Token",
    "TokenSource",
    "Unauthorized",
    "User",
    "UserSettings",
    "Zoom",
    "ZoomError",
    "accepted_api_url",
    "allows",
    "is_admin_grant",
    "is_zoom_link",
    "missing",
    "pkce",
]
