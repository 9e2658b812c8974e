"""Reads all settings from the environment, once; stops the process with a line for each that is wrong."""

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, ValidatorFunctionWrapHandler, field_validator, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.core import setting_validators
from app.core.crypto import Encryption

CALLBACK_PATH = "/api/integrations/zoom/callback"
ZOOM_APP_SETTINGS = ("zoom_client_id", "zoom_client_secret", "zoom_redirect_uri", "zoom_webhook_secret_token")
CommaList = Annotated[tuple[str, ...], NoDecode]
LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]
_LABEL = r"(?!xn--)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
# A domain has two labels or more. The last one contains a letter, so that an IP address is no domain.
_DOMAIN = re.compile(rf"(?:{_LABEL}\.)+(?=[a-z0-9-]*[a-z]){_LABEL}")


class Settings(BaseSettings):
    """Every setting that a process of this service reads (design, section 7).

    An empty variable counts as unset.
    """

    model_config = SettingsConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True, env_ignore_empty=True)

    database_url: SecretStr
    redis_url: SecretStr
    public_url: str
    spa_url: str
    cors_origins: CommaList = ()
    hook_origins: CommaList = ()
    auth_jwks_url: str
    auth_issuer: Annotated[str, Field(min_length=1)]
    auth_audience: Annotated[str, Field(min_length=1)]
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
    zoom_domains: CommaList = ()
    join_opens_minutes: Annotated[int, Field(ge=0, le=24 * 60)] = 15
    # At least three days, because Zoom repeats a notification for an hour and a half, and an interrupted creation of a
    # meeting is looked for during two days.
    deliveries_kept_days: Annotated[int, Field(ge=3, le=3650)] = 30
    metrics_host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    metrics_port: Annotated[int, Field(ge=0, le=65535)] = 0
    log_level: LogLevel = "INFO"

    @field_validator("*", mode="before")
    @classmethod
    def _one_line(cls, value: object) -> object:
        if isinstance(value, str | SecretStr):
            setting_validators.one_line(_plain_text(value))
        return value

    @field_validator("cors_origins", "hook_origins", "zoom_domains", mode="before")
    @classmethod
    def _comma_list(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("cors_origins", "hook_origins")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        # Pages of `cors_origins` may call with the cookie, so a `*` would admit every page on the web. Hooks to
        # `hook_origins` may reach machines that nobody else reaches.
        return tuple(map(setting_validators.origin, value))

    @field_validator("zoom_domains")
    @classmethod
    def _domains(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        # Browsers are redirected to these domains, and tokens are sent to the API below them. A name of one label would
        # be a whole registry, such as `com`.
        names = tuple(name.lower() for name in value)
        if not all(len(name) <= 253 and _DOMAIN.fullmatch(name) for name in names):
            raise ValueError("must be domains such as zoom.example, separated by commas")
        return names

    @field_validator("log_level", mode="before")
    @classmethod
    def _level(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    _own = field_validator("public_url")(setting_validators.origin_url)
    _web = field_validator("spa_url", "zoom_oauth_url", "zoom_api_url")(setting_validators.web_url)
    _sender = field_validator("mail_from")(setting_validators.mail_sender)

    @field_validator("auth_jwks_url")
    @classmethod
    def _keys(cls, value: str) -> str:
        return setting_validators.web_url(value, query=True)

    @field_validator("auth_cookie")
    @classmethod
    def _cookie(cls, value: str) -> str:
        return setting_validators.cookie_name(value) if value else value

    @field_validator("database_url")
    @classmethod
    def _postgres(cls, value: SecretStr) -> SecretStr:
        return _checked(value, setting_validators.postgres_url)

    @field_validator("redis_url")
    @classmethod
    def _redis(cls, value: SecretStr) -> SecretStr:
        return _checked(value, setting_validators.redis_url)

    @field_validator("encryption_keys")
    @classmethod
    def _opens(cls, value: SecretStr) -> SecretStr:
        try:
            return _checked(value, Encryption.parse)
        except ValueError as error:
            raise ValueError(f"cannot be used: {error}") from None

    @model_validator(mode="wrap")
    @classmethod
    def _zoom_app(cls, values: Any, handler: ValidatorFunctionWrapHandler) -> Self:
        """Check Zoom's settings against each other and `public_url`; report their errors with all others."""
        if not isinstance(values, Mapping):
            settings: Self = handler(values)
            return settings
        combined = list(_zoom_app_errors(values))
        errors: list[InitErrorDetails] = []
        try:
            settings = handler(values)
        except ValidationError as error:
            errors = [_without_value(fault) for fault in error.errors()]
        failed_names = {fault["loc"][0] for fault in errors if fault.get("loc")}
        errors += [_error_details(name, what) for name, what in combined if name not in failed_names]
        if errors:
            raise ValidationError.from_exception_data(cls.__name__, errors, hide_input=True)
        return settings

    @property
    def zoom_configured(self) -> bool:
        """Whether admins can connect a Zoom account on this installation at all."""
        return bool(self.zoom_client_id)

    @cached_property
    def webhook_secrets(self) -> tuple[str, ...]:
        """The app's webhook secrets; there are several while one is being rotated."""
        return _split_list(self.zoom_webhook_secret_token.get_secret_value())

    @cached_property
    def zoom_origins(self) -> frozenset[str]:
        """The origins under which this installation calls Zoom, which may be a simulator's."""
        return frozenset(f"{u.scheme}://{u.netloc}" for u in map(urlsplit, (self.zoom_oauth_url, self.zoom_api_url)))


class SettingsError(Exception):
    """The settings keep a process from running.

    Each of `lines` names one setting and what is wrong with it, never its value.
    """

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


def read_settings(settings_class: type[Settings] = Settings) -> Settings:
    """Return the settings of this process.

    `settings_class` may check more than `Settings` does. Raises `SettingsError` with everything that is missing or
    malformed.
    """
    try:
        return settings_class()
    except ValidationError as error:
        errors = error.errors(include_input=False, include_url=False)
    raise SettingsError(*(_describe_error(str(fault["loc"][0]).upper(), fault) for fault in errors))


def _describe_error(name: str, fault: Mapping[str, Any]) -> str:
    if fault["type"] in {"missing", "string_too_short"}:
        return f"{name} is not set"
    what = str(fault["msg"]).removeprefix("Value error, ").replace("Input should", "must")
    return f"{name} {what}"


def _zoom_app_errors(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with the combination of Zoom's four settings: name and sentence."""
    texts = {name: _plain_text(values.get(name, "")) for name in (*ZOOM_APP_SETTINGS, "public_url")}
    if not any(texts[name] for name in ZOOM_APP_SETTINGS):
        return
    present = next(name for name in ZOOM_APP_SETTINGS if texts[name])
    for name in ZOOM_APP_SETTINGS:
        if not (_split_list(texts[name]) if name == "zoom_webhook_secret_token" else texts[name]):
            yield name, f"is not set, although {present.upper()} is: Zoom's four settings come together or not at all"
    public = re.match(r"\w+://[^/?#]+", texts["public_url"])
    if public and texts["zoom_redirect_uri"] not in {"", public[0] + CALLBACK_PATH}:
        yield "zoom_redirect_uri", f"must be PUBLIC_URL and then {CALLBACK_PATH}"


def _split_list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _plain_text(value: object) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)


def _checked(value: SecretStr, check: Callable[[str], object]) -> SecretStr:
    check(value.get_secret_value())
    return value


def _error_details(name: str, what: str) -> InitErrorDetails:
    # The sentence is a parameter, because pydantic would read braces in the message as fields.
    return InitErrorDetails(type=PydanticCustomError("value_error", "{what}", {"what": what}), loc=(name,), input=None)


def _without_value(fault: Any) -> InitErrorDetails:
    """Return pydantic's error details again without the value, which may be secret."""
    error_type = PydanticCustomError(fault["type"], "{what}", {"what": fault["msg"]})
    return InitErrorDetails(type=error_type, loc=fault["loc"], input=None)
