"""One repository of GitHub's REST API (https://docs.github.com/rest), with the standard library alone."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any

from stack_gate import GateError

PAGE_SIZE = 100
MAX_PAGES = 100
TIMEOUT_SECONDS = 30


class GitHub:
    """The calls that the gate needs. Raise GateError, which never contains the token, if one fails."""

    def __init__(self, *, address: str, repository: str, token: str) -> None:
        self._root = f"{address.rstrip('/')}/repos/{repository}"
        self._token = token

    @classmethod
    def from_environment(cls, variables: Mapping[str, str]) -> "GitHub":
        """Return the repository that a workflow's variables name."""
        for name in ("GITHUB_REPOSITORY", "GITHUB_TOKEN"):
            if not variables.get(name):
                raise GateError(f"the environment variable {name} is not set")
        address = variables.get("GITHUB_API_URL", "https://api.github.com")
        return cls(address=address, repository=variables["GITHUB_REPOSITORY"], token=variables["GITHUB_TOKEN"])

    def head_commit(self, pull_request: int) -> str:
        return str(self._call("GET", f"/pulls/{pull_request}")["head"]["sha"])

    def labels(self, pull_request: int) -> set[str]:
        """Return the names of the labels that a pull request has now."""
        return {str(label["name"]) for label in self._pages(f"/issues/{pull_request}/labels")}

    def events(self, pull_request: int) -> Iterator[dict[str, Any]]:
        """Yield what happened to a pull request: `labeled` with actor, time and label."""
        yield from self._pages(f"/issues/{pull_request}/events")

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
        raise GateError(f"GitHub lists more than {MAX_PAGES * PAGE_SIZE} entries for {path}")

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
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
