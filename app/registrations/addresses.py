"""E-mail addresses of registrations: whose they are, validity, comparison, and updates from tokens. Pure.

At Zoom an address is a person. A caller who registers an address gets its personal link, and a host's address opens
what only hosts may open. So an address counts at Zoom only if the platform says that the member has verified it, or if
an admin entered it. Any other address receives mail and nothing else.
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
    """The e-mail address of a registration; `entered_by` is the admin who entered it, if one did."""

    email: str
    verified: bool
    entered_by: str | None = None

    @classmethod
    def from_registration(cls, registration: Registration) -> "Address":
        """The present address of a registration."""
        return cls(registration.email, registration.email_verified, registration.email_entered_by)

    def apply_to(self, registration: Registration) -> None:
        """Write this address to a registration."""
        registration.email = self.email
        registration.email_verified = self.verified
        registration.email_entered_by = self.entered_by


def is_valid_address(text: str) -> bool:
    """Whether mail can be sent to `text`: a dot-atom, one @, a host name with a dot (RFC 5321, RFC 5322).

    The limit is 128 characters. Quoted local parts, comments and address literals are refused. International domains
    are accepted (IDNA 2008). International local parts are not: they need SMTPUTF8 from every server on the way.
    """
    try:
        ascii_address("address", text)
    except ValueError:
        return False
    return True


def ascii_address(field: str, text: str) -> str:
    """The address in ASCII, its domain as lower-case A-labels.

    Raises ValueError naming `field` if `text` is not a mail address.
    """
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
    """The address as registrations store it, its domain in ASCII; unchanged if it is no mail address."""
    try:
        return ascii_address("email", email)
    except ValueError:
        return email


def same_address(email: str, other: str) -> bool:
    """Whether Zoom takes both for one address.

    Neither case nor the spelling of an international domain counts.
    """
    return normalize(email).casefold() == normalize(other).casefold()


def updated_address(current: Address | None, email: str, *, verified: bool, entered_by: str | None = None) -> Address:
    """The address of a registration after a token, or an admin (`entered_by`), has named `email`.

    The latest token decides, also if it says that the address is no longer verified. An address that an admin entered
    keeps `entered_by` while tokens name the same address, until a token says that it is verified.
    """
    if entered_by is None and not verified and current is not None and same_address(current.email, email):
        entered_by = current.entered_by
    return Address(normalize(email), verified or entered_by is not None, None if verified else entered_by)


def address_from_token(current: Address, caller: Caller) -> Address | None:
    """The changed address of a registration once its member joins with a token; None if nothing changes.

    Only a token that says otherwise whether the address is verified changes it. A token that names another address
    replaces the known one only if the new one is verified and the known one is not. Otherwise the member's next RSVP
    changes it.
    """
    if caller.email is None or caller.email_verified == current.verified or not is_valid_address(caller.email):
        return None
    if not same_address(current.email, caller.email) and (current.verified or not caller.email_verified):
        return None
    updated = updated_address(current, caller.email, verified=caller.email_verified)
    return updated if updated.verified != current.verified else None
