"""Tables of people's mail preferences (reminders or not) and of members' calendar feeds."""

from datetime import datetime

from sqlalchemy import LargeBinary, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.core.database import Model


class MailPreference(Model):
    """Which mails a member or guest wants.

    The link that changes it is in their mails and stays valid as long as the row.
    """

    __tablename__ = "mail_preferences"

    member_id: Mapped[str] = mapped_column(Text, primary_key=True)
    reminders: Mapped[bool] = mapped_column(server_default="true")
    unsubscribe_link: Mapped[str] = mapped_column(Text, unique=True)
    changed_at: Mapped[datetime]


class CalendarFeed(Model):
    """A member's calendar feed, opened by a secret address of which only the digest is stored."""

    __tablename__ = "calendar_feeds"

    member_id: Mapped[str] = mapped_column(Text, primary_key=True)
    digest: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    created_at: Mapped[datetime]
