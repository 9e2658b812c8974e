"""What the community was told is accepted, and so what may be found in the end. Pure."""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any


@dataclass
class ExpectedValue:
    """One thing somebody may have said: the last word that was accepted, and the words nobody answered.

    A request without an answer may have been heard or not, and may still be heard later: whoever got it may stand
    still. So its word stays possible, whatever is accepted after it.
    """

    accepted: Any = None
    unanswered: list[Any] = field(default_factory=list)

    @property
    def possible(self) -> list[Any]:
        """What may be found."""
        return [self.accepted, *self.unanswered]

    @property
    def certain(self) -> bool:
        """Whether there is but one possibility."""
        return not self.unanswered


class ExpectedValues:
    """Everything that was said, by what it is about: `(event, attribute)` or `(event, member)`."""

    def __init__(self) -> None:
        self._values = defaultdict[tuple[str, str], ExpectedValue](ExpectedValue)

    def record_accepted(self, subject: tuple[str, str], value: Any) -> None:
        """The service has said that it will be so."""
        self._values[subject].accepted = value

    def record_unanswered(self, subject: tuple[str, str], value: Any) -> None:
        """Nobody knows."""
        self._values[subject].unanswered.append(value)

    def get(self, event: str, attribute: str) -> ExpectedValue:
        """What was said of that."""
        return self._values.get((event, attribute), ExpectedValue())

    @property
    def all(self) -> dict[tuple[str, str], ExpectedValue]:
        """Everything that was said."""
        return dict(self._values)
