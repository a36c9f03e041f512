"""The few calls of GitHub's REST API that a comment takes (https://docs.github.com/rest/issues/comments)."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

from stack_gate.errors import GateError

PAGE = 100
MOST_PAGES = 30  # GitHub's own limit of files of a pull request is 3000
TIMEOUT_SECONDS = 30


class GitHub:
    """One repository, `owner/name`, at an API address, with a token."""

    def __init__(self, *, address: str, repository: str, token: str) -> None:
        self._root = f"{address.rstrip('/')}/repos/{repository}"
        self._token = token

    def head_commit(self, pull_request: int) -> str:
        """The commit that a pull request is at."""
        return str(self._call("GET", f"/pulls/{pull_request}")["head"]["sha"])

    def changed_files(self, pull_request: int) -> list[str]:
        """Paths that a pull request changes, adds, removes or renames."""
        files = self._pages(f"/pulls/{pull_request}/files")
        return [name for file in files for name in (file["filename"], file.get("previous_filename")) if name]

    def comments(self, issue: int) -> Iterator[dict[str, Any]]:
        """Comments of a pull request, oldest first."""
        yield from self._pages(f"/issues/{issue}/comments")

    def add_comment(self, issue: int, body: str) -> None:
        """A new comment."""
        self._call("POST", f"/issues/{issue}/comments", {"body": body})

    def change_comment(self, comment: int, body: str) -> None:
        """Another text for a comment."""
        self._call("PATCH", f"/issues/comments/{comment}", {"body": body})

    def _pages(self, path: str) -> Iterator[dict[str, Any]]:
        for page in range(1, MOST_PAGES + 1):
            items: list[dict[str, Any]] = self._call("GET", f"{path}?per_page={PAGE}&page={page}")
            yield from items
            if len(items) < PAGE:
                return

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """GateError with GitHub's status; the token is in no message."""
        request = urllib.request.Request(self._root + path, method=method)
        request.add_header("Accept", "application/vnd.github+json")
        request.add_header("Authorization", f"Bearer {self._token}")
        request.add_header("X-GitHub-Api-Version", "2022-11-28")
        data = None if body is None else json.dumps(body).encode()
        try:
            with urllib.request.urlopen(request, data, timeout=TIMEOUT_SECONDS) as response:
                return json.loads(response.read())
        except urllib.error.HTTPError as error:
            with error:
                raise GateError(f"GitHub answered {error.code} to {method} {path}") from error
        except urllib.error.URLError as error:
            raise GateError(f"GitHub could not be reached for {method} {path}: {error.reason}") from error
