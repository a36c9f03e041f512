"""The calls of GitLab's API that a merge request's gate takes, on loopback, with the fields that its pages show."""

from typing import Any
from urllib.parse import parse_qs

COMMIT = "c" * 40
GATE, PERSON, ROBOT = 10, 1, 11  # ids of users


class FakeGitLab:
    """One merge request, number 7 of project 5. Each change takes a second, in the time zone of the instance."""

    def __init__(self) -> None:
        self.notes: list[dict[str, Any]] = []
        self.labels: set[str] = set()
        self.events: list[dict[str, Any]] = []
        self.authorizations: set[str] = set()
        self.gate_is_a_bot = True
        self.seconds = 0

    def answer(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        """Return status and JSON for a call below `/api/v4`."""
        route, _, query = path.removeprefix("/api/v4").partition("?")
        request, notes = "/projects/5/merge_requests/7", [*reversed(self.notes)]
        if method == "GET":
            pages = {f"{request}/notes": notes, f"{request}/resource_label_events": self.events}
            if route in pages:
                page = int(parse_qs(query)["page"][0])
                return 200, pages[route][100 * (page - 1) : 100 * page]
            users = {str(number): self.user(number) for number in (GATE, PERSON, ROBOT)}
            found = {request: {"sha": COMMIT, "labels": sorted(self.labels)}, "/user": users[str(GATE)]}
            found |= {f"/users/{number}": user for number, user in users.items()}
            return (200, found[route]) if route in found else (404, {"message": "404 Not found"})
        if (method, route) == ("POST", f"{request}/notes"):
            self.write(GATE, body["body"])
            return 201, self.notes[-1]
        for note in self.notes:
            if (method, route) == ("PUT", f"{request}/notes/{note['id']}"):
                note.update(body=body["body"], updated_at=self.now())
                return 200, note
        return 404, {"message": "404 Not found"}

    def user(self, number: int) -> dict[str, Any]:
        bot = {GATE: self.gate_is_a_bot, PERSON: False, ROBOT: True}[number]
        return {"id": number, "username": f"user{number}", "bot": bot}

    def write(self, user: int, body: str, *, system: bool = False) -> None:
        note = {"id": len(self.notes) + 1, "author": self.user(user), "body": body, "system": system}
        self.notes.append({**note, "updated_at": self.now()})

    def add_label(self, name: str, user: int | None = PERSON, *, offset: bool = False) -> None:
        self.labels.add(name)
        self._record("add", name, user, offset)

    def remove_label(self, name: str) -> None:
        self.labels.discard(name)
        self._record("remove", name, PERSON, False)

    def now(self, *, offset: bool = False) -> str:
        """Return the next second, in UTC or as an instance two hours west of it writes it."""
        self.seconds += 1
        hour, zone = ("10", "-02:00") if offset else ("12", "Z")
        return f"2026-01-01T{hour}:00:{self.seconds:02}.077{zone}"

    def _record(self, action: str, name: str, user: int | None, offset: bool) -> None:
        self.events.append(
            {
                "id": 100 + len(self.events),
                "user": None if user is None else self.user(user),
                "created_at": self.now(offset=offset),
                "label": {"id": 73, "name": name},
                "action": action,
            }
        )
