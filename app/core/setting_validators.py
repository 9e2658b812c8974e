"""Checks of what the value of a setting must look like. Pure.

Each function returns the value or raises ValueError. The error's sentence follows the setting's name and never repeats
the value.
"""

import re
from collections.abc import Collection
from email.errors import HeaderParseError
from email.headerregistry import Address
from email.utils import getaddresses
from urllib.parse import SplitResult, parse_qs, urlsplit

WEB_SCHEMES = ("http", "https")
SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_HOST = re.compile(r"[A-Za-z0-9_.-]+|[0-9A-Fa-f:.]+")  # the second alternative: an IPv6 address
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 5.6.2
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def one_line(text: str) -> str:
    """Return a text that has no white space around it and no control characters."""
    if text != text.strip():
        raise ValueError("has white space before or after its value")
    if _CONTROL.search(text):
        raise ValueError("has a line break or another control character in it")
    return text


def web_url(url: str, *, query: bool = False) -> str:
    """Return an http or https URL without its last slash.

    It must have no user and no fragment, and a query only if `query` is set.
    """
    parts = _split(url, WEB_SCHEMES)
    if "@" in parts.netloc:
        raise ValueError("must not have a user or password in it")
    if not parts.hostname:
        raise ValueError("must be an http or https URL with a host")
    if parts.fragment or "#" in url or (not query and "?" in url):
        raise ValueError("must not have anything after its path")
    return url.rstrip("/")


def origin_url(url: str) -> str:
    """Return a URL that is an origin: it has no path, because the paths of this service are fixed."""
    if urlsplit(web_url(url)).path.strip("/"):
        raise ValueError("must not have a path: this service answers at /api and beside it")
    return url.rstrip("/")


def origin(url: str) -> str:
    """Return an origin, written as browsers write it."""
    try:
        return origin_url(url).lower()
    except ValueError:
        raise ValueError("must be origins such as https://app.example, separated by commas") from None


def postgres_url(url: str) -> str:
    """Return a PostgreSQL URL that asyncpg understands."""
    parts = _split(url, ("postgresql", "postgres"))
    mode = parse_qs(parts.query).get("sslmode", [SSL_MODES[0]])[-1]
    if mode not in SSL_MODES:
        raise ValueError(f"must have an sslmode of {', '.join(SSL_MODES)}")
    return url


def redis_url(url: str) -> str:
    """Return a Redis URL: a host and the number of a database, or the path of a socket."""
    parts = _split(url, ("redis", "rediss", "unix"))
    if parts.scheme == "unix":
        if not parts.path:
            raise ValueError("must name the path of a socket, such as unix:///run/redis.sock")
        return url
    number = parse_qs(parts.query).get("db", [parts.path.strip("/") or "0"])[-1]
    if not parts.hostname or not re.fullmatch("[0-9]{1,5}", number):
        raise ValueError("must be a host and the number of a database, such as redis://host:6379/0")
    return url


def mail_sender(text: str) -> str:
    """Return `address` or `Name <address>`, as the From of a mail."""
    found = getaddresses([text])
    if len(found) != 1:
        raise ValueError("must be one address, such as Name <events@example.org>; a name with a comma stands in quotes")
    [(_, address)] = found
    try:
        parsed = Address(addr_spec=address)
    except (HeaderParseError, ValueError, IndexError):
        parsed = Address()
    if not parsed.username or not _HOST.fullmatch(parsed.domain) or not address.isascii() or " " in address:
        raise ValueError("must be an address, or Name <events@example.org>")
    if "<" in text and not text.endswith(f"<{address}>"):
        raise ValueError("must end with its address, as in Name <events@example.org>")
    return text


def cookie_name(text: str) -> str:
    """Return the name of a cookie (RFC 6265 section 4.1.1)."""
    if not _TOKEN.fullmatch(text):
        raise ValueError("must be the name of a cookie: letters, digits and !#$%&'*+-.^_`|~")
    return text


def _split(url: str, schemes: Collection[str]) -> SplitResult:
    """Return the parts of a readable URL that has one of these schemes."""
    wanted = " or ".join(f"{scheme}://" for scheme in schemes)
    if not url.isascii() or re.search(r"[\s\\]", url):
        raise ValueError("must be a URL in ASCII, without spaces: what is not has to be percent-encoded")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        # The library's own sentence quotes the part it could not read, which may be a password.
        raise ValueError("has a host or port that cannot be read") from None
    if parts.scheme not in schemes or not url.lower().startswith(f"{parts.scheme}://"):
        raise ValueError(f"must be a URL that begins with {wanted}")
    if port == 0 or (parts.hostname and not _HOST.fullmatch(parts.hostname)):
        raise ValueError("has a host or port that cannot be read")
    return parts
