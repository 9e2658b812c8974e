"""A URL made of any name is a valid URL and fits into a header."""

from urllib.parse import unquote, urlsplit

from hypothesis import given
from hypothesis import strategies as st

from app.core.links import ascii_url, spa_page

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(NAMES)
def test_a_slug_is_one_part_of_the_path_and_nothing_else(slug: str) -> None:
    page = spa_page("https://spa.example/app", slug, "events", "7")
    assert page.isascii()
    parts = urlsplit(page)
    assert (parts.netloc, parts.query, parts.fragment) == ("spa.example", "", "")
    assert [unquote(part) for part in parts.path.split("/")] == ["", "app", slug, "events", "7"]


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_what_goes_into_a_header_fits_into_it(url: str) -> None:
    sent = ascii_url(url)
    assert sent.isascii()
    assert sent.isprintable()
    assert " " not in sent


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E)))
def test_what_fits_already_stays_byte_for_byte(url: str) -> None:
    assert ascii_url(url) == url
