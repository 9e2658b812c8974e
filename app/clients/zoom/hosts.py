"""Which addresses are Zoom's (pure). What an answer says about addresses is believed only if it leads there.

Regional API hosts are `api-{au,ca,eu,in,sa,sg,uk,us}.zoom.us`; the list grows, so any two letters count
(developers.zoom.us/docs/api/using-zoom-apis/).
"""

import re
from collections.abc import Collection
from urllib.parse import SplitResult, urlsplit

from app.clients.zoom.errors import ForeignHost

_API_HOST = re.compile(r"api(-[a-z]{2})?\.zoom\.us")
_ZOOM_HOST = re.compile(r"([a-z0-9-]+\.)*zoom\.us")
# Browsers read `\` as `/` and drop tabs and line ends, so such an address leads elsewhere than it says here.
_AMBIGUOUS = re.compile(r"[\\\s\x00-\x1f\x7f]")


def accepted_api_url(api_url: str | None, configured: str) -> str:
    """The origin to call for a grant whose token came with `api_url`, or `configured` (`ZOOM_API_URL`) if with none.

    Accepted: `https` and one of Zoom's API hosts, or `configured` itself (a simulator, which may be `http`).
    Raises ForeignHost: a token must not be sent anywhere else.
    """
    if not api_url or api_url.rstrip("/") == configured.rstrip("/"):
        return configured.rstrip("/")
    parts = _split(api_url)
    if parts and _is_https(parts) and _API_HOST.fullmatch(parts.hostname or "") and parts.path in {"", "/"}:
        return f"https://{parts.hostname}"
    raise ForeignHost("api_url is not one of Zoom's hosts", operation="accepted_api_url")


def is_zoom_link(url: str, extra_origins: Collection[str] = ()) -> bool:
    """Whether a browser may be sent to `url`: `https` on `zoom.us` or below it, or one of `extra_origins`
    (`scheme://host:port`, the configured ones)."""
    parts = _split(url)
    if parts is None:
        return False
    if f"{parts.scheme}://{parts.netloc}" in {origin.rstrip("/") for origin in extra_origins}:
        return True
    return _is_https(parts) and _ZOOM_HOST.fullmatch(parts.hostname or "") is not None


def _split(url: str) -> SplitResult | None:
    if _AMBIGUOUS.search(url):
        return None
    try:
        parts = urlsplit(url)
        port_is_number = parts.port is None or parts.port >= 0
    except ValueError:
        return None
    return parts if port_is_number and "@" not in parts.netloc else None


def _is_https(parts: SplitResult) -> bool:
    return parts.scheme == "https" and parts.port in {None, 443}
