"""One-time https addresses at which custom resources answer, as CloudFormation's presigned S3 addresses are on AWS."""

from __future__ import annotations

import json
import queue
import secrets
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import Any

from local_aws.emulator import clients

_PATH = "/custom-resource-response/"
_MAXIMUM_BYTES = 4096  # CloudFormation's own limit
_waiting: dict[str, queue.Queue[dict[str, Any]]] = {}

Environ = dict[str, Any]
StartResponse = Callable[[str, list[tuple[str, str]]], Any]
WsgiApp = Callable[[Environ, StartResponse], Iterable[bytes]]


class ExpectedResponse:
    """An address that nobody has answered at yet."""

    def __init__(self) -> None:
        self._token = secrets.token_urlsafe(32)
        self._answers: queue.Queue[dict[str, Any]] = queue.Queue(maxsize=1)
        _waiting[self._token] = self._answers

    @property
    def url(self) -> str:
        """Where to PUT the answer; whoever knows it may answer, once."""
        return f"{clients.runtime().endpoint_url}{_PATH}{self._token}"

    def wait(self, timeout_seconds: float) -> dict[str, Any] | None:
        """The answer, or None if none came in time."""
        try:
            return self._answers.get(timeout=timeout_seconds)
        except queue.Empty:
            return None

    def close(self) -> None:
        """Accept no answer any more."""
        _waiting.pop(self._token, None)


@contextmanager
def expect_response() -> Generator[ExpectedResponse]:
    """An address that takes one answer while the block runs."""
    response = ExpectedResponse()
    try:
        yield response
    finally:
        response.close()


def middleware(app: WsgiApp) -> WsgiApp:
    """Take answers at their addresses and hand every other request to `app`."""

    def handle(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        path = str(environ.get("PATH_INFO", ""))
        if not path.startswith(_PATH):
            return app(environ, start_response)
        status, message = _accept(environ, path.removeprefix(_PATH))
        start_response(status, [("Content-Type", "text/plain"), ("Content-Length", str(len(message)))])
        return [message]

    return handle


def _accept(environ: Environ, token: str) -> tuple[str, bytes]:
    if environ.get("REQUEST_METHOD") != "PUT":
        return "405 Method Not Allowed", b"the answer must be PUT"
    length = int(environ.get("CONTENT_LENGTH") or 0)
    body = environ["wsgi.input"].read(min(length, _MAXIMUM_BYTES + 1))
    answers = _waiting.pop(token, None)
    if answers is None:
        return "403 Forbidden", b"nothing waits for an answer here"
    answers.put(_parse(body, length))
    return "200 OK", b""


def _parse(body: bytes, length: int) -> dict[str, Any]:
    if length > _MAXIMUM_BYTES:
        return {"Status": "FAILED", "Reason": "Response object is too long."}
    try:
        answer = json.loads(body)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        return {"Status": "FAILED", "Reason": "Invalid response object: Value of property must be a JSON object"}
    return dict(answer)  # pyright: ignore[reportUnknownArgumentType] -- JSON from outside
