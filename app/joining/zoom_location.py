"""Returns the Zoom link to redirect a caller to: the only place where a Zoom link leaves the service.

The link is decrypted, or fetched, for one click, and its domain is checked once more.
"""

from app.accounts import grants
from app.accounts.token_errors import TokenUnavailable
from app.clients.zoom import NotFound, UntrustedHost, ZoomError
from app.core import logs
from app.core.crypto import DecryptionError
from app.core.outbox import RetryLater
from app.joining.decide import RECONNECT, JoinAllowed, Refusal, StartAllowed
from app.resources import Resources

log = logs.get("joining")


class RedirectRefused(Exception):
    """The link is not available, or leads outside Zoom. `refusal` is what the caller is told."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.slug)
        self.refusal = refusal


async def location(resources: Resources, allowed: JoinAllowed | StartAllowed) -> str:
    """Return the URL to redirect to: the member's join URL, or the host's start URL. Raises RedirectRefused."""
    url = await _start_url(resources, allowed) if isinstance(allowed, StartAllowed) else _join_url(resources, allowed)
    if not resources.zoom.is_link(url):
        log.error("redirect target is not on a Zoom domain", start=isinstance(allowed, StartAllowed))
        raise RedirectRefused(_unavailable("Meeting unavailable: its link does not lead to Zoom."))
    return url


def _join_url(resources: Resources, allowed: JoinAllowed) -> str:
    try:
        return resources.encryption.decrypt(allowed.link, allowed.associated_data)
    except DecryptionError as error:
        log.error("join link cannot be decrypted", bound_to=allowed.associated_data, reason=str(error))
        raise RedirectRefused(_unavailable("Meeting unavailable: your link cannot be read any more.")) from None


async def _start_url(resources: Resources, allowed: StartAllowed) -> str:
    """Fetch the start URL from Zoom; raises RedirectRefused.

    It is valid for two hours and signs its user in as the host, so it is fetched at the click and never stored
    (developers.zoom.us/docs/api/meetings/, "Get a meeting", `start_url`).
    """
    try:
        zoom = await grants.client_for(resources, allowed.account_id, urgent=True)
        meeting = await zoom.get_meeting(allowed.zoom_meeting_id)
    except NotFound:
        raise RedirectRefused(_unavailable("Meeting unavailable: it no longer exists on Zoom.")) from None
    except (RetryLater, ZoomError) as error:
        if error.retry == "when_reconnected" and not isinstance(error, TokenUnavailable | UntrustedHost):
            raise RedirectRefused(RECONNECT) from None
        log.warning("start url not available", reason=str(error))
        sentence = "Zoom does not answer right now: try again, or start the meeting in Zoom itself."
        raise RedirectRefused(Refusal("zoom-unavailable", sentence, "Try again", retry_after=5)) from None
    return meeting.start_url


def _unavailable(sentence: str) -> Refusal:
    return Refusal("meeting-unavailable", sentence)
