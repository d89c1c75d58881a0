"""Days in patterns of files, such as ``logs/dt={last_day-6..last_day}/*.parquet``: one key moves the window.

In braces stand one day or two with ``..`` between them, each a date such as ``2026-11-08`` or ``last_day``,
with a number of days added or taken; behind a colon, how dates are written in the path, ``%Y-%m-%d`` unless
said::

    {2026-11-01..2026-11-07}    {last_day}    {last_day-6..last_day}    {last_day-6..last_day:%Y%m%d}
"""

import datetime
import re
from collections.abc import Iterator
from dataclasses import dataclass

from fuxi_mtl.dataset.errors import DataError

MOST_DAYS = 3660
_WINDOW = re.compile(r"\{([^{}]*?)(?::([^{}]*))?\}")
_DAY = re.compile(r"(last_day|\d{4}-\d{2}-\d{2})\s*(?:([+-])\s*(\d+))?")


def as_date(text: str) -> datetime.date | None:
    """A date such as 2026-11-08; None of anything else."""
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        return None


@dataclass(frozen=True)
class Window:
    """A pattern with days in it.

    Attributes:
        key: What errors call it.
        pattern: The pattern.
        last_day: The day that ``last_day`` means; None where nobody says it.
    """

    key: str
    pattern: str
    last_day: str | None = None

    @property
    def has_days(self) -> bool:
        """Whether there are any; other braces are names of files."""
        return self._match() is not None

    def patterns(self) -> Iterator[tuple[str, str]]:
        """Each day, and the pattern of that day.

        Raises:
            DataError: What stands in the braces is no day, or the window is empty or longer than ten years.
        """
        match = self._match()
        if match is None:
            return
        first, dots, last = match[1].partition("..")
        begin = self._date(first)
        end = self._date(last) if dots else begin
        count = (end - begin).days + 1
        if not 0 < count <= MOST_DAYS:
            raise DataError(
                f"{self.key}: {self.pattern} has {count} days, from {begin} to {end}; there are from 1 to "
                f"{MOST_DAYS}."
            )
        for number in range(count):
            day = begin + datetime.timedelta(number)
            written = day.strftime(match[2] or "%Y-%m-%d")
            yield day.isoformat(), f"{self.pattern[: match.start()]}{written}{self.pattern[match.end() :]}"

    @property
    def dated(self) -> str:
        """The pattern without ``last_day``: what it means whatever that day is later.

        Raises:
            DataError: See :meth:`patterns`.
        """
        match = self._match()
        days = [day for day, _ in self.patterns()]
        if match is None or len(days) == 1:
            return next((pattern for _, pattern in self.patterns()), self.pattern)
        form = f":{match[2]}" if match[2] else ""
        window = f"{{{days[0]}..{days[-1]}{form}}}"
        return f"{self.pattern[: match.start()]}{window}{self.pattern[match.end() :]}"

    def _match(self) -> re.Match | None:
        found = (m for m in _WINDOW.finditer(self.pattern) if ".." in m[1] or _DAY.fullmatch(m[1].strip()))
        return next(found, None)

    def _date(self, text: str) -> datetime.date:
        found = _DAY.fullmatch(text.strip())
        if found is None:
            raise DataError(
                f"{self.key}: {self.pattern}: {text.strip()!r} is no day. Write a date such as 2026-11-08, "
                "or last_day, with days added or taken: last_day-6."
            )
        name, sign, days = found.groups()
        if name == "last_day" and self.last_day is None:
            raise DataError(
                f"{self.key}: {self.pattern} needs last_day, a date: add it to the dataset, or --set "
                "last_day=2026-11-08."
            )
        written = str(self.last_day) if name == "last_day" else name
        try:
            date = datetime.date.fromisoformat(written)
            return date + datetime.timedelta(int(f"{sign or '+'}{days or 0}"))
        except (ValueError, OverflowError):
            what = "last_day is " if name == "last_day" else f"{self.key}: {self.pattern}: "
            raise DataError(f"{what}{written!r}, which is no date such as 2026-11-08.") from None
