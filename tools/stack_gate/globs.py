"""Patterns with `*` and `?`, as IAM uses them, compared with one another and not only with strings."""

import re
from collections.abc import Iterable
from functools import cache

# A character that no pattern holds stands for any text: a pattern that matches it there matches any text there.
FRESH = "\ue000"


def covers(outer: str, inner: str) -> bool:
    """Whether every string that `inner` matches is matched by `outer`.

    Exact: a stretch of fresh characters, longer than `outer` has question marks, can be matched only by a star of
    `outer`, which then matches anything in its place; and a star may also stand for nothing.
    """
    if outer in ("*", inner):
        return True
    stretch = FRESH * (outer.count("?") + 1)
    samples = {inner.replace("*", stretch), inner.replace("*", "")}
    return all(_compiled(outer).fullmatch(sample.replace("?", FRESH)) for sample in samples)


def covered(inner: str, outers: Iterable[str]) -> bool:
    """Whether one of the patterns covers `inner`."""
    return any(covers(outer, inner) for outer in outers)


def disjoint(left: str, right: str) -> bool:
    """Whether no string is matched by both patterns."""
    return not _meet(left, right)


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    parts = (".*" if char == "*" else "." if char == "?" else re.escape(char) for char in pattern)
    return re.compile("".join(parts), re.DOTALL)


def _meet(left: str, right: str) -> bool:
    """Walks both patterns at once over every pair of places in them that some common beginning leads to."""
    pending, seen = [(0, 0)], set[tuple[int, int]]()
    while pending:
        place = pending.pop()
        if place in seen:
            continue
        seen.add(place)
        if place == (len(left), len(right)):
            return True
        pending.extend(_steps(left, right, *place))
    return False


def _steps(left: str, right: str, i: int, j: int) -> list[tuple[int, int]]:
    one, other = left[i : i + 1], right[j : j + 1]
    steps: list[tuple[int, int]] = []
    if one == "*":
        steps.append((i + 1, j))
    if other == "*":
        steps.append((i, j + 1))
    if one and other and (one in ("*", "?") or other in ("*", "?") or one == other):
        steps.append((i if one == "*" else i + 1, j if other == "*" else j + 1))
    return steps
