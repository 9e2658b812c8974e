"""Whose an e-mail address is. Pure.

At Zoom an address is a person: whoever registers one gets its personal link, and a host's address opens the host's
doors. So an address counts there only if the platform says that the member has verified it, or an admin entered it.
Any other receives mail, and nothing else.
"""

from dataclasses import dataclass

from app.core.identity import Caller
from app.registrations.invites import ascii_address, valid_address
from app.registrations.models import Registration


@dataclass(frozen=True, slots=True)
class Address:
    """An address as a registration has it: `entered_by` is the admin who entered it, if one did."""

    email: str
    verified: bool
    entered_by: str | None = None

    @classmethod
    def of(cls, registration: Registration) -> "Address":
        """The address a registration has now."""
        return cls(registration.email, registration.email_verified, registration.email_entered_by)

    def keep(self, registration: Registration) -> None:
        """Make it the address of a registration."""
        registration.email = self.email
        registration.email_verified, registration.email_entered_by = self.verified, self.entered_by


def written(email: str) -> str:
    """An address as registrations have it: with its domain in ASCII; as it is where it is none."""
    try:
        return ascii_address("email", email)
    except ValueError:
        return email


def same(email: str, other: str) -> bool:
    """Whether Zoom takes both for one address: case does not count, nor how an international domain is written."""
    return written(email).casefold() == written(other).casefold()


def renewed(known: Address | None, email: str, *, verified: bool, entered_by: str | None = None) -> Address:
    """What is known of an address once a token, or an admin (`entered_by`), has said it.

    The latest token counts, also where it takes "verified" back. What an admin entered stays as entered as long as
    tokens name the same address, until one says that it is verified.
    """
    if entered_by is None and not verified and known is not None and same(known.email, email):
        entered_by = known.entered_by
    return Address(written(email), verified or entered_by is not None, None if verified else entered_by)


def told_by(known: Address, who: Caller) -> Address | None:
    """The address as the token of a member who comes to the door tells it, where that is news.

    Another address than the one known is taken from the door only if it is verified and the one known is not: else it
    is the next answer that changes it.
    """
    if who.email is None or who.email_verified == known.verified or not valid_address(who.email):
        return None
    if not same(known.email, who.email) and (known.verified or not who.email_verified):
        return None
    new = renewed(known, who.email, verified=who.email_verified)
    return new if new.verified != known.verified else None
