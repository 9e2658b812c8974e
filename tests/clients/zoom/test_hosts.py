"""Addresses that claim to be Zoom's."""

import pytest

from app.clients.zoom import ForeignHost, accepted_api_url, is_zoom_link

from .conftest import API

SIMULATOR = "http://127.0.0.1:5001"


@pytest.mark.parametrize(
    ("api_url", "origin"),
    [
        (None, API),
        ("", API),
        ("https://api.zoom.us", API),
        ("https://api.zoom.us/", API),
        ("https://API.zoom.us:443", API),
        ("https://api-eu.zoom.us", "https://api-eu.zoom.us"),
        ("https://api-au.zoom.us", "https://api-au.zoom.us"),
    ],
)
def test_zooms_own_api_hosts_are_accepted(api_url: str | None, origin: str) -> None:
    assert accepted_api_url(api_url, API) == origin


@pytest.mark.parametrize("api_url", [SIMULATOR, f"{SIMULATOR}/"])
def test_the_configured_host_is_accepted_as_it_is(api_url: str) -> None:
    assert accepted_api_url(api_url, SIMULATOR) == SIMULATOR


@pytest.mark.parametrize(
    "api_url",
    [
        "http://api.zoom.us",
        "https://zoom.us",
        "https://api-europe.zoom.us",
        "https://api-eu.zoom.us.example.com",
        "https://apixeu.zoom.us",
        "https://api.zoom.us@example.com",
        "https://user:pw@api.zoom.us",
        "https://example.com\\@api.zoom.us",
        "https://example.com\\.api.zoom.us",
        "https://api.zoom.us:8443",
        "https://api.zoom.us:99999",
        "https://api.zoom.us/v2/evil",
        "https://169.254.169.254",
        "http://127.0.0.1:5002",
        "https://[::1",
        "//api.zoom.us",
        "api.zoom.us",
        "https://api.zoom.us\n",
    ],
)
def test_a_token_is_sent_nowhere_else(api_url: str) -> None:
    for configured in (API, SIMULATOR):
        with pytest.raises(ForeignHost) as caught:
            accepted_api_url(api_url, configured)
        assert caught.value.again == "never"


@pytest.mark.parametrize(
    "url",
    [
        "https://zoom.us/j/85746065432?pwd=x",
        "https://us06web.zoom.us/w/85746065432?tk=abc.DQ",
        "https://river-side.zoom.us/j/1",
        "https://US06WEB.ZOOM.US/j/1",
        "https://zoom.us:443/j/1",
    ],
)
def test_browsers_are_sent_to_zoom(url: str) -> None:
    assert is_zoom_link(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://zoom.us/j/1",
        "https://evilzoom.us/j/1",
        "https://zoom.us.example.com/j/1",
        "https://zoom.us@example.com/j/1",
        "https://example.com\\.zoom.us/j/1",
        "https://example.com/\\zoom.us",
        "https://example.com#.zoom.us",
        "https://exa\tmple.zoom.us/j/1",
        "https://zoom.us/j/1\r\nSet-Cookie: a=b",
        "https://zoom.us:8443/j/1",
        "https://.zoom.us/j/1",
        "javascript:alert(1)//.zoom.us",
        "//zoom.us/j/1",
        SIMULATOR,
    ],
)
def test_browsers_are_sent_nowhere_else(url: str) -> None:
    assert not is_zoom_link(url)


def test_configured_origins_are_zooms_too_and_nothing_that_looks_like_them() -> None:
    assert is_zoom_link(f"{SIMULATOR}/w/1?tk=2", [f"{SIMULATOR}/"])
    assert not is_zoom_link("http://127.0.0.1:50011/w/1", [SIMULATOR])
    assert not is_zoom_link("http://127.0.0.1:5001@example.com/w/1", [SIMULATOR])
    assert not is_zoom_link("https://127.0.0.1:5001/w/1", [SIMULATOR])
