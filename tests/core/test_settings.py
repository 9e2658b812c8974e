"""All errors of the environment are reported at once, one line each, never with a value."""

import os
from collections.abc import Callable, Mapping
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core import setting_validators
from app.core.settings import Settings, SettingsError
from app.resources import read_settings
from tests.cli.test_processes import SETTINGS

ZOOM = {
    "ZOOM_CLIENT_ID": "client",
    "ZOOM_CLIENT_SECRET": "secret-of-the-app",
    "ZOOM_REDIRECT_URI": "https://api.example/api/integrations/zoom/callback",
    "ZOOM_WEBHOOK_SECRET_TOKEN": "webhook-secret",
}
WHOLE = SETTINGS | ZOOM
WEB = ("PUBLIC_URL", "SPA_URL", "AUTH_JWKS_URL", "ZOOM_OAUTH_URL", "ZOOM_API_URL")
RULES = [
    *(
        setting_validators.one_line,
        setting_validators.web_url,
        setting_validators.origin_url,
        setting_validators.origin,
    ),
    *(
        setting_validators.postgres_url,
        setting_validators.redis_url,
        setting_validators.mail_sender,
        setting_validators.cookie_name,
    ),
]


def read_with(variables: Mapping[str, str]) -> Settings:
    """Return the settings of a process with exactly these variables."""
    with patch.dict(os.environ, variables, clear=True):
        return read_settings()


def errors_of(**changes: str | None) -> list[str]:
    """Return the errors of valid settings with these changes; None removes a variable."""
    with pytest.raises(SettingsError) as refused:
        read_with({name: value for name, value in (WHOLE | changes).items() if value is not None})
    return list(refused.value.lines)


def test_good_settings_are_read_with_and_without_zoom() -> None:
    assert read_with(WHOLE).zoom_configured
    assert not read_with(SETTINGS).zoom_configured


@pytest.mark.parametrize("name", sorted(SETTINGS))
@pytest.mark.parametrize("value", [None, ""])
def test_what_is_required_is_named_where_it_is_missing_or_empty(name: str, value: str | None) -> None:
    errors = errors_of(**{name: value}, **dict.fromkeys(ZOOM))
    assert errors == [f"{name} is not set"]


def test_an_empty_variable_that_is_not_required_is_none() -> None:
    optional = {name.upper() for name in Settings.model_fields} - set(SETTINGS)
    assert read_with(SETTINGS | dict.fromkeys(optional, "")) == read_with(SETTINGS)


@pytest.mark.parametrize(
    "name", sorted(name.upper() for name in Settings.model_fields if not name.endswith(("origins", "domains")))
)
@pytest.mark.parametrize("value", [" {}", "{} ", "{}\n", "\t", "{}\x00{}", "{}\u2028"])
def test_white_space_around_a_value_and_control_characters_are_faults(name: str, value: str) -> None:
    text = value.replace("{}", WHOLE.get(name, "15"))
    if "\x00" in text:  # the environment cannot contain it, but a file of settings can
        with pytest.raises(ValueError, match=name.lower()):
            Settings.model_validate({key.lower(): default for key, default in (WHOLE | {name: text}).items()})
        return
    errors = errors_of(**{name: text})
    assert any(line.startswith(f"{name} has ") for line in errors), errors


