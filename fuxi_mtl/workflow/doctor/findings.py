"""One thing that a check found, and all of them as text."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes:
        wrong: Whether numbers are wrong or useless because of it; else it is worth a look.
        told: What it is, with its number.
        cure: What to do; empty if `told` says it.
    """

    wrong: bool
    told: str
    cure: str = ""

    def __str__(self) -> str:
        """One line."""
        return f"{'WRONG' if self.wrong else 'LOOK '}  {self.told}{f' {self.cure}' if self.cure else ''}"


def told(findings: Sequence[Finding]) -> list[str]:
    """The findings as lines, what is wrong first, and a last one that counts them."""
    wrong = sum(each.wrong for each in findings)
    count = f"{wrong} wrong, {len(findings) - wrong} worth a look."
    return [*map(str, sorted(findings, key=lambda each: not each.wrong)), count]
