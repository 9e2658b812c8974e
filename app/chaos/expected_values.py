"""What the service accepted during a run, and so which values may be found at the end. Pure."""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any


@dataclass
class ExpectedValue:
    """The values of one subject: the last one that was accepted, and those whose requests got no response.

    A request without a response may have had an effect or not, and may still have one later, because the process that
    received it may be frozen. So its value stays possible, whatever is accepted after it.
    """

    accepted: Any = None
    unanswered: list[Any] = field(default_factory=list)

    @property
    def possible(self) -> list[Any]:
        """The values that may be found."""
        return [self.accepted, *self.unanswered]

    @property
    def certain(self) -> bool:
        """Whether only one value is possible."""
        return not self.unanswered


class ExpectedValues:
    """All values by subject: `(event, attribute)` or `(event, member)`."""

    def __init__(self) -> None:
        self._values = defaultdict[tuple[str, str], ExpectedValue](ExpectedValue)

    def record_accepted(self, subject: tuple[str, str], value: Any) -> None:
        """Record that the service accepted a value."""
        self._values[subject].accepted = value

    def record_unanswered(self, subject: tuple[str, str], value: Any) -> None:
        """Record a value whose request got no response."""
        self._values[subject].unanswered.append(value)

    def get(self, event: str, attribute: str) -> ExpectedValue:
        """Return the values of an event's attribute."""
        return self._values.get((event, attribute), ExpectedValue())

    @property
    def all(self) -> dict[tuple[str, str], ExpectedValue]:
        """Return all values."""
        return dict(self._values)
