"""The one place where a Zoom link leaves: opened, or fetched, for the click it was asked for, and checked once more."""

from app.accounts import grants
from app.accounts.trouble import NoToken
from app.clients.zoom import ForeignHost, NotFound, ZoomError
from app.core import logs
from app.core.crypto import CannotOpen
from app.core.outbox import NotNow
from app.joining.decide import RECONNECT, Pass, Refusal, StartPass
from app.resources import Resources

log = logs.get("door")


class NoWay(Exception):
    """The link cannot be had, or leads elsewhere; `refusal` says so to whoever clicked."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.slug)
        self.refusal = refusal


async def location(held: Resources, passed: Pass | StartPass) -> str:
    """Where a browser is to be sent: the member's join URL, or the host's start URL. Raises NoWay."""
    url = await _start_url(held, passed) if isinstance(passed, StartPass) else _join_url(held, passed)
    if not held.zoom.is_link(url):
        log.error("a link is not Zoom's", start=isinstance(passed, StartPass))
        raise NoWay(_unavailable("Meeting unavailable: its link does not lead to Zoom."))
    return url


def _join_url(held: Resources, passed: Pass) -> str:
    try:
        return held.seal.open(passed.link, passed.bound_to)
    except CannotOpen as error:
        log.error("a link does not open", bound_to=passed.bound_to, reason=str(error))
        raise NoWay(_unavailable("Meeting unavailable: your link cannot be read any more.")) from None


async def _start_url(held: Resources, passed: StartPass) -> str:
    """Fetched at the click, good for two hours, and never kept: it signs whoever opens it in as the host
    (developers.zoom.us/docs/api/meetings/, "Get a meeting", `start_url`)."""
    try:
        zoom = await grants.zoom(held, passed.account_id, urgent=True)
        meeting = await zoom.get_meeting(passed.zoom_meeting_id)
    except NotFound:
        raise NoWay(_unavailable("Meeting unavailable: it no longer exists on Zoom.")) from None
    except (NotNow, ZoomError) as error:
        if error.again == "parked" and not isinstance(error, NoToken | ForeignHost):
            raise NoWay(RECONNECT) from None
        log.warning("no start url", reason=str(error))
        sentence = "Zoom does not answer right now: try again, or start the meeting in Zoom itself."
        raise NoWay(Refusal("zoom-unavailable", sentence, "Try again", retry_after=5)) from None
    return meeting.start_url


def _unavailable(sentence: str) -> Refusal:
    return Refusal("meeting-unavailable", sentence)
