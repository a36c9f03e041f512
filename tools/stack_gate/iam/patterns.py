"""IAM patterns with `*` and `?`, compared with each other rather than with strings, and sets of them."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache

from stack_gate.template import TOKEN

# A character that no pattern contains stands for any text: a pattern that matches it there matches any text there.
_FRESH = "\ue000"


def covers(outer: str, inner: str) -> bool:
    """Return whether `outer` matches every string that `inner` matches.

    Exact: only a star of `outer` can match a run of fresh characters longer than its number of question marks, and then
    it matches anything there. A star may also match nothing.
    """
    if outer in ("*", inner):
        return True
    run = _FRESH * (outer.count("?") + 1)
    samples = {inner.replace("*", run), inner.replace("*", "")}
    return all(_compile(outer).fullmatch(sample.replace("?", _FRESH)) for sample in samples)


def covered(inner: str, outers: Iterable[str]) -> bool:
    """Return whether one of the patterns covers `inner`."""
    return any(covers(outer, inner) for outer in outers)


def disjoint(left: str, right: str) -> bool:
    """Return whether no string matches both patterns."""
    # Walk both patterns at once, over every pair of positions that a common prefix leads to.
    pending, visited = [(0, 0)], set[tuple[int, int]]()
    while pending:
        i, j = pending.pop()
        if (i, j) in visited:
            continue
        visited.add((i, j))
        if (i, j) == (len(left), len(right)):
            return False
        one, other = left[i : i + 1], right[j : j + 1]
        if one == "*":
            pending.append((i + 1, j))
        if other == "*":
            pending.append((i, j + 1))
        if one and other and (one in "*?" or other in "*?" or one == other):
            pending.append((i if one == "*" else i + 1, j if other == "*" else j + 1))
    return True


@cache
def _compile(pattern: str) -> re.Pattern[str]:
    parts = (".*" if char == "*" else "." if char == "?" else re.escape(char) for char in pattern)
    return re.compile("".join(parts), re.DOTALL)


@dataclass(frozen=True)
class PatternSet:
    """The strings that any of the patterns matches or, if `negated`, that none of them matches."""

    patterns: tuple[str, ...]
    negated: bool = False

    def includes(self, other: "PatternSet") -> bool:
        """Return whether every string of `other` is in this set. May be False if it takes several patterns together."""
        if not self.negated and not other.negated:
            return all(covered(pattern, self.patterns) for pattern in other.patterns)
        if self.negated and not other.negated:
            return all(disjoint(mine, theirs) for mine in self.patterns for theirs in other.patterns)
        if self.negated and other.negated:
            return all(covered(mine, other.patterns) for mine in self.patterns)
        return covered("*", self.patterns)

    def split(self) -> Iterator["PatternSet"]:
        """Yield parts that are compared one by one: single patterns, or a negated set as a whole."""
        if self.negated:
            yield self
        else:
            yield from (PatternSet((pattern,)) for pattern in self.patterns)

    def is_unresolved(self) -> bool:
        """Return whether the set excludes a value known only at deploy time, so that its members are unknown."""
        return self.negated and any(TOKEN.search(pattern) for pattern in self.patterns)

    def describe(self) -> str:
        return ("anything but " if self.negated else "") + " or ".join(self.patterns)
