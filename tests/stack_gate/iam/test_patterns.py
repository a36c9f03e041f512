"""Comparisons of two patterns agree with the strings that the patterns match."""

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stack_gate.iam.patterns import covers, disjoint

PATTERNS = st.text(alphabet="ab*?", max_size=6)
STRINGS = ["".join(letters) for length in range(6) for letters in itertools.product("abc", repeat=length)]


def language(pattern: str) -> set[str]:
    """Return the short strings that a pattern matches."""
    compiled = re.compile(pattern.replace("*", ".*").replace("?", "."))
    return {text for text in STRINGS if compiled.fullmatch(text)}


@given(outer=PATTERNS, inner=PATTERNS)
def test_pattern_covers_another_exactly_if_it_matches_all_its_strings(outer: str, inner: str) -> None:
    if covers(outer, inner):
        assert language(inner) <= language(outer)
    elif len(inner) <= 4 and len(outer) <= 4:
        # Strings of up to five letters, with one letter that no pattern contains, tell short patterns apart.
        assert not language(inner) <= language(outer)


@given(left=PATTERNS, right=PATTERNS)
def test_patterns_are_disjoint_exactly_if_no_string_matches_both(left: str, right: str) -> None:
    if disjoint(left, right):
        assert not language(left) & language(right)
    elif len(left) <= 3 and len(right) <= 3:
        assert language(left) & language(right)


@pytest.mark.parametrize(
    ("outer", "inner", "expected"),
    [
        ("s3:*", "s3:GetObject", True),
        ("s3:Get*", "s3:*", False),
        ("arn:aws:s3:::⟦Bucket⟧/*", "arn:aws:s3:::⟦Bucket⟧/out/*", True),
        ("arn:aws:s3:::⟦Bucket⟧/out/*", "arn:aws:s3:::⟦Other⟧/out/*", False),
        ("a?c", "a*c", False),
        ("a*c", "a?c", True),
        ("a?*", "a*", False),
    ],
)
def test_covers(outer: str, inner: str, expected: bool) -> None:
    assert covers(outer, inner) is expected
