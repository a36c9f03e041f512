"""IAM patterns with `*` and `?`, compared with each other rather than with strings, and sets of them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from stack_gate.template import TOKEN

# A character that no pattern contains stands for any text: a pattern that matches it there matches any text there.
_FRESH = "\ue000"


@lru_cache(100_000)
def covers(outer: str, inner: str) -> bool:
    """Return whether `outer` matches every string that `inner` matches.

    Exact: only a star of `outer` can match a run of fresh characters longer than its number of question marks, and then
    it matches anything there. A star may also match nothing.
    """
    if outer in ("*", inner):
        return True
    run = _FRESH * (outer.count("?") + 1)
    samples = {inner.replace("*", run), inner.replace("*", "")}
    return all(matches(outer, sample.replace("?", _FRESH)) for sample in samples)


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


def varies(pattern: str) -> bool:
    """Return whether a pattern has a policy variable or a function's value, which may be any text, also another's."""
    return "${" in pattern or any("#" in name for name in TOKEN.findall(pattern))


def matches(pattern: str, text: str) -> bool:
    """Return whether a pattern matches a text, in at most the product of their lengths: a regex backtracks."""
    i = j = 0
    star = restart = -1
    while j < len(text):
        if i < len(pattern) and pattern[i] == "*":
            star, restart = i, j
            i += 1
        elif i < len(pattern) and (pattern[i] == "?" or pattern[i] == text[j]):
            i, j = i + 1, j + 1
        elif star >= 0:
            # The latest star takes one character more.
            restart += 1
            i, j = star + 1, restart
        else:
            return False
    return set(pattern[i:]) <= {"*"}


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
            pairs = [(mine, theirs) for mine in self.patterns for theirs in other.patterns]
            return not any(map(varies, other.patterns)) and all(disjoint(mine, theirs) for mine, theirs in pairs)
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
        return self.negated and any(TOKEN.search(pattern) or varies(pattern) for pattern in self.patterns)

    def describe(self) -> str:
        return ("anything but " if self.negated else "") + " or ".join(self.patterns)
