"""One repository of GitHub's REST API (https://docs.github.com/rest)."""

from collections.abc import Iterator, Mapping
from typing import Any

from stack_gate.boundary.rest import RestApi, required


class GitHub:
    """The calls that the gate needs. Raise GateError, which never contains the token, if one fails."""

    bot = "github-actions[bot]"

    def __init__(self, *, address: str, repository: str, token: str) -> None:
        headers = {
            "Accept": "application/vnd.github+json",
            "Authorization": f"Bearer {token}",
            "X-GitHub-Api-Version": "2022-11-28",
        }
        self._api = RestApi(name="GitHub", root=f"{address.rstrip('/')}/repos/{repository}", headers=headers)

    @classmethod
    def from_environment(cls, variables: Mapping[str, str]) -> "GitHub":
        """Return the repository that a workflow's variables name."""
        repository, token = required(variables, "GITHUB_REPOSITORY", "GITHUB_TOKEN")
        address = variables.get("GITHUB_API_URL", "https://api.github.com")
        return cls(address=address, repository=repository, token=token)

    def head_commit(self, pull_request: int) -> str:
        return str(self._api.call("GET", f"/pulls/{pull_request}")["head"]["sha"])

    def labels(self, pull_request: int) -> set[str]:
        """Return the names of the labels that a pull request has now."""
        return {str(label["name"]) for label in self._api.pages(f"/issues/{pull_request}/labels")}

    def events(self, pull_request: int) -> Iterator[dict[str, Any]]:
        """Yield what happened to a pull request: `labeled` with actor, time and label."""
        yield from self._api.pages(f"/issues/{pull_request}/events")

    def comments(self, pull_request: int) -> Iterator[dict[str, Any]]:
        """Yield the comments of a pull request, oldest first."""
        yield from self._api.pages(f"/issues/{pull_request}/comments")

    def add_comment(self, pull_request: int, body: str) -> None:
        self._api.call("POST", f"/issues/{pull_request}/comments", {"body": body})

    def update_comment(self, pull_request: int, comment: int, body: str) -> None:
        self._api.call("PATCH", f"/issues/comments/{comment}", {"body": body})
