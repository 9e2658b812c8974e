"""Further domains of Zoom's, as an operator writes them."""

import pytest
from pydantic import ValidationError

from app.core.settings import Settings
from tests.accounts.house import settings_for


def domains(written: str) -> Settings:
    """The settings of a process told of these."""
    return settings_for("postgresql://nowhere/db", "http://127.0.0.1:9", zoom_domains=written)


def test_domains_are_a_list_in_any_case() -> None:
    assert domains("").zoom_domains == ()
    assert domains("zoom.example, Zoom-X.EXAMPLE,").zoom_domains == ("zoom.example", "zoom-x.example")


@pytest.mark.parametrize(
    "written",
    [
        "example",
        "com",
        "*.zoom.example",
        ".zoom.example",
        "zoom.example.",
        "https://zoom.example",
        "zoom.example:443",
        "zoom.example/j",
        "user@zoom.example",
        "zoom example.org",
        "127.0.0.1",
        "zoom_x.example",
        "xn--zm-bcaa.example",
        "zoöm.example",
        "-zoom.example",
        f"{'a' * 64}.example",
        "zoom.us, evil",
    ],
)
def test_what_is_no_domain_is_refused_with_the_setting_named(written: str) -> None:
    with pytest.raises(ValidationError) as refused:
        domains(written)
    [wrong] = refused.value.errors(include_input=False, include_url=False)
    assert wrong["loc"] == ("zoom_domains",)
    assert "must be domains such as zoom.example" in wrong["msg"]
