"""The comment on a pull request, against GitHub's API on loopback."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from stack_gate.comment import main, publish
from stack_gate.errors import GateError
from stack_gate.github import GitHub
from stack_gate.markdown import MARK
from tests.stack_gate.fakes.github import COMMIT, FakeGitHub, serving

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
    """What a pull request's run leaves."""
    (tmp_path / "comment.md").write_text(f"{MARK}\n## Stack gate: pass\n", encoding="utf-8")
    (tmp_path / "number").write_text("7\n", encoding="utf-8")
    return tmp_path


def test_first_report_becomes_a_comment(report: Path, github: GitHub, fake: FakeGitHub) -> None:
    publish(report, COMMIT, github)

    assert [comment["body"] for comment in fake.comments] == [f"{MARK}\n## Stack gate: pass\n"]
    assert fake.authorizations == {f"Bearer {TOKEN}"}


def test_second_report_replaces_the_first(report: Path, github: GitHub, fake: FakeGitHub) -> None:
    publish(report, COMMIT, github)
    (report / "comment.md").write_text(f"{MARK}\n## Stack gate: needs a label\n", encoding="utf-8")

    publish(report, COMMIT, github)

    assert [comment["body"] for comment in fake.comments] == [f"{MARK}\n## Stack gate: needs a label\n"]


def test_own_comment_is_found_behind_a_hundred_others(report: Path, github: GitHub, fake: FakeGitHub) -> None:
    for _ in range(150):
        fake.add("somebody", "+1")
    publish(report, COMMIT, github)

    publish(report, COMMIT, github)

    assert len(fake.comments) == 151


def test_comment_of_somebody_else_with_the_mark_stays(report: Path, github: GitHub, fake: FakeGitHub) -> None:
    fake.add("mallory", f"{MARK}\nall is well")

    publish(report, COMMIT, github)

    assert fake.comments[0]["body"] == f"{MARK}\nall is well"
    assert len(fake.comments) == 2


def test_change_of_the_gate_itself_is_said_first(report: Path, github: GitHub, fake: FakeGitHub) -> None:
    fake.files = ["tools/stack_gate/rules.toml"]

    publish(report, COMMIT, github)

    assert fake.comments[0]["body"].splitlines()[1].startswith("> **This pull request changes the gate")


def test_report_of_another_commit_is_refused(report: Path, github: GitHub, fake: FakeGitHub) -> None:
    with pytest.raises(GateError, match="must be at"):
        publish(report, "b" * 40, github)

    assert fake.comments == []


@pytest.mark.parametrize("number", ["", "7; rm -rf /", "../issues/1", "-1", "\u0661"])
def test_number_that_is_none_is_refused(number: str, report: Path, github: GitHub) -> None:
    (report / "number").write_text(number, encoding="utf-8")

    with pytest.raises(GateError, match="must be that of a pull request"):
        publish(report, COMMIT, github)


def test_failure_says_the_status_and_not_the_token(
    report: Path, address: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (report / "number").write_text("8", encoding="utf-8")
    monkeypatch.setenv("GITHUB_API_URL", address)
    monkeypatch.setenv("GITHUB_REPOSITORY", "o/r")
    monkeypatch.setenv("GITHUB_TOKEN", TOKEN)

    assert main(["--report", str(report), "--commit", COMMIT]) == 2

    said = capsys.readouterr().err
    assert "404" in said
    assert TOKEN not in said
