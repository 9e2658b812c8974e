"""Whose an e-mail address is. Pure.

At Zoom an address is a person: whoever registers one gets its personal link, and a host's address opens the host's
doors. So an address counts there only if the platform says that the member has verified it, or an admin entered it.
Any other receives mail, and nothing else.
"""

import re
from dataclasses import dataclass

import idna

from app.core.identity import Caller
from app.registrations.models import Registration

MAX_ADDRESS_LENGTH = 128  # what Zoom takes for a registrant; RFC 5321 would allow 254
_DOT_ATOM = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")  # RFC 5322 section 3.2.3
_HOST_NAME = re.compile(r"([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])")


@dataclass(frozen=True, slots=True)
class Address:
    """An address as a registration has it: `entered_by` is the admin who entered it, if one did."""

    email: str
    verified: bool
    entered_by: str | None = None

    @classmethod
    def from_registration(cls, registration: Registration) -> "Address":
        """The address a registration has now."""
        return cls(registration.email, registration.email_verified, registration.email_entered_by)

    def apply_to(self, registration: Registration) -> None:
        """Make it the address of a registration."""
        registration.email = self.email
        registration.email_verified, registration.email_entered_by = self.verified, self.entered_by


def is_valid_address(text: str) -> bool:
    """Whether mail can be sent to `text`: a dot-atom, one @, a host name with a dot (RFC 5321, RFC 5322), at most 128
    characters. Quoted local parts, comments and address literals are refused; international domains are taken (IDNA
    2008), international local parts are not, for they need SMTPUTF8 from every server on the way."""
    try:
        ascii_address("address", text)
    except ValueError:
        return False
    return True


def ascii_address(field: str, text: str) -> str:
    """The address in ASCII: its domain in A-labels, lower case. Raises ValueError naming `field` where it is none."""
    error = ValueError(f"{field} is not a mail address.")
    local, at, domain = text.partition("@")
    if not at or len(text) > MAX_ADDRESS_LENGTH or len(local) > 64 or not _DOT_ATOM.fullmatch(local):
        raise error
    try:
        host = idna.encode(domain, uts46=True).decode("ascii")
    except UnicodeError:
        raise error from None
    address = f"{local}@{host}"
    if not _HOST_NAME.fullmatch(host) or len(address) > MAX_ADDRESS_LENGTH:
        raise error
    return address


def normalize(email: str) -> str:
    """An address as registrations have it: with its domain in ASCII; as it is where it is none."""
    try:
        return ascii_address("email", email)
    except ValueError:
        return email


def same_address(email: str, other: str) -> bool:
    """Whether Zoom takes both for one address: case does not count, nor how an international domain is written."""
    return normalize(email).casefold() == normalize(other).casefold()


def updated_address(current: Address | None, email: str, *, verified: bool, entered_by: str | None = None) -> Address:
    """What is known of an address once a token, or an admin (`entered_by`), has said it.

    The latest token counts, also where it takes "verified" back. What an admin entered stays as entered as long as
    tokens name the same address, until one says that it is verified.
    """
    if entered_by is None and not verified and current is not None and same_address(current.email, email):
        entered_by = current.entered_by
    return Address(normalize(email), verified or entered_by is not None, None if verified else entered_by)


def address_from_token(current: Address, caller: Caller) -> Address | None:
    """The address as the token of a member who comes to the door tells it, where that is news.

    Another address than the one known is taken from the door only if it is verified and the one known is not: else it
    is the next answer that changes it.
    """
    if caller.email is None or caller.email_verified == current.verified or not is_valid_address(caller.email):
        return None
    if not same_address(current.email, caller.email) and (current.verified or not caller.email_verified):
        return None
    updated = updated_address(current, caller.email, verified=caller.email_verified)
    return updated if updated.verified != current.verified else None
