"""URLs that claim to be Zoom's."""

from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.clients.zoom import UntrustedHost, is_zoom_link, trusted_api_origin
from app.clients.zoom.allowed_hosts import DOMAINS
from tests.clients.zoom.conftest import API

SIMULATOR = "http://127.0.0.1:5001"


@pytest.mark.parametrize(
    ("api_url", "origin"),
    [
        (None, API),
        ("", API),
        ("https://api.zoom.us", API),
        ("https://api.zoom.us/", API),
        ("https://api-eu.zoom.us", "https://api-eu.zoom.us"),
        ("https://api-au.zoom.us", "https://api-au.zoom.us"),
        ("https://api.zoomgov.com", "https://api.zoomgov.com"),
        ("https://api-us.zoomgov.com/", "https://api-us.zoomgov.com"),
        ("https://api.zoom.com", "https://api.zoom.com"),
        ("https://api.zoom-x.de", "https://api.zoom-x.de"),
        ("https://api.zoom.com.cn", "https://api.zoom.com.cn"),
    ],
)
def test_zooms_own_api_hosts_are_accepted(api_url: str | None, origin: str) -> None:
    assert trusted_api_origin(api_url, API) == origin


@pytest.mark.parametrize("api_url", [SIMULATOR, f"{SIMULATOR}/"])
def test_the_configured_host_is_accepted_as_it_is(api_url: str) -> None:
    assert trusted_api_origin(api_url, SIMULATOR) == SIMULATOR


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
        "https://api.zoom.us:443",
        "https://API.zoom.us",
        "https://api.zoom.us.",
        "https://api.zoom.us?",
        "https://api.zoomgov.com.evil.example",
        "https://api.com.cn",
        "https://api.acme.zoom.us",
        "https://api.zoom。us",
        "https://api.xn--zm-bcaa.us",
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
        with pytest.raises(UntrustedHost) as caught:
            trusted_api_origin(api_url, configured)
        assert caught.value.retry == "when_reconnected"


@pytest.mark.parametrize(
    "url",
    [
        "https://zoom.us/j/85746065432?pwd=x",
        "https://us06web.zoom.us/w/85746065432?tk=abc.DQ",
        "https://river-side.zoom.us/j/1",
        "https://acme.zoom-x.de/j/1",
        "https://acme.zoom.com/j/1",
        "https://acme.zoomgov.com/w/1?tk=abc.DQ",
        "https://acme-edu.zoom.us/j/1",
        "https://zoom.com.cn/j/1",
        "https://success.zoom.com.cn/j/1",
        "https://zoom.us?x=1",
        "https://zoom.us",
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
        "https://zoom.us:443/j/1",
        "https://zoom.us:/j/1",
        "https://US06WEB.ZOOM.US/j/1",
        "HTTPS://zoom.us/j/1",
        "https://zoom.us./j/1",
        "https://zoom..us/j/1",
        "https://zoom.us.evil.example/j/1",
        "https://zoom.us.de/j/1",
        "https://com.cn/j/1",
        "https://xzoom-x.de/j/1",
        "https://zoom-x.de.example/j/1",
        "https://zoomgov.us/j/1",
        "https://xn--acme.zoom.us/j/1",
        "https://xn--zm-bcaa.us/j/1",
        "https://acme。zoom.us/j/1",
        "https://acme．zoom.us/j/1",
        "https://zoоm.us/j/1",
        "https://zoom.us/j/1é",
        "https://zoom.us /j/1",
        " https://zoom.us/j/1",
        "https://zoom.us/j/1 ",
        "https://zoom.us\\@evil.example/j/1",
        "https://user@zoom.us/j/1",
        "https://user:pw@zoom.us/j/1",
        "https://evil.example%2f.zoom.us/j/1",
        "https://evil.example/.zoom.us",
        "https://evil.example?.zoom.us",
        "https://evil.example;.zoom.us/j/1",
        "https:///zoom.us/j/1",
        "https:zoom.us/j/1",
        "https://-acme.zoom.us/j/1",
        f"https://{'a' * 64}.zoom.us/j/1",
        f"https://{'a.' * 130}zoom.us/j/1",
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
    assert not is_zoom_link("http://127.0.0.1:5001\\w", [SIMULATOR])


def test_an_operator_can_name_further_domains_of_zooms() -> None:
    further = ["zoom.example"]
    assert is_zoom_link("https://acme.zoom.example/j/1", domains=further)
    assert is_zoom_link("https://acme.zoom-x.de/j/1", domains=further)
    assert not is_zoom_link("https://acme.zoom.example.org/j/1", domains=further)
    assert trusted_api_origin("https://api.zoom.example", API, further) == "https://api.zoom.example"
    with pytest.raises(UntrustedHost):
        trusted_api_origin("https://zoom.example", API, further)


LABELS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True).filter(lambda one: one[:4] != "xn--")
PATHS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="\\")).map("/".__add__)


@given(st.lists(LABELS, max_size=4), st.sampled_from(sorted(DOMAINS)), PATHS)
def test_every_subdomain_of_every_domain_of_zooms_is_zooms(labels: list[str], domain: str, path: str) -> None:
    assert is_zoom_link(f"https://{'.'.join([*labels, domain])}{path}")


@given(st.lists(LABELS, min_size=1, max_size=3), st.sampled_from(sorted(DOMAINS)), PATHS)
def test_a_domain_of_zooms_in_front_of_another_is_not_zooms(labels: list[str], domain: str, path: str) -> None:
    host = f"{domain}.{'.'.join(labels)}"
    assert is_zoom_link(f"https://{host}{path}") == any(host.endswith(f".{one}") for one in DOMAINS)


FORBIDDEN_TEXT = ["\\", " ", "\t", "\n", "@", ":443", "%2e", "。", "а", "Z", "..", "_"]


@given(
    st.lists(LABELS, max_size=3),
    st.sampled_from(sorted(DOMAINS)),
    st.sampled_from(FORBIDDEN_TEXT),
    st.integers(min_value=0, max_value=300),
)
def test_nothing_hides_in_a_host(labels: list[str], domain: str, inserted: str, where: int) -> None:
    host = ".".join([*labels, domain])
    position = where % (len(host) + 1)
    assert not is_zoom_link(f"https://{host[:position]}{inserted}{host[position:]}/j/1")


@given(st.text(max_size=60), st.sampled_from(["https://", "http://", "", "//", "javascript:"]))
def test_what_is_taken_for_zooms_leads_there_by_every_reading(text: str, scheme: str) -> None:
    url = f"{scheme}{text}zoom.us/j/1"
    if is_zoom_link(url):
        parts = urlsplit(url)
        assert (parts.scheme, parts.netloc) == ("https", parts.hostname)
        assert httpx.URL(url).host == parts.hostname
        assert f".{parts.hostname}".endswith(".zoom.us")
