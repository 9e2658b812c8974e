"""The environment, read once. A missing or malformed setting stops the process with one line that names it."""

import re
from functools import cached_property
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

List = Annotated[tuple[str, ...], NoDecode]
_LABEL = r"(?!xn--)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
# Two labels or more; the last one has a letter, so that it is no address.
_DOMAIN = re.compile(rf"(?:{_LABEL}\.)+(?=[a-z0-9-]*[a-z]){_LABEL}")


class Settings(BaseSettings):
    """Every setting of design section 7 that a process of this service reads."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    database_url: SecretStr
    redis_url: SecretStr
    public_url: str
    spa_url: str
    cors_origins: List = ()
    hook_origins: List = ()
    auth_jwks_url: str
    auth_issuer: str
    auth_audience: str
    auth_cookie: str = ""
    encryption_keys: SecretStr
    smtp_url: SecretStr
    mail_from: str
    zoom_client_id: str = ""
    zoom_client_secret: SecretStr = SecretStr("")
    zoom_redirect_uri: str = ""
    zoom_webhook_secret_token: SecretStr = SecretStr("")
    zoom_oauth_url: str = "https://zoom.us"
    zoom_api_url: str = "https://api.zoom.us"
    zoom_domains: List = ()
    join_opens_minutes: int = 15
    deliveries_kept_days: int = 30
    metrics_host: str = "127.0.0.1"
    metrics_port: int = 0
    log_level: str = "INFO"

    @field_validator("cors_origins", "hook_origins", "zoom_domains", mode="before")
    @classmethod
    def _comma_list(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("cors_origins", "hook_origins")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        # Pages of the first may call with the cookie, so a `*` would let in every page there is; hooks to the second
        # may go to machines that nobody else reaches.
        for origin in value:
            parts = urlsplit(origin)
            if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path.strip("/") or parts.query:
                raise ValueError("must be origins such as https://app.example, separated by commas")
        return tuple(origin.rstrip("/") for origin in value)

    @field_validator("zoom_domains")
    @classmethod
    def _domains(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        # Browsers are sent to these, and tokens to the API below them: a name of one label would be a whole registry.
        names = tuple(name.lower() for name in value)
        if not all(len(name) <= 253 and _DOMAIN.fullmatch(name) for name in names):
            raise ValueError("must be domains such as zoom.example, separated by commas")
        return names

    @field_validator("public_url", "spa_url", "auth_jwks_url", "zoom_oauth_url", "zoom_api_url")
    @classmethod
    def _web_address(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("must be an http or https URL")
        return value.rstrip("/")

    @field_validator("database_url")
    @classmethod
    def _postgres(cls, value: SecretStr) -> SecretStr:
        if urlsplit(value.get_secret_value()).scheme not in {"postgresql", "postgres"}:
            raise ValueError("must be a postgresql:// URL")
        return value

    @field_validator("redis_url")
    @classmethod
    def _redis(cls, value: SecretStr) -> SecretStr:
        if urlsplit(value.get_secret_value()).scheme not in {"redis", "rediss", "unix"}:
            raise ValueError("must be a redis:// URL")
        return value

    @field_validator("join_opens_minutes")
    @classmethod
    def _minutes(cls, value: int) -> int:
        if not 0 <= value <= 24 * 60:
            raise ValueError("must be between 0 and 1440 minutes")
        return value

    @field_validator("deliveries_kept_days")
    @classmethod
    def _days(cls, value: int) -> int:
        # Zoom repeats a notification for an hour and a half, and an interrupted creation is looked for two days long.
        if not 3 <= value <= 3650:
            raise ValueError("must be between 3 and 3650 days")
        return value

    @model_validator(mode="after")
    def _zoom_whole_or_not_at_all(self) -> Self:
        if not self.zoom_configured:
            return self
        if not self.webhook_secrets:
            raise ValueError("ZOOM_WEBHOOK_SECRET_TOKEN must be set where ZOOM_CLIENT_ID is")
        return self

    @property
    def zoom_configured(self) -> bool:
        """Whether an admin can connect a Zoom account here at all."""
        return bool(self.zoom_client_id and self.zoom_client_secret.get_secret_value() and self.zoom_redirect_uri)

    @cached_property
    def webhook_secrets(self) -> tuple[str, ...]:
        """The app's webhook secrets, several while one is being rotated."""
        return tuple(s.strip() for s in self.zoom_webhook_secret_token.get_secret_value().split(",") if s.strip())

    @cached_property
    def zoom_origins(self) -> frozenset[str]:
        """Origins other than Zoom's own that this instance was told to call Zoom: a simulator's, say."""
        return frozenset(f"{u.scheme}://{u.netloc}" for u in map(urlsplit, (self.zoom_oauth_url, self.zoom_api_url)))


class BadSettings(Exception):
    """One line that names the setting and what is wrong with it, never its value."""


def read_settings() -> Settings:
    """The settings of this process; raises `BadSettings` for the first one that is missing or malformed."""
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        name = str(first["loc"][0]).upper() if first["loc"] else ""
        message = "is not set" if first["type"] == "missing" else first["msg"].removeprefix("Value error, ")
        raise BadSettings(f"{name} {message}".strip()) from None
