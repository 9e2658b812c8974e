"""The result of an invariant: what it checked, its violations by object, and what it excused. Pure."""

from dataclasses import dataclass, field

MAX_SHOWN = 20


@dataclass
class Finding:
    """One invariant: how many things it checked, its violations by object, and what it excused."""

    invariant: str
    checked: int = 0
    violations: list[str] = field(default_factory=list)
    excused: list[str] = field(default_factory=list)

    def expect(self, condition: bool, violation: str) -> None:
        """Count one check, and record a violation if the condition is false."""
        self.checked += 1
        if not condition:
            self.violations.append(violation)

    def excuse(self, reason: str) -> None:
        """Record something that cannot be checked, or need not hold."""
        self.excused.append(reason)

    def __str__(self) -> str:
        head = f"{self.invariant:<58}{self.checked:>7}  "
        verdict = f"{len(self.violations)} VIOLATED" if self.violations else "holds" if self.checked else "not checked"
        more = f", {len(self.excused)} excused" if self.excused else ""
        lines = [f"    {each}" for each in self.violations[:MAX_SHOWN]]
        hidden = len(self.violations) - MAX_SHOWN
        return "\n".join([f"{head}{verdict}{more}", *lines, *([f"    and {hidden} more"] if hidden > 0 else [])])
