"""An approval covers the findings that were seen: a later push with another finding needs another one."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import date

import pytest

from stack_gate import GateError
from stack_gate.boundary.approvals import Approvals, Label, class_digest, read_acceptances
from stack_gate.boundary.github import GitHub
from stack_gate.boundary.label_approvals import MARK, Record, find_label_approvals
from stack_gate.diff.stacks import Pair
from stack_gate.findings import Finding
from stack_gate.gate import _with_digests  # pyright: ignore[reportPrivateUsage]
from stack_gate.report.report import Comparison
from stack_gate.template import Stack
from tests.stack_gate.fakes.github import FakeGitHub, serving

SEEN, OTHER = "a" * 16, "b" * 16
TODAY = date(2026, 6, 1)


def finding(digest: str, class_name: str = "money") -> Finding:
    return Finding(class_name=class_name, resource="", what="costs more", why="because", digest=digest)


@pytest.fixture
def fake() -> FakeGitHub:
    return FakeGitHub()


@pytest.fixture
def github(fake: FakeGitHub) -> Iterator[GitHub]:
    with serving(fake) as address:
        yield GitHub(address=address, repository="o/r", token="not-a-real-token")


def show(fake: FakeGitHub, digest: str, labels: dict[str, Label] | None = None) -> None:
    """Let the gate's comment show a digest for the class money."""
    body = f"{MARK}\ntext\n\n{Record(digests={'money': digest}, labels=labels or {}).line()}\n"
    fake.comments = [comment for comment in fake.comments if comment["user"]["login"] != "github-actions[bot]"]
    fake.add("github-actions[bot]", body)


def test_label_covers_what_the_comment_showed(fake: FakeGitHub, github: GitHub) -> None:
    show(fake, SEEN)
    fake.set_label("gate:money")

    assert find_label_approvals(github, 7)["money"].digest == SEEN


def test_label_does_not_cover_what_a_later_push_brings(fake: FakeGitHub, github: GitHub) -> None:
    show(fake, SEEN)
    fake.set_label("gate:money")
    first = find_label_approvals(github, 7)
    show(fake, OTHER, first)  # the run of the push

    assert find_label_approvals(github, 7) == first
    assert not Approvals(labels=first).covered([finding(OTHER)])


def test_label_that_is_added_again_covers_the_new_findings(fake: FakeGitHub, github: GitHub) -> None:
    show(fake, SEEN)
    fake.set_label("gate:money")
    show(fake, OTHER, find_label_approvals(github, 7))
    fake.remove_label("gate:money")
    assert find_label_approvals(github, 7) == {}
    fake.set_label("gate:money")

    assert find_label_approvals(github, 7)["money"].digest == OTHER


@pytest.mark.parametrize("when", ["before any comment", "before the comment changed"])
def test_label_added_before_the_findings_were_shown_covers_nothing(when: str, fake: FakeGitHub, github: GitHub) -> None:
    if when == "before the comment changed":
        show(fake, SEEN)
    fake.set_label("gate:money")
    show(fake, OTHER)

    assert find_label_approvals(github, 7) == {}


@pytest.mark.parametrize(("kind", "app"), [("Bot", None), ("User", {"id": 1})])
def test_label_that_a_program_added_covers_nothing(kind: str, app: object, fake: FakeGitHub, github: GitHub) -> None:
    show(fake, SEEN)
    fake.set_label("gate:money", kind, app)

    assert find_label_approvals(github, 7) == {}


def test_comment_of_another_user_shows_nothing(fake: FakeGitHub, github: GitHub) -> None:
    fake.add("mallory", f"{MARK}\n{Record(digests={'money': SEEN}, labels={}).line()}")
    fake.set_label("gate:money")

    assert find_label_approvals(github, 7) == {}


def test_label_covers_its_class_only_while_no_finding_joins() -> None:
    approvals = Approvals(labels={"money": Label(digest=class_digest([finding(SEEN)]), event=1)})

    assert approvals.covered([finding(SEEN)]) == {"money"}
    assert approvals.covered([finding(SEEN), finding(OTHER)]) == frozenset()
    assert approvals.covered([finding(SEEN, "replace")]) == frozenset()


def acceptances(**changed: str) -> bytes:
    fields = {
        "class": '"money"',
        "findings": f'["{SEEN}"]',
        "reason": '"a launch"',
        "author": '"someone"',
        "expires": "2026-06-01",
        **changed,
    }
    return ("[[acceptance]]\n" + "".join(f"{name} = {value}\n" for name, value in fields.items() if value)).encode()


def test_acceptance_covers_its_findings_until_it_expires() -> None:
    approvals = Approvals(acceptances=read_acceptances(acceptances()), today=TODAY)

    assert approvals.covered([finding(SEEN)]) == {"money"}
    assert approvals.covered([finding(SEEN), finding(OTHER)]) == frozenset()
    assert replace(approvals, today=date(2026, 6, 2)).covered([finding(SEEN)]) == frozenset()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"reason": '" "'}, "reason must say something"),
        ({"author": ""}, "must have exactly"),
        ({"expires": '"never"'}, "expires must be a date"),
        ({"findings": '["*"]'}, "findings must be a list of digests"),
        ({"findings": "[]"}, "findings must be a list of digests"),
        ({"class": '"everything"'}, "class must be one of"),
        ({"also": "1"}, "must have exactly"),
    ],
)
def test_malformed_acceptance_is_no_verdict(changed: dict[str, str], message: str) -> None:
    with pytest.raises(GateError, match=message):
        read_acceptances(acceptances(**changed))


def test_digest_covers_values_that_the_text_cuts() -> None:
    """Two statements that differ behind the 160 characters that are shown have different digests."""

    def digest(value: str) -> str:
        resources = {"B": {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": value}}}
        stack = Stack(name="S", template={"Resources": resources})
        found = Comparison(name="S", findings=[replace(finding(""), resource="B")])
        return _with_digests("dev", Pair(base=stack, head=stack), found).findings[0].digest

    assert digest("x" * 200 + "a") != digest("x" * 200 + "b")
    assert digest("x" * 200 + "a") == digest("x" * 200 + "a")
