"""The calls of GitHub's API that a comment takes, on loopback."""

import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol

COMMIT = "a" * 40


class FakeGitHub:
    """One pull request, number 7, with comments and labels that can be added and changed. Each call takes a second."""

    def __init__(self) -> None:
        self.comments: list[dict[str, Any]] = []
        self.labels: set[str] = set()
        self.events: list[dict[str, Any]] = []
        self.authorizations: set[str] = set()
        self.seconds = 0

    def answer(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        """Return status and JSON for a call below `/repos/o/r`."""
        route, _, query = path.removeprefix("/repos/o/r").partition("?")
        if (method, route) == ("GET", "/pulls/7"):
            return 200, {"head": {"sha": COMMIT}}
        if (method, route) == ("GET", "/issues/7/labels"):
            return 200, self._page([{"name": name} for name in sorted(self.labels)], query)
        if (method, route) == ("GET", "/issues/7/events"):
            return 200, self._page(self.events, query)
        if (method, route) == ("GET", "/issues/7/comments"):
            return 200, self._page(self.comments, query)
        if (method, route) == ("POST", "/issues/7/comments"):
            self.add("github-actions[bot]", body["body"])
            return 201, self.comments[-1]
        return self._change(method, route, body)

    def add(self, login: str, body: str) -> None:
        comment = {"id": len(self.comments) + 1, "user": {"login": login}, "body": body, "updated_at": self.now()}
        self.comments.append(comment)

    def now(self) -> str:
        """Return the next second, as GitHub writes it."""
        self.seconds += 1
        return f"2026-01-01T00:{self.seconds // 60:02}:{self.seconds % 60:02}Z"

    def set_label(self, name: str, kind: str = "User", app: object = None) -> None:
        """Let a person, or a program of kind "Bot", add a label."""
        self.labels.add(name)
        self._record("labeled", name, kind, app)

    def remove_label(self, name: str) -> None:
        self.labels.discard(name)
        self._record("unlabeled", name, "User", None)

    def _record(self, event: str, name: str, kind: str, app: object) -> None:
        self.events.append(
            {
                "id": 1000 + len(self.events),
                "event": event,
                "label": {"name": name},
                "actor": {"login": "someone", "type": kind},
                "performed_via_github_app": app,
                "created_at": self.now(),
            }
        )

    def _change(self, method: str, route: str, body: dict[str, Any]) -> tuple[int, Any]:
        for comment in self.comments:
            if (method, route) == ("PATCH", f"/issues/comments/{comment['id']}"):
                comment["body"] = body["body"]
                comment["updated_at"] = self.now()
                return 200, comment
        return 404, {"message": "Not Found"}

    @staticmethod
    def _page(items: list[dict[str, Any]], query: str) -> list[dict[str, Any]]:
        page = int(query.rpartition("page=")[2])
        return items[100 * (page - 1) : 100 * page]


class Fake(Protocol):
    """What answers calls of an API, and the `Authorization` headers that it got."""

    authorizations: set[str]

    def answer(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, Any]: ...


def handler_for(fake: Fake) -> type[BaseHTTPRequestHandler]:
    """Return an HTTP handler that answers from the fake."""

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

        do_POST = do_PATCH = do_PUT = do_GET  # noqa: N815  (http.server's names)

        def log_message(self, format: str, *args: object) -> None:
            """Log nothing."""

    return Handler


@contextmanager
def serving(fake: Fake) -> Generator[str]:
    """Serve the fake; yield its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler_for(fake))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
