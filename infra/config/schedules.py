"""Warm-up schedules: cron expressions and time zones, as Application Auto Scaling reads them."""

import re
from datetime import datetime, timedelta
from itertools import groupby, product
from typing import NamedTuple
from zoneinfo import ZoneInfo, available_timezones

from infra.config.setting_rules import ConfigError, Rule, did_you_mean

_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_EXAMPLE = "cron(45 8 ? * MON-FRI *)"
_WEEK = 7 * 1440  # minutes
_MAX_WINDOWS = 7  # that fit into a metric math expression of 1024 characters


class _Field(NamedTuple):
    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()
    special: str = ""  # values that only this field has, as a pattern


# https://docs.aws.amazon.com/autoscaling/application/userguide/scheduled-scaling-using-cron-expressions.html
_FIELDS = (
    _Field("minutes", 0, 59),
    _Field("hours", 0, 23),
    _Field("day of the month", 1, 31, special=r"\?|L|LW|[0-9]{1,2}W"),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of the week", 1, 7, _DAYS, special=r"\?|L|[1-7]L|(SUN|MON|TUE|WED|THU|FRI|SAT)L|[1-7]#[1-5]"),
    _Field("year", 1970, 2199),
)


def cron() -> Rule:
    """Accept an empty string, or a cron expression with six fields."""
    return Rule(f"`cron(…)` with six fields, such as {_EXAMPLE}", lambda value: not _why_not(value), _why_not)


def time_zone() -> Rule:
    """Accept a name of the IANA time zone database."""
    zones = available_timezones()
    return Rule(
        "the name of a time zone, such as Europe/Berlin",
        lambda value: value in zones,
        lambda value: did_you_mean(value, zones).strip(" ()"),
    )


def check_warm_up(start: str, end: str) -> None:
    """Raise ConfigError unless both schedules are given or neither is, and they differ."""
    if bool(start) != bool(end):
        raise ConfigError(
            f"warm_up_schedule and warm_up_end_schedule must both be given or both be empty, got {start!r} and {end!r}"
        )
    if start and _moments(start) & _moments(end):
        raise ConfigError(f"warm_up_schedule and warm_up_end_schedule must not meet, got {start!r} and {end!r}")


def weekly_windows(start: str, end: str, zone: str) -> list[tuple[int, int]] | None:
    """Return when a warm-up lasts, in ascending minutes of the week (0 is Monday 0:00 UTC), ends excluded.

    In a zone with daylight saving time a window covers both offsets, and so up to an hour more. None if the schedules
    do not repeat weekly, or have more windows than `_MAX_WINDOWS`.
    """
    starts, ends = _weekly(start), _weekly(end)
    if starts is None or ends is None:
        return None
    last = max(starts | ends)  # what the week before left
    warm, local = last in starts - ends, [False] * _WEEK
    for minute in range(_WEEK):
        warm = (warm or minute in starts) and minute not in ends
        local[minute] = warm
    year = datetime(2026, 1, 1)  # fixed, so that a template does not depend on the day of its synthesis
    offsets = {ZoneInfo(zone).utcoffset(year + timedelta(days=30 * month)) or timedelta() for month in range(12)}
    shifts = [round(offset.total_seconds() / 60) for offset in offsets]
    utc = [any(local[(minute + shift) % _WEEK] for shift in shifts) for minute in range(_WEEK)]
    runs = [list(minutes) for inside, minutes in groupby(range(_WEEK), key=utc.__getitem__) if inside]
    return [(run[0], run[-1] + 1) for run in runs] if len(runs) <= _MAX_WINDOWS else None


def _weekly(expression: str) -> set[int] | None:
    """Return the minutes of the week, 0 for Monday 0:00, at which a schedule fires; None if it is not weekly."""
    minutes, hours, date, month, day, year = expression[len("cron(") : -1].split(" ")
    if date not in ("*", "?") or month != "*" or year != "*" or re.search(r"#|[0-9]L|[A-Z]{3}L|^L", day):
        return None
    chosen = [
        _values(field, text)
        for field, text in ((_FIELDS[0], minutes), (_FIELDS[1], hours), (_FIELDS[4], day.replace("?", "*")))
    ]
    return {(number - 2) % 7 * 1440 + hour * 60 + minute for minute, hour, number in product(*chosen)}


def _values(field: _Field, text: str) -> set[int]:
    """Return the numbers that a field's list stands for."""
    found: set[int] = set()
    for item in text.split(","):
        base, _, step = item.partition("/")
        first, _, last = base.partition("-")
        low = field.low if first == "*" else _number(field, first)
        high = _number(field, last) if last else field.high if first == "*" or step else low
        if low is not None and high is not None:
            found.update(range(low, high + 1, int(step or 1)))
    return found


def _why_not(expression: str) -> str:
    """Return why Application Auto Scaling would refuse the expression; an empty string if it would not."""
    if not expression:
        return ""
    found = re.fullmatch(r"cron\(([^()]*)\)", expression)
    fields = found[1].split(" ") if found else []
    if len(fields) != len(_FIELDS):
        return f"it has {len(fields)} fields" if found else "it must start with cron( and end with )"
    for field, text in zip(_FIELDS, fields, strict=True):
        if not all(_fits(field, item) for item in text.split(",")):
            names = f" or {field.names[0]} to {field.names[-1]}" if field.names else ""
            return f"{field.name} must be {field.low} to {field.high}{names}, got {text}"
    if (fields[2] == "?") == (fields[4] == "?"):
        return "either the day of the month or the day of the week must be ?, and the other not"
    return ""


def _fits(field: _Field, item: str) -> bool:
    """Return whether one item of a field's list is a value, a range, or either with a step."""
    if field.special and re.fullmatch(field.special, item):
        return item[:-1] == "" or not item[:-1].isdigit() or field.low <= int(item[:-1]) <= field.high
    base, slash, step = item.partition("/")
    if slash and not (re.fullmatch("[0-9]{1,4}", step) and int(step) > 0):
        return False
    ends = base.split("-")
    return base == "*" or (len(ends) <= 2 and all(_number(field, end) is not None for end in ends))


def _number(field: _Field, text: str) -> int | None:
    """Return a value's number, or None if the field has no such value."""
    if text in field.names:
        return field.low + field.names.index(text)
    return int(text) if re.fullmatch("[0-9]{1,4}", text) and field.low <= int(text) <= field.high else None


def _moments(expression: str) -> set[tuple[str, ...]]:
    """Return the combinations of items in the expression's lists: two expressions with a common one surely meet."""
    return set(product(*(text.split(",") for text in expression[len("cron(") : -1].split(" "))))