@pytest.mark.parametrize("name", WEB)
@pytest.mark.parametrize(
    "value",
    [
        *("example.org", "//example.org", "ftp://example.org", "https:/example.org", "https://", "https:///path", "x"),
        *("https://user@example.org", "https://user:secret-word@example.org", "https://:secret-word@example.org"),
        *("https://exa mple.org", "https://example.org\\@evil.example", "https://käse.example", "https://exa<mple.org"),
        *("https://example.org:port", "https://example.org:99999", "https://example.org:0", "https://[::1"),
        *("https://example.org/#fragment", "https://example.org/#"),
    ],
)
def test_an_address_that_is_none_is_named(name: str, value: str) -> None:
    lines = [line for line in errors_of(**{name: value}) if line.startswith(f"{name} ")]
    assert len(lines) == 1
    assert "secret-word" not in lines[0]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("PUBLIC_URL", "https://api.example/kindryn"), ("PUBLIC_URL", "https://api.example?x=1")),
        *(("SPA_URL", "https://spa.example/?x=1"), ("ZOOM_API_URL", "https://api.zoom.us?x")),
        *(("CORS_ORIGINS", "*"), ("CORS_ORIGINS", "https://a.example,null"), ("CORS_ORIGINS", "https://a.example/x")),
        *(("HOOK_ORIGINS", "http://user:secret-word@inside:8080"), ("HOOK_ORIGINS", "inside:8080")),
        *(("DATABASE_URL", "mysql://db/kindryn"), ("DATABASE_URL", "postgresql:db"), ("DATABASE_URL", "db")),
        *(("DATABASE_URL", "postgresql://u:secret-word@db:port/k"), ("DATABASE_URL", "postgresql://d b/k")),
        *(("DATABASE_URL", "postgresql://db/k?sslmode=on"), ("DATABASE_URL", "postgresql+asyncpg://db/k")),
        *(("REDIS_URL", "http://redis"), ("REDIS_URL", "redis://"), ("REDIS_URL", "redis://:secret-word@/0")),
        *(("REDIS_URL", "redis://redis/first"), ("REDIS_URL", "redis://redis?db=x"), ("REDIS_URL", "unix://")),
        *(
            ("AUTH_COOKIE", "a cookie"),
            ("AUTH_COOKIE", "cookie=1"),
            ("AUTH_COOKIE", "a;b"),
            ("AUTH_COOKIE", "sitzung-ä"),
        ),
        *(("ENCRYPTION_KEYS", "k1"), ("ENCRYPTION_KEYS", "k1:c2VjcmV0LXdvcmQ"), ("ENCRYPTION_KEYS", ",")),
        *(("SMTP_URL", "http://mail"), ("SMTP_URL", "smtp://"), ("SMTP_URL", "smtp://user@mail")),
        *(("SMTP_URL", "smtp://u:secret-word@mail/path"), ("SMTP_URL", "smtp://mail:port")),
        *(
            ("MAIL_FROM", "Kindryn"),
            ("MAIL_FROM", "Kindryn <>"),
            ("MAIL_FROM", "events@"),
            ("MAIL_FROM", "@kindryn.example"),
        ),
        *(("MAIL_FROM", "a@b.example, c@d.example"), ("MAIL_FROM", "Kindryn, Inc. <events@kindryn.example>")),
        *(("MAIL_FROM", "Kindryn <events@kindryn.example> x"), ("MAIL_FROM", "a b@kindryn.example")),
        *(("MAIL_FROM", "Kindryn <events@kindryn.example"), ("MAIL_FROM", "events@@kindryn.example")),
        *(("JOIN_OPENS_MINUTES", "-1"), ("JOIN_OPENS_MINUTES", "1441"), ("JOIN_OPENS_MINUTES", "soon")),
        *(("JOIN_OPENS_MINUTES", "1.5"), ("DELIVERIES_KEPT_DAYS", "2"), ("DELIVERIES_KEPT_DAYS", "3651")),
        *(("METRICS_PORT", "-1"), ("METRICS_PORT", "65536"), ("METRICS_PORT", "http"), ("LOG_LEVEL", "LOUD")),
        *(("ZOOM_REDIRECT_URI", "https://elsewhere.example/api/integrations/zoom/callback"), ("LOG_LEVEL", "NOTSET")),
        *(("ZOOM_REDIRECT_URI", "https://api.example/"), ("ZOOM_REDIRECT_URI", "https://api.example.evil.example/api")),
        *(("ZOOM_CLIENT_ID", None), ("ZOOM_CLIENT_SECRET", ""), ("ZOOM_REDIRECT_URI", None)),
        *(("ZOOM_WEBHOOK_SECRET_TOKEN", None), ("ZOOM_WEBHOOK_SECRET_TOKEN", ","), ("ZOOM_WEBHOOK_SECRET_TOKEN", "")),
    ],
)
def test_one_setting_that_cannot_be_used_is_one_line_that_begins_with_its_name(name: str, value: str | None) -> None:
    [line] = errors_of(**{name: value})
    assert line.startswith(f"{name} ")
    assert line.count(name) == 1
    assert "\n" not in line
    assert "secret-word" not in line
    assert not value or len(value) < 12 or value not in line


