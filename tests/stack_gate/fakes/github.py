"""The calls of GitHub's API that a comment takes, on loopback."""

import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "a" * 40


class FakeGitHub:
    """One pull request, number 7, with comments that can be added and changed."""

    def __init__(self) -> None:
        self.comments: list[dict[str, Any]] = []
        self.files = ["infra/stack.py"]
        self.authorizations: set[str] = set()

    def answer(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        """Return status and JSON for a call below `/repos/o/r`."""
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

        do_POST = do_PATCH = do_GET  # noqa: N815  (http.server's names)

        def log_message(self, format: str, *args: object) -> None:
            """Log nothing."""

    return Handler


@contextmanager
def serving(fake: FakeGitHub) -> Generator[str]:
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
