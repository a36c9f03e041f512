"""One project of GitLab's REST API (https://docs.gitlab.com/api/rest), in the shapes that GitHub uses."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from stack_gate import GateError
from stack_gate.boundary.github import GitHub
from stack_gate.boundary.rest import Host, RestApi, required
from stack_gate.template import as_object


class GitLab:
    """The calls that the gate needs, on merge requests. Raise GateError, never with the token, if one fails."""

    def __init__(self, *, address: str, project: str, token: str) -> None:
        self._api = RestApi(name="GitLab", root=address.rstrip("/"), headers={"PRIVATE-TOKEN": token})
        self._project = f"/projects/{quote(project, safe='')}"
        self._people: dict[int, str] = {}
        self._bot = ""

    @classmethod
    def from_environment(cls, variables: Mapping[str, str]) -> "GitLab":
        """Return the project that a job's variables name, by the token of the gate's own user."""
        address, project, token = required(variables, "CI_API_V4_URL", "CI_PROJECT_ID", "STACK_GATE_TOKEN")
        return cls(address=address, project=project, token=token)

    @property
    def bot(self) -> str:
        """The token's own user. Raise GateError if it is a person's, who could write the gate's comment by hand."""
        if not self._bot:
            user = self._api.call("GET", "/user")
            if user.get("bot") is not True:
                raise GateError("STACK_GATE_TOKEN must be a project access token, whose user is a bot")
            self._bot = str(user["username"])
        return self._bot

    def head_commit(self, pull_request: int) -> str:
        return str(self._api.call("GET", self._path(pull_request))["sha"])

    def labels(self, pull_request: int) -> set[str]:
        """Return the names of the labels that a merge request has now."""
        return set(map(str, self._api.call("GET", self._path(pull_request))["labels"]))

    def events(self, pull_request: int) -> Iterator[dict[str, Any]]:
        """Yield who added which label when. A label that no longer exists has no name."""
        for event in self._api.pages(f"{self._path(pull_request)}/resource_label_events"):
            yield {
                "id": event["id"],
                "event": {"add": "labeled"}.get(event["action"], "unlabeled"),
                "label": event.get("label"),
                "actor": {"type": self._kind(event)},
                "created_at": _utc(event["created_at"]),
            }

    def comments(self, pull_request: int) -> Iterator[dict[str, Any]]:
        """Yield the notes that people and programs wrote, newest first."""
        for note in self._api.pages(f"{self._path(pull_request)}/notes"):
            if not note.get("system"):
                author = {"login": note["author"]["username"]}
                yield {"id": note["id"], "user": author, "body": note["body"], "updated_at": _utc(note["updated_at"])}

    def add_comment(self, pull_request: int, body: str) -> None:
        self._api.call("POST", f"{self._path(pull_request)}/notes", {"body": body})

    def update_comment(self, pull_request: int, comment: int, body: str) -> None:
        self._api.call("PUT", f"{self._path(pull_request)}/notes/{comment}", {"body": body})

    def _path(self, pull_request: int) -> str:
        return f"{self._project}/merge_requests/{pull_request}"

    def _kind(self, event: dict[str, Any]) -> str:
        """Return "User" for a person, else "Bot". Only GET /users/:id says which an account is."""
        user = as_object(event.get("user")).get("id")
        if not isinstance(user, int):  # the account was deleted
            return "Bot"
        if user not in self._people:
            self._people[user] = "User" if self._api.call("GET", f"/users/{user}").get("bot") is False else "Bot"
        return self._people[user]


def _utc(time: str) -> str:
    """Return a time as a text that sorts by time: GitLab writes its own time zone's offset."""
    return datetime.fromisoformat(time).astimezone(UTC).isoformat(timespec="microseconds")


def host_from_environment(variables: Mapping[str, str]) -> Host:
    """Return the host whose job this is: GitLab's, or else GitHub's."""
    return (GitLab if variables.get("GITLAB_CI") else GitHub).from_environment(variables)
