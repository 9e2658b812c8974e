"""What the community was told is accepted, and so what may be found in the end. Pure."""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Wish:
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


class Wishes:
    """Everything that was said, by what it is about: `(event, attribute)` or `(event, member)`."""

    def __init__(self) -> None:
        self._wishes = defaultdict[tuple[str, str], Wish](Wish)

    def accepted(self, about: tuple[str, str], word: Any) -> None:
        """The service has said that it will be so."""
        self._wishes[about].accepted = word

    def unanswered(self, about: tuple[str, str], word: Any) -> None:
        """Nobody knows."""
        self._wishes[about].unanswered.append(word)

    def of(self, event: str, attribute: str) -> Wish:
        """What was said of that."""
        return self._wishes.get((event, attribute), Wish())

    @property
    def all(self) -> dict[tuple[str, str], Wish]:
        """Everything that was said."""
        return dict(self._wishes)
