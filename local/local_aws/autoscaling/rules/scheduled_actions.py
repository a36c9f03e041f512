"""Scheduled actions of Application Auto Scaling, which change a scalable target's bounds.

https://docs.aws.amazon.com/autoscaling/application/userguide/scheduled-scaling-using-cron-expressions.html
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
# Minutes, hours, day of month, month, day of week, year: lowest and highest value of each.
_FIELDS = ((0, 59), (0, 23), (1, 31), (1, 12), (1, 7), (1970, 2199))


@dataclass(frozen=True)
class ScheduledAction:
    """Set the target's bounds when `schedule` matches in `timezone`; a bound of None stays as it is.

    A recurring schedule begins at `starts_at`, when the action runs too, and ends at `ends_at`, where given.

    Raise ValueError unless `schedule` is `cron(...)`, without L, W and #, or `at(yyyy-mm-ddThh:mm:ss)`.
    """

    name: str
    schedule: str
    timezone: str
    min_capacity: int | None
    max_capacity: int | None
    starts_at: datetime | None = None
    ends_at: datetime | None = None

    def __post_init__(self) -> None:
        try:
            ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError(f"Timezone must be a name such as Europe/Berlin, got {self.timezone!r}") from error
        if not self._at:
            _ = self._cron  # raises for an unsupported schedule

    def due(self, moment: datetime) -> bool:
        """Return whether the action is due in the minute of `moment` (timezone-aware)."""
        if (self.starts_at and _minute(moment) < _minute(self.starts_at)) or (self.ends_at and moment > self.ends_at):
            return False
        if not self._at and self.starts_at and _minute(moment) == _minute(self.starts_at):
            return True
        local = moment.astimezone(ZoneInfo(self.timezone))
        if self._at:
            return local.replace(second=0, microsecond=0, tzinfo=None) == self._at.replace(second=0)
        parts = (local.minute, local.hour, local.day, local.month, local.isoweekday() % 7 + 1, local.year)
        return all(part in allowed for part, allowed in zip(parts, self._cron, strict=True))

    @cached_property
    def _at(self) -> datetime | None:
        found = re.fullmatch(r"at\((\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\)", self.schedule)
        return datetime.fromisoformat(found[1]) if found else None

    @cached_property
    def _cron(self) -> tuple[frozenset[int], ...]:
        """The allowed values of each field."""
        found = re.fullmatch(r"cron\((.+)\)", self.schedule)
        fields = found[1].upper().split() if found else []
        if len(fields) != len(_FIELDS):
            raise ValueError(f"Schedule must be cron() with six fields or at(), got {self.schedule!r}")
        return tuple(
            frozenset(number for part in text.split(",") for number in _range(part, low, high))
            for text, (low, high) in zip(fields, _FIELDS, strict=True)
        )


def _minute(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(second=0, microsecond=0)


def _range(part: str, low: int, high: int) -> range:
    span, _, step = part.partition("/")
    if span in ("*", "?"):
        first, last = low, high
    else:
        start, _, end = span.partition("-")
        first = _number(start, high)
        last = _number(end, high) if end else (high if step else first)
    if not (low <= first <= last <= high and (not step or re.fullmatch(r"[1-9]\d*", step))):
        raise ValueError(f"a cron() field must be {low}-{high}, *, ?, a list, a range or a step, got {part!r}")
    return range(first, last + 1, int(step or 1))


def _number(text: str, high: int) -> int:
    """Return a number, or that of a month's or day's name; -1 for anything else."""
    names = {12: _MONTHS, 7: _DAYS}.get(high, ())
    if text in names:
        return names.index(text) + 1
    return int(text) if re.fullmatch(r"\d{1,4}", text) else -1
