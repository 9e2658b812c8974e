"""What goes wrong and when: a plan that follows from a seed alone. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

APIS = ("api-1", "api-2")
WORKERS = ("worker-1", "worker-2", "worker-3")
PROCESSES = (*APIS, *WORKERS)
LEASE = 15.0  # seconds a worker that stands still keeps what it does
FIRST = 2.0  # seconds of peace at the beginning
HOUR = 3600.0


@dataclass(frozen=True)
class Strike:
    """One fault: `at` seconds after the beginning, for so many `seconds` (0 is a moment). `amount` says how much of it:
    the seconds a clock is ahead, the share of Zoom's calls that are hit."""

    at: float
    kind: str
    target: str
    seconds: float = 0.0
    amount: float = 0.0

    @property
    def until(self) -> float:
        """When it is over."""
        return self.at + self.seconds


@dataclass(frozen=True)
class Kind:
    """A kind of fault: whom it can hit, how long it lasts, and how much it can be."""

    targets: tuple[str, ...]
    shortest: float = 0.0
    longest: float = 0.0
    amounts: tuple[float, ...] = (0.0,)


ZOOM, MAIL, HOOKS, DATABASE, REDIS = "Zoom", "mail", "hooks", "PostgreSQL", "Redis"
KINDS: Mapping[str, Kind] = {
    "kill": Kind(PROCESSES, 0.2, 4.0),
    "end": Kind(PROCESSES, 0.2, 1.0),
    "freeze": Kind(PROCESSES, 1.0, 6.0),
    "freeze past the lease": Kind(PROCESSES, LEASE + 2, LEASE + 8),
    "clock": Kind(PROCESSES, 5.0, 15.0, (60.0, -60.0, HOUR, 26 * HOUR, -26 * HOUR)),
    "restart fast": Kind((DATABASE,), 0.2, 2.0),
    "restart immediate": Kind((DATABASE,), 0.2, 2.0),
    "freeze sessions": Kind((DATABASE,), 2.0, 6.0),
    "half open": Kind((DATABASE, REDIS)),
    "kill server": Kind((REDIS,), 0.5, 8.0),
    "flush": Kind((REDIS,)),
    "freeze server": Kind((REDIS,), 2.0, 12.0),
    "mail 4xx": Kind((MAIL,), 2.0, 8.0),
    "mail hangs": Kind((MAIL,), 2.0, 8.0),
    "mail is down": Kind((MAIL,), 2.0, 8.0),
    "mail answers are lost": Kind((MAIL,), 2.0, 8.0),
    "hooks 500": Kind((HOOKS,), 2.0, 6.0),
    "latency": Kind((ZOOM,), 2.0, 8.0, (0.3, 1.0)),
    "status": Kind((ZOOM,), 2.0, 8.0, (0.3, 0.7)),
    "rate_per_second": Kind((ZOOM,), 2.0, 6.0, (0.3, 0.7)),
    "lose_answer": Kind((ZOOM,), 3.0, 8.0, (0.3, 0.8)),
    "close_before": Kind((ZOOM,), 2.0, 8.0, (0.3, 0.7)),
    "expired_token": Kind((ZOOM,), 1.0, 3.0, (0.3,)),
    "late": Kind((ZOOM,), 3.0, 8.0, (2.0, 5.0)),
    "twice": Kind((ZOOM,), 3.0, 8.0),
    "shuffled": Kind((ZOOM,), 3.0, 8.0),
    "lost": Kind((ZOOM,), 3.0, 6.0),
}
# Of these several can go on at Zoom at once; whatever else hits one target waits until the one before is over.
TOGETHER = frozenset(name for name, kind in KINDS.items() if kind.targets == (ZOOM,))


def plan(seed: int, seconds: float, every: float = 3.0) -> list[Strike]:
    """The faults of a run, in order, one `every` so many seconds on average and all over after `seconds`.

    Every kind comes once before any comes again, in an order that differs from seed to seed, as far as it fits in.
    """
    dice = Random(f"strikes {seed}")  # noqa: S311 - whoever has the seed is to have the plan
    free, deck, at, found = dict[str, float](), list[str](), FIRST, list[Strike]()
    while at < seconds:
        deck = deck or dice.sample(sorted(KINDS), len(KINDS))
        strike = _strike(dice, deck.pop(), at)
        begins_in = "" if strike.kind in TOGETHER else strike.target
        if strike.until <= seconds and free.get(begins_in, 0.0) <= at:
            found.append(strike)
            if begins_in:
                free[begins_in] = strike.until + 1.0
            at += dice.uniform(0.3, 2 * every - 0.3)
        else:
            at += 0.1  # what does not fit in now is put off to the next round
    return found


def _strike(dice: Random, name: str, at: float) -> Strike:
    kind = KINDS[name]
    lasts = round(dice.uniform(kind.shortest, kind.longest), 1)
    return Strike(round(at, 1), name, dice.choice(kind.targets), lasts, dice.choice(kind.amounts))