def test_everything_that_is_wrong_is_said_at_once() -> None:
    wrong = {
        "DATABASE_URL": "mysql://db",
        "REDIS_URL": "http://redis",
        "PUBLIC_URL": "https://api.example/path",
        "SPA_URL": None,
        "AUTH_ISSUER": "",
        "AUTH_COOKIE": "a b",
        "ENCRYPTION_KEYS": "k1",
        "SMTP_URL": "smtp://",
        "MAIL_FROM": "Kindryn",
        "ZOOM_CLIENT_SECRET": None,
        "ZOOM_REDIRECT_URI": "https://elsewhere.example/",
        "ZOOM_WEBHOOK_SECRET_TOKEN": None,
        "JOIN_OPENS_MINUTES": "soon",
        "METRICS_PORT": "65536",
        "LOG_LEVEL": "LOUD",
    }
    errors = errors_of(**wrong)
    assert sorted(line.split()[0] for line in errors) == sorted(wrong)


@pytest.mark.parametrize("missing", [1, 2, 3])
def test_of_zooms_four_each_that_is_missing_is_named(missing: int) -> None:
    gone = list(ZOOM)[:missing]
    errors = errors_of(**dict.fromkeys(gone))
    assert [line.split()[0] for line in errors] == gone


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("PUBLIC_URL", "https://api.example/"), ("SPA_URL", "http://localhost:5173/app/"), ("LOG_LEVEL", "debug")),
        *(("AUTH_JWKS_URL", "http://my_platform:8080/jwks?v=1"), ("SPA_URL", "http://[::1]:3000")),
        *(
            ("DATABASE_URL", "postgres://u:p%40ss@[::1]:5432/k?sslmode=verify-full"),
            ("DATABASE_URL", "postgresql:///k"),
        ),
        *(("REDIS_URL", "rediss://:p%40ss@redis:6380/15"), ("REDIS_URL", "unix:///run/redis.sock?db=2")),
        *(("MAIL_FROM", "events@localhost"), ("MAIL_FROM", '"Kindryn, Inc." <events@kindryn.example>')),
        *(("MAIL_FROM", "Käse & Söhne <events@kindryn.example>"), ("AUTH_COOKIE", "__Host-session")),
        *(("CORS_ORIGINS", "https://a.example/, https://b.example"), ("METRICS_PORT", "65535")),
        *(("ZOOM_WEBHOOK_SECRET_TOKEN", "old, new"), ("SMTP_URL", "smtps://u:p%40ss@mail:465")),
    ],
)
def test_what_can_be_used_is_taken(name: str, value: str) -> None:
    assert read_with(WHOLE | {name: value})


def test_origins_are_compared_as_browsers_write_them() -> None:
    assert read_with(WHOLE | {"CORS_ORIGINS": "https://App.Example/"}).cors_origins == ("https://app.example",)


@pytest.mark.parametrize("rule", RULES)
@given(text=st.one_of(st.text(), st.from_regex(r"(https|postgresql|redis|unix)://[^ ]*", fullmatch=True)))
def test_whatever_is_given_a_rule_takes_it_or_says_why_not(rule: Callable[[str], str], text: str) -> None:
    taken = text
    why_not = None
    try:
        taken = rule(text)
    except ValueError as error:
        why_not = str(error)
    assert why_not is None or len(why_not.splitlines()) == 1
    assert taken in {text, text.rstrip("/"), text.rstrip("/").lower()}


def test_further_domains_of_zoom_are_a_list_in_any_case() -> None:
    assert read_with(WHOLE).zoom_domains == ()
    assert read_with(WHOLE | {"ZOOM_DOMAINS": "zoom.example, Zoom-X.EXAMPLE,"}).zoom_domains == (
        "zoom.example",
        "zoom-x.example",
    )


@pytest.mark.parametrize(
    "written",
    [
        *("example", "com", "*.zoom.example", ".zoom.example", "zoom.example.", "https://zoom.example"),
        *("zoom.example:443", "zoom.example/j", "user@zoom.example", "zoom example.org", "127.0.0.1"),
        *("zoom_x.example", "xn--zm-bcaa.example", "zoöm.example", "-zoom.example", f"{'a' * 64}.example"),
        "zoom.us, evil",
    ],
)
def test_what_is_no_domain_of_zoom_is_refused_with_the_setting_named(written: str) -> None:
    [line] = errors_of(ZOOM_DOMAINS=written)
    assert line.startswith("ZOOM_DOMAINS must be domains such as zoom.example")
