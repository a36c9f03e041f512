"""The comment on a pull request, against GitHub's API on loopback."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from stack_gate.comment import main, publish
from stack_gate.errors import GateError
from stack_gate.github import GitHub
from stack_gate.markdown import MARK

COMMIT = "a" * 40
TOKEN = "not-a-real-token"


class FakeGitHub:
    """One pull request, number 7, with comments that can be added and changed."""

    def __init__(self) -> None:
        self.comments: list[dict[str, Any]] = []
        self.files = ["infra/stack.py"]
        self.authorizations: set[str] = set()

    def answer(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        """Status and JSON for a call below `/repos/o/r`."""
        route, _, query = path.removeprefix("/repos/o/r").partition("?")
        if (method, route) == ("GET", "/pulls/7"):
            return 200, {"head": {"sha": COMMIT}}
        if (method, route) == ("GET", "/pulls/7/files"):
            return 200, self._page([{"filename": name} for name in self.files], query)
        if (method, route) == ("GET", "/issues/7/comments"):
            return 200, self._page(self.comments, query)
        if (method, route) == ("POST", "/issues/7/comments"):
            self.add("github-actions[bot]", body["body"])
            return 201, self.comments[-1]
        return self._change(method, route, body)

    def add(self, login: str, body: str) -> None:
        """A comment."""
        self.comments.append({"id": len(self.comments) + 1, "user": {"login": login}, "body": body})

    def _change(self, method: str, route: str, body: dict[str, Any]) -> tuple[int, Any]:
        for comment in self.comments:
            if (method, route) == ("PATCH", f"/issues/comments/{comment['id']}"):
                comment["body"] = body["body"]
                return 200, comment
        return 404, {"message": "Not Found"}

    @staticmethod
    def _page(items: list[dict[str, Any]], query: str) -> list[dict[str, Any]]:
        page = int(query.rpartition("page=")[2])
        return items[100 * (page - 1) : 100 * page]


def handler_for(fake: FakeGitHub) -> type[BaseHTTPRequestHandler]:
    """An HTTP handler that answers with the fake."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body: dict[str, Any] = json.loads(self.rfile.read(length)) if length else {}
            fake.authorizations.add(self.headers["Authorization"])
            status, answer = fake.answer(self.command, self.path, body)
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_POST = do_PATCH = do_GET  # noqa: N815  (http.server's names)

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    return Handler


@pytest.fixture
def fake() -> FakeGitHub:
    """A pull request without comments."""
    return FakeGitHub()


@pytest.fixture
def address(fake: FakeGitHub) -> Iterator[str]:
    """Where the fake answers."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler_for(fake))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


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
