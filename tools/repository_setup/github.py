"""GitHub's REST API for one repository, through the `gh` CLI, which has the caller's login."""

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from typing import Any

REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,38}/[A-Za-z0-9._-]{1,100}")
PAGE_SIZE, MAX_PAGES = 100, 20
TIMEOUT_SECONDS = 30
_NOT_FOUND = re.compile(r"\(HTTP 404\)")


class SetupError(Exception):
    """The repository could not be read or changed; the message says why."""


class GitHub:
    """Calls about one repository, `owner/name`. Raise SetupError if one fails."""

    def __init__(self, repository: str) -> None:
        if not REPOSITORY.fullmatch(repository):
            raise SetupError(f"the repository must be owner/name, got {repository!r:.200}")
        self.root = f"repos/{repository}"

    def find(self, path: str) -> dict[str, Any] | None:
        """Return what is at a path under the repository, None if nothing is."""
        return self.get(f"{self.root}{path}")

    def get(self, path: str) -> dict[str, Any] | None:
        """Return what is at a path of the API, None if nothing is."""
        code, out, error = _gh("api", path)
        if code and _NOT_FOUND.search(error):
            return None
        return _parsed(path, code, out, error)

    def pages(self, path: str) -> Iterator[dict[str, Any]]:
        """Yield the entries of a list under the repository."""
        for page in range(1, MAX_PAGES + 1):
            full = f"{self.root}{path}?per_page={PAGE_SIZE}&page={page}"
            entries: list[dict[str, Any]] = _parsed(full, *_gh("api", full))
            yield from entries
            if len(entries) < PAGE_SIZE:
                return
        raise SetupError(f"GitHub lists more than {MAX_PAGES * PAGE_SIZE} entries for {path}")

    def send(self, method: str, path: str, body: Mapping[str, Any]) -> None:
        """Create or change what is at a path under the repository."""
        full = f"{self.root}{path}"
        code, _, error = _gh("api", "--method", method, full, "--input", "-", content=json.dumps(body))
        if code:
            raise SetupError(f"{method} {full} failed: {_line(error)}")


def _gh(*words: str, content: str = "") -> tuple[int, str, str]:
    """Run the CLI without a shell; return its exit status, output and errors."""
    try:
        done = subprocess.run(
            ["gh", *words], input=content, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False
        )
    except FileNotFoundError as error:
        raise SetupError(
            "the GitHub CLI is missing: install gh (https://cli.github.com), then `gh auth login`"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise SetupError(f"`gh {' '.join(words)}` did not answer within {TIMEOUT_SECONDS} s") from error
    return done.returncode, done.stdout, done.stderr


def _parsed(path: str, code: int, out: str, error: str) -> Any:
    if code:
        raise SetupError(f"GET {path} failed: {_line(error)}")
    try:
        return json.loads(out)
    except ValueError as fault:
        raise SetupError(f"GET {path} did not answer JSON: {_line(out)}") from fault


def _line(text: str) -> str:
    return " ".join(text.split())[:300] or "no reason given"
