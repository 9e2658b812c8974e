"""The mail around an invite: its headers, and the MIME layout that calendars agree on. Pure."""

import hashlib
import re
from email.headerregistry import Address, BaseHeader, HeaderRegistry, UnstructuredHeader
from email.message import EmailMessage
from email.policy import SMTP, Policy

from app.core.text_cleaning import single_line
from app.invitations.icalendar import Invite, RenderedMail, render_invite
from app.registrations.addresses import ascii_address

FILE_NAME = "invite.ics"


class _UnfoldedHeader(UnstructuredHeader, BaseHeader):
    """A header that is never folded.

    Python turns a URL longer than a line into an encoded word, which no mail program reads as a URL. A line may have
    998 characters (RFC 5322 section 2.1.1).
    """

    def fold(self, *, policy: Policy) -> str:
        return f"{self.name}: {self}{policy.linesep}"


_HEADERS = HeaderRegistry()
_HEADERS.map_to_type("list-unsubscribe", _UnfoldedHeader)
# Bodies are 7bit, so no mail server on the way has a reason to re-encode them.
MAIL_POLICY = SMTP.clone(cte_type="7bit", header_factory=_HEADERS)


def invite_message_id(invite: Invite) -> str:
    """The Message-ID of the mail with this invite: one for each (uid, sequence, attendee).

    A mail that is sent again after an unknown outcome can thus be recognised as the same one.
    """
    identity = "\n".join((invite.uid, str(invite.sequence), invite.attendee_email))
    domain = invite.organizer_email.partition("@")[2]
    return f"<{hashlib.sha256(identity.encode()).hexdigest()[:32]}@{domain}>"


def build_message(invite: Invite, rendered: RenderedMail, *, sender: str, message_id: str) -> EmailMessage:
    """The mail to the attendee: the text, the invite as the last alternative, and the same bytes attached.

    `sender` is the mailbox that sends the mail; calendars expect it to be the organizer's. The calendar parts are
    base64, so that their CRLFs survive every server. `method=` equals METHOD, or Outlook and Gmail ignore the invite
    (`text/calendar`, RFC 5545 section 8.1).
    """
    mail = with_headers(invite, rendered, sender, message_id)
    entry = render_invite(invite)
    mail.set_content(rendered.text)
    mail.add_alternative(rendered.html, subtype="html")
    parameters = {"method": invite.method, "charset": "UTF-8"}
    mail.add_alternative(entry, maintype="text", subtype="calendar", params=parameters)
    mail.add_attachment(entry, maintype="application", subtype="ics", filename=FILE_NAME, params={"name": FILE_NAME})
    return mail


def with_headers(invite: Invite, rendered: RenderedMail, sender: str, message_id: str) -> EmailMessage:
    """A mail to the attendee of `invite` with headers and no content yet."""
    mail = EmailMessage(policy=MAIL_POLICY)
    mail["From"] = mail_address(invite.organizer_name, sender)
    mail["To"] = mail_address(invite.attendee_name, invite.attendee_email)
    mail["Subject"] = header_text(rendered.subject)
    mail["Date"] = invite.stamp
    mail["Message-ID"] = message_id
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: prevents out-of-office replies
    return mail


def mail_address(name: str, address: str) -> Address:
    """The sender or recipient of a mail. Raises ValueError if `address` is not a mail address.

    Specials are removed from the name, not quoted: Python before 3.12.5 loses the quotes when it folds a long or
    non-ASCII name, and what follows a comma would then be another recipient.
    """
    plain = re.sub(r'[()<>\[\]:;@\\,"]+', " ", header_text(name))
    return Address(" ".join(plain.split()), addr_spec=ascii_address("address", address))


def header_text(text: str) -> str:
    """`text` as one line without encoded words (RFC 2047), which could decode to a line break."""
    return single_line(text).replace("=?", "= ?")
