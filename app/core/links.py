"""Links with names that people chose: a community's SPA page, and any URL percent-encoded to ASCII. Pure.

A slug may have any letters, but a header and a link take ASCII only.
"""

import string
from urllib.parse import quote

_ASCII = string.ascii_letters + string.digits + string.punctuation


def spa_page(spa_url: str, community_slug: str, *path: str) -> str:
    """Return the URL of a community's page in the SPA. The slug is quoted and stays one path segment."""
    return "/".join((spa_url, quote(community_slug, safe=""), *path))


def ascii_url(url: str) -> str:
    """Return `url` with all characters percent-encoded that a header cannot hold; others stay."""
    return quote(url, safe=_ASCII)
