"""The comment on a pull request, against GitHub's API on loopback."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from stack_gate import GateError
from stack_gate.boundary.github import GitHub
from stack_gate.report.comment import main, publish
from stack_gate.report.report import MARK
from tests.stack_gate.fakes.github import COMMIT, FakeGitHub, serving

RECORD = '\n<!-- stack-gate-record {"digests": {}, "labels": {}} -->\n'
TOKEN = "not-a-real-token"


@pytest.fixture
def fake() -> FakeGitHub:
    """A pull request without comments."""
    return FakeGitHub()


@pytest.fixture
def address(fake: FakeGitHub) -> Iterator[str]:
    """Where the fake answers."""
    with serving(fake) as address:
        yield address


@pytest.fixture
def github(address: str) -> GitHub:
    """A client of the fake."""
    return GitHub(address=address, repository="o/r", token=TOKEN)


@pytest.fixture
def report(tmp_path: Path) -> Path:
    """The artifact of a pull request's run."""
    (tmp_path / "comment.md").write_text(f"{MARK}\n## Stack gate: pass\n", encoding="utf-8")
    (tmp_path / "report.json").write_text('{"digests": {}, "label_approvals": {}}', encoding="utf-8")
    return tmp_path


def test_first_report_becomes_a_comment(report: Path, github: GitHub, fake: FakeGitHub) -> None:
    publish(report, 7, COMMIT, github)

    assert [comment["body"] for comment in fake.comments] == [f"{MARK}\n## Stack gate: pass\n{RECORD}"]
    assert fake.authorizations == {f"Bearer {TOKEN}"}


def test_second_report_replaces_the_first(report: Path, github: GitHub, fake: FakeGitHub) -> None:
    publish(report, 7, COMMIT, github)
    (report / "comment.md").write_text(f"{MARK}\n## Stack gate: needs a label\n", encoding="utf-8")

    publish(report, 7, COMMIT, github)

    assert [comment["body"] for comment in fake.comments] == [f"{MARK}\n## Stack gate: needs a label\n{RECORD}"]


def test_own_comment_is_found_after_a_hundred_others(report: Path, github: GitHub, fake: FakeGitHub) -> None:
    for _ in range(150):
        fake.add("someone", "+1")
    publish(report, 7, COMMIT, github)

    publish(report, 7, COMMIT, github)

    assert len(fake.comments) == 151


def test_comment_by_another_user_with_the_mark_is_kept(report: Path, github: GitHub, fake: FakeGitHub) -> None:
    fake.add("mallory", f"{MARK}\nall is well")

    publish(report, 7, COMMIT, github)

    assert fake.comments[0]["body"] == f"{MARK}\nall is well"
    assert len(fake.comments) == 2


def test_report_of_another_commit_is_rejected(report: Path, github: GitHub, fake: FakeGitHub) -> None:
    with pytest.raises(GateError, match="is no longer at"):
        publish(report, 7, "b" * 40, github)

    assert fake.comments == []


@pytest.mark.parametrize(
    "text", ["", "[]x", '{"digests": {"money": "--><script>"}}', '{"label_approvals": {"money": {"digest": "x"}}}']
)
def test_malformed_digests_are_rejected(text: str, report: Path, github: GitHub, fake: FakeGitHub) -> None:
    (report / "report.json").write_text(text, encoding="utf-8")

    with pytest.raises(GateError, match=r"report\.json could not be read"):
        publish(report, 7, COMMIT, github)

    assert fake.comments == []


def test_failure_reports_the_status_without_the_token(
    report: Path, address: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GITHUB_API_URL", address)
    monkeypatch.setenv("GITHUB_REPOSITORY", "o/r")
    monkeypatch.setenv("GITHUB_TOKEN", TOKEN)

    assert main(["--report", str(report), "--pull-request", "8", "--commit", COMMIT]) == 2

    error = capsys.readouterr().err
    assert "404" in error
    assert TOKEN not in error
