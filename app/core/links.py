"""Addresses made of names that people chose. A slug may have any letters; a header and a link take ASCII only. Pure."""

import string
from urllib.parse import quote

_ASCII = string.ascii_letters + string.digits + string.punctuation


def spa_page(spa_url: str, community_slug: str, *path: str) -> str:
    """A page of a community in the SPA. Nothing in the slug is taken for more than a part of the path."""
    return "/".join((spa_url, quote(community_slug, safe=""), *path))


def ascii_url(url: str) -> str:
    """`url` with everything percent-encoded that a header cannot hold; what is fine already stays byte for byte."""
    return quote(url, safe=_ASCII)
