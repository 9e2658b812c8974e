"""The plan of faults: what fails and when, derived from a seed alone. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

APIS = ("api-1", "api-2")
WORKERS = ("worker-1", "worker-2", "worker-3")
PROCESSES = (*APIS, *WORKERS)
LEASE = 15.0  # seconds until another worker may take the job of a frozen one
QUIET_START = 2.0  # seconds without faults at the beginning
HOUR = 3600.0


@dataclass(frozen=True)
class Fault:
    """One fault, `at` seconds after the beginning, for this many `seconds` (0 is an instant).

    `amount` is its size: the seconds a clock is ahead, or the share of Zoom's calls that are hit.
    """

    at: float
    kind: str
    target: str
    seconds: float = 0.0
    amount: float = 0.0

    @property
    def ends_at(self) -> float:
        """When it ends, in seconds after the beginning."""
        return self.at + self.seconds


@dataclass(frozen=True)
class FaultKind:
    """A kind of fault: its possible targets, durations and amounts."""

    targets: tuple[str, ...]
    shortest: float = 0.0
    longest: float = 0.0
    amounts: tuple[float, ...] = (0.0,)


ZOOM = "Zoom"
MAIL = "mail"
HOOKS = "hooks"
DATABASE = "PostgreSQL"
REDIS = "Redis"
FAULT_KINDS: Mapping[str, FaultKind] = {
    "kill": FaultKind(PROCESSES, 0.2, 4.0),
    "end": FaultKind(PROCESSES, 0.2, 1.0),
    "freeze": FaultKind(PROCESSES, 1.0, 6.0),
    "freeze past the lease": FaultKind(PROCESSES, LEASE + 2, LEASE + 8),
    "clock": FaultKind(PROCESSES, 5.0, 15.0, (60.0, -60.0, HOUR, 26 * HOUR, -26 * HOUR)),
    "restart fast": FaultKind((DATABASE,), 0.2, 2.0),
    "restart immediate": FaultKind((DATABASE,), 0.2, 2.0),
    "freeze sessions": FaultKind((DATABASE,), 2.0, 6.0),
    "half open": FaultKind((DATABASE, REDIS)),
    "kill server": FaultKind((REDIS,), 0.5, 8.0),
    "flush": FaultKind((REDIS,)),
    "freeze server": FaultKind((REDIS,), 2.0, 12.0),
    "mail 4xx": FaultKind((MAIL,), 2.0, 8.0),
    "mail hangs": FaultKind((MAIL,), 2.0, 8.0),
    "mail is down": FaultKind((MAIL,), 2.0, 8.0),
    "mail answers are lost": FaultKind((MAIL,), 2.0, 8.0),
    "hooks 500": FaultKind((HOOKS,), 2.0, 6.0),
    "latency": FaultKind((ZOOM,), 2.0, 8.0, (0.3, 1.0)),
    "status": FaultKind((ZOOM,), 2.0, 8.0, (0.3, 0.7)),
    "rate_per_second": FaultKind((ZOOM,), 2.0, 6.0, (0.3, 0.7)),
    "lose_answer": FaultKind((ZOOM,), 3.0, 8.0, (0.3, 0.8)),
    "close_before": FaultKind((ZOOM,), 2.0, 8.0, (0.3, 0.7)),
    "expired_token": FaultKind((ZOOM,), 1.0, 3.0, (0.3,)),
    "late": FaultKind((ZOOM,), 3.0, 8.0, (2.0, 5.0)),
    "twice": FaultKind((ZOOM,), 3.0, 8.0),
    "shuffled": FaultKind((ZOOM,), 3.0, 8.0),
    "lost": FaultKind((ZOOM,), 3.0, 6.0),
}
# Zoom can have several of these faults at once. Of all others, a target has one at a time.
CONCURRENT_KINDS = frozenset(name for name, kind in FAULT_KINDS.items() if kind.targets == (ZOOM,))


def plan_faults(seed: int, seconds: float, mean_interval: float = 3.0) -> list[Fault]:
    """Return the faults of a run in order.

    There is one every `mean_interval` seconds on average, and all are over after `seconds`.

    Every kind occurs once before any occurs again, as far as there is room. The order depends on the seed.
    """
    dice = Random(f"strikes {seed}")  # noqa: S311 - the same seed must give the same plan
    free_at, remaining_kinds, at, found = dict[str, float](), list[str](), QUIET_START, list[Fault]()
    while at < seconds:
        remaining_kinds = remaining_kinds or dice.sample(sorted(FAULT_KINDS), len(FAULT_KINDS))
        fault = _random_fault(dice, remaining_kinds.pop(), at)
        exclusive_target = "" if fault.kind in CONCURRENT_KINDS else fault.target
        if fault.ends_at <= seconds and free_at.get(exclusive_target, 0.0) <= at:
            found.append(fault)
            if exclusive_target:
                free_at[exclusive_target] = fault.ends_at + 1.0
            at += dice.uniform(0.3, 2 * mean_interval - 0.3)
        else:
            at += 0.1  # a kind that does not fit now is tried again in the next round
    return found


def _random_fault(dice: Random, name: str, at: float) -> Fault:
    kind = FAULT_KINDS[name]
    duration = round(dice.uniform(kind.shortest, kind.longest), 1)
    return Fault(round(at, 1), name, dice.choice(kind.targets), duration, dice.choice(kind.amounts))
