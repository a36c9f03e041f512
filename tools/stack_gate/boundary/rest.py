"""Calls of a host's REST API with the standard library alone, and what the gate asks of GitHub or GitLab."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from stack_gate import GateError

PAGE_SIZE = 100
MAX_PAGES = 100
TIMEOUT_SECONDS = 30


class Host(Protocol):
    """Pull requests, in GitHub's words and shapes. Every call raises GateError if it fails."""

    @property
    def bot(self) -> str: ...  # the user that writes the gate's comment

    def head_commit(self, pull_request: int) -> str: ...
    def labels(self, pull_request: int) -> set[str]: ...
    def events(self, pull_request: int) -> Iterator[dict[str, Any]]: ...
    def comments(self, pull_request: int) -> Iterator[dict[str, Any]]: ...
    def add_comment(self, pull_request: int, body: str) -> None: ...
    def update_comment(self, pull_request: int, comment: int, body: str) -> None: ...


class RestApi:
    """One API below an address. Errors name method and path, never a header."""

    def __init__(self, *, name: str, root: str, headers: Mapping[str, str]) -> None:
        self._name, self._root, self._headers = name, root, dict(headers)

    def pages(self, path: str) -> Iterator[dict[str, Any]]:
        """Yield the entries of a list, page by page."""
        for page in range(1, MAX_PAGES + 1):
            items: list[dict[str, Any]] = self.call("GET", f"{path}?per_page={PAGE_SIZE}&page={page}")
            yield from items
            if len(items) < PAGE_SIZE:
                return
        raise GateError(f"{self._name} lists more than {MAX_PAGES * PAGE_SIZE} entries for {path}")

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Return the JSON of one call."""
        headers = {**self._headers, **({} if body is None else {"Content-Type": "application/json"})}
        request = urllib.request.Request(self._root + path, method=method, headers=headers)
        data = None if body is None else json.dumps(body).encode()
        try:
            with urllib.request.urlopen(request, data, timeout=TIMEOUT_SECONDS) as response:
                return json.loads(response.read())
        except urllib.error.HTTPError as error:
            with error:
                raise GateError(f"{self._name} returned {error.code} for {method} {path}") from error
        except urllib.error.URLError as error:
            raise GateError(f"{self._name} could not be reached for {method} {path}: {error.reason}") from error


def required(variables: Mapping[str, str], *names: str) -> list[str]:
    """Return environment variables. Raise GateError if one is not set."""
    for name in names:
        if not variables.get(name):
            raise GateError(f"the environment variable {name} is not set")
    return [variables[name] for name in names]
