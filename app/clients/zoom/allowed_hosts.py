"""Checks which URLs lead to Zoom (pure). The app uses a URL from a response only if it does.

Zoom's domains are zoom.us, zoom.com, zoomgov.com (Zoom for Government), zoom-x.de (Deutsche Telekom) and zoom.com.cn,
each with subdomains of customers (`acme.zoom.us`). An operator may name more. The API answers at `api.` below a domain,
and regionally at `api-{au,ca,eu,in,sa,sg,uk,us}.`. That list grows, so any two letters count
(developers.zoom.us/docs/api/using-zoom-apis/).

One strict pattern matches a URL; no lenient parser reads it. Browsers, proxies and libraries disagree about user names,
ports, backslashes, white space, international dots and letters. Zoom uses none of these.
"""

import re
from collections.abc import Collection

from app.clients.zoom.errors import UntrustedHost

DOMAINS = frozenset({"zoom.us", "zoom.com", "zoomgov.com", "zoom-x.de", "zoom.com.cn"})

_DNS_LABEL = r"(?!xn--)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HTTPS_URL = re.compile(rf"https://((?:{_DNS_LABEL}\.)+{_DNS_LABEL})(?:[/?#].*)?")
_VISIBLE_ASCII = re.compile(r"(?:(?!\\)[!-~])+")  # visible ASCII without `\`, which browsers read as `/`
_API_HOST_LABEL = re.compile(r"api(-[a-z]{2})?")


def host_of_plain_url(url: str) -> str | None:
    """Return the host of a plainly written `https` URL, or None for every other URL.

    Plain means: lower case, ASCII, no port, no user name, no punycode, and no white space or backslash anywhere.
    """
    plain = _HTTPS_URL.fullmatch(url) if _VISIBLE_ASCII.fullmatch(url) else None
    return plain[1] if plain and len(plain[1]) <= 253 else None


def trusted_api_origin(api_url: str | None, configured: str, domains: Collection[str] = ()) -> str:
    """Return the origin to call for a grant whose token came with `api_url`.

    Without an `api_url` it is `configured` (`ZOOM_API_URL`). The function accepts `configured` itself (a simulator may
    use `http`), and `https` with an API host of Zoom's domains or of the further `domains`. Raises UntrustedHost for
    any other, because a token must not be sent anywhere else.
    """
    if not api_url or api_url.rstrip("/") == configured.rstrip("/"):
        return configured.rstrip("/")
    host = host_of_plain_url(api_url)
    label, _, domain = (host or "").partition(".")
    if (
        _API_HOST_LABEL.fullmatch(label)
        and domain in DOMAINS.union(domains)
        and api_url.rstrip("/") == f"https://{host}"
    ):
        return f"https://{host}"
    raise UntrustedHost("api_url is not one of Zoom's hosts", operation="trusted_api_origin")


def is_zoom_link(url: str, origins: Collection[str] = (), domains: Collection[str] = ()) -> bool:
    """Return whether a browser may be sent to `url`.

    It may be `https` on one of Zoom's domains or of the further `domains`, or on a subdomain of one. It may also be on
    one of `origins` (`scheme://host:port`, the configured ones).
    """
    if not _VISIBLE_ASCII.fullmatch(url):
        return False
    for origin in origins:
        rest = url.removeprefix(origin.rstrip("/"))
        if rest != url and (not rest or rest[0] in "/?#"):
            return True
    host = host_of_plain_url(url)
    return host is not None and any(host == one or host.endswith(f".{one}") for one in DOMAINS.union(domains))
