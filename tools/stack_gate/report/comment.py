"""Post the gate's report on its pull request, or update the comment that is there.

    python -m stack_gate.report.comment --report FOLDER --commit SHA

Runs from the default branch, with a token that may write, on a report that a pull request's run wrote. So it trusts
nothing in the folder: the pull request must be at the run's commit, the text is only used as a comment's body, and
GitHub is asked whether the pull request changes the gate itself.
"""

import argparse
import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from stack_gate import GateError
from stack_gate.report.report import COULD_NOT_RUN, GATE_FILES, MARK, MAX_CHARACTERS, PASS

COMMENT, NUMBER = "comment.md", "number"
BOT = "github-actions[bot]"
PAGE_SIZE = 100
MAX_PAGES = 30  # GitHub lists at most 3000 files of a pull request
TIMEOUT_SECONDS = 30


class GitHub:
    """One repository of GitHub's REST API (https://docs.github.com/rest/issues/comments)."""

    def __init__(self, *, address: str, repository: str, token: str) -> None:
        self._root = f"{address.rstrip('/')}/repos/{repository}"
        self._token = token

    def head_commit(self, pull_request: int) -> str:
        return str(self._call("GET", f"/pulls/{pull_request}")["head"]["sha"])

    def changed_files(self, pull_request: int) -> list[str]:
        """Return the paths that a pull request changes, adds, removes or renames."""
        files = self._pages(f"/pulls/{pull_request}/files")
        return [name for file in files for name in (file["filename"], file.get("previous_filename")) if name]

    def comments(self, pull_request: int) -> Iterator[dict[str, Any]]:
        """Yield the comments of a pull request, oldest first."""
        yield from self._pages(f"/issues/{pull_request}/comments")

    def add_comment(self, pull_request: int, body: str) -> None:
        self._call("POST", f"/issues/{pull_request}/comments", {"body": body})

    def update_comment(self, comment: int, body: str) -> None:
        self._call("PATCH", f"/issues/comments/{comment}", {"body": body})

    def _pages(self, path: str) -> Iterator[dict[str, Any]]:
        for page in range(1, MAX_PAGES + 1):
            items: list[dict[str, Any]] = self._call("GET", f"{path}?per_page={PAGE_SIZE}&page={page}")
            yield from items
            if len(items) < PAGE_SIZE:
                return

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Return the response. Raise GateError, which never contains the token, if the call fails."""
        headers = {
            "Accept": "application/vnd.github+json",
            "Authorization": f"Bearer {self._token}",
            "X-GitHub-Api-Version": "2022-11-28",
        }
        request = urllib.request.Request(self._root + path, method=method, headers=headers)
        data = None if body is None else json.dumps(body).encode()
        try:
            with urllib.request.urlopen(request, data, timeout=TIMEOUT_SECONDS) as response:
                return json.loads(response.read())
        except urllib.error.HTTPError as error:
            with error:
                raise GateError(f"GitHub returned {error.code} for {method} {path}") from error
        except urllib.error.URLError as error:
            raise GateError(f"GitHub could not be reached for {method} {path}: {error.reason}") from error


def main(arguments: Sequence[str] | None = None) -> int:
    """Post or update the comment. Exit status 0: done; 2: could not."""
    options = _parser().parse_args(arguments)
    try:
        github = GitHub(
            address=os.environ.get("GITHUB_API_URL", "https://api.github.com"),
            repository=_required_variable("GITHUB_REPOSITORY"),
            token=_required_variable("GITHUB_TOKEN"),
        )
        print(publish(options.report, options.commit, github))
    except GateError as error:
        print(f"stack gate: no comment: {error}", file=sys.stderr)
        return COULD_NOT_RUN
    return PASS


def publish(report: Path, commit: str, github: GitHub) -> str:
    """Put the report of a run for `commit` on its pull request, and return what was done.

    Raise GateError if the report is malformed or the pull request is at another commit.
    """
    number = _read_number(report / NUMBER)
    if github.head_commit(number) != commit:
        raise GateError(f"pull request {number} is no longer at {commit}, the commit of the run")
    body = _read_body(report / COMMENT, github.changed_files(number))
    for comment in github.comments(number):
        if comment["user"]["login"] == BOT and str(comment["body"]).startswith(MARK):
            github.update_comment(comment["id"], body)
            return f"updated the comment on pull request {number}"
    github.add_comment(number, body)
    return f"commented on pull request {number}"


def _read_number(path: Path) -> int:
    text = path.read_text(encoding="utf-8").strip() if path.is_file() else ""
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise GateError(f"the report's {NUMBER} must be a pull request's number, got {text[:20]!r}")
    return int(text)


def _read_body(path: Path, changed_files: list[str]) -> str:
    if not path.is_file() or path.stat().st_size > 4 * MAX_CHARACTERS:
        raise GateError(f"the report's {COMMENT} must be a file of at most {MAX_CHARACTERS} characters")
    text = path.read_text(encoding="utf-8", errors="replace").removeprefix(MARK).strip()[:MAX_CHARACTERS]
    if any(name.startswith(GATE_FILES) for name in changed_files):
        warning = (
            "This pull request changes the gate or its workflows, which wrote the report below: review them first."
        )
        text = f"> **{warning}**\n\n{text}"
    return f"{MARK}\n{text}\n"


def _required_variable(name: str) -> str:
    value = os.environ.get(name, "")
    if not value:
        raise GateError(f"the environment variable {name} is not set")
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m stack_gate.report.comment", description=__doc__)
    parser.add_argument("--report", type=Path, required=True, help=f"folder with {COMMENT} and {NUMBER}")
    parser.add_argument("--commit", required=True, help="the commit that the report's run was for")
    return parser


if __name__ == "__main__":
    sys.exit(main())
