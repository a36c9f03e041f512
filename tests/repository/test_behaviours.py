"""docs/behaviours.md is what the conformance suite says."""

from collections import Counter

from conformance import page
from conformance.behaviour import behaviours, root


def test_the_page_is_current() -> None:
    assert page.PAGE.read_text(encoding="utf-8") == page.current(), "run: make conformance"
    assert page.README.read_text(encoding="utf-8") == page.readme(), "run: make conformance"


def test_what_differs_or_is_unknown_has_a_reason() -> None:
    assert [row.id for row in behaviours() if row.status != "same" and len(row.reason) < 20] == []


def test_a_file_states_nothing_twice() -> None:
    counts = Counter((row.path.partition("::")[0], row.statement) for row in behaviours())
    assert [row for row, count in counts.items() if count > 1] == []


def test_rows_name_existing_tests() -> None:
    for row in behaviours():
        file, _, test = row.path.partition("::")
        assert f"def {test}(" in (root() / file).read_text(encoding="utf-8"), row.id
