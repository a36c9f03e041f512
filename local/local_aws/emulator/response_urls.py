"""One-time https URLs at which custom resources answer, like CloudFormation's presigned S3 URLs on AWS."""

import json
import queue
import secrets
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager, suppress
from typing import Any

from werkzeug.wrappers import Response

from local_aws.emulator import clients

_PATH = "/custom-resource-response/"
_MAX_BYTES = 4096  # CloudFormation's own limit
_waiting: dict[str, queue.Queue[dict[str, Any]]] = {}

Environ = dict[str, Any]
WsgiApp = Callable[[Environ, Any], Iterable[bytes]]


class ExpectedResponse:
    """A URL that accepts one answer."""

    def __init__(self, token: str, answers: queue.Queue[dict[str, Any]]) -> None:
        self.url = f"{clients.runtime().endpoint_url}{_PATH}{token}"
        self._answers = answers

    def wait(self, timeout_seconds: float) -> dict[str, Any] | None:
        """Return the answer, or None if none arrived in time."""
        try:
            return self._answers.get(timeout=timeout_seconds)
        except queue.Empty:
            return None


@contextmanager
def expect_response() -> Generator[ExpectedResponse]:
    """Accept one answer at a new URL while the block runs."""
    token, answers = secrets.token_urlsafe(32), queue.Queue[dict[str, Any]](maxsize=1)
    _waiting[token] = answers
    try:
        yield ExpectedResponse(token, answers)
    finally:
        _waiting.pop(token, None)


def middleware(app: WsgiApp) -> WsgiApp:
    """Accept answers at their URLs and pass every other request to `app`."""

    def handle(environ: Environ, start_response: Any) -> Iterable[bytes]:
        path = str(environ.get("PATH_INFO", ""))
        if not path.startswith(_PATH):
            return app(environ, start_response)
        return _accept(environ, path.removeprefix(_PATH))(environ, start_response)

    return handle


def _accept(environ: Environ, token: str) -> Response:
    if environ.get("REQUEST_METHOD") != "PUT":
        return Response("answer with PUT", 405)
    if environ.get("CONTENT_TYPE"):  # CloudFormation presigns its URLs for an empty one
        return Response("SignatureDoesNotMatch: Content-Type must be empty", 403)
    length = int(environ.get("CONTENT_LENGTH") or 0)
    body = environ["wsgi.input"].read(min(length, _MAX_BYTES + 1))
    answers = _waiting.pop(token, None)
    if answers is None:
        return Response("unknown or already answered", 403)
    answer: Any = None
    with suppress(ValueError):
        answer = json.loads(body)
    if length > _MAX_BYTES:
        answer = {"Status": "FAILED", "Reason": "Response object is too long."}
    elif not isinstance(answer, dict):
        answer = {"Status": "FAILED", "Reason": "Invalid response object: Value of property must be a JSON object"}
    answers.put(answer)  # pyright: ignore[reportUnknownArgumentType] -- JSON from outside
    return Response()
