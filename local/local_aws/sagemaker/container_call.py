"""One `POST /invocations` to a container, with SageMaker's rules for asynchronous endpoints."""

import http.client
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

_MAX_RESPONSE_BYTES = 2**30  # AWS: an asynchronous response may have 1 GB
_BLOCK_BYTES = 2**20
_MAX_RETRY_SECONDS = 30.0
_CONNECT_SECONDS = 5.0


@dataclass(frozen=True)
class Answered:
    """A 2xx response with a body."""

    body: bytes
    content_type: str


@dataclass(frozen=True)
class Refused:
    """The container answered, and the answer is a failed invocation; `body` is what it said, if anything."""

    reason: str
    body: bytes = b""
    content_type: str = "text/plain"
    status: int | None = None  # of the response, where there was one


@dataclass(frozen=True)
class Busy:
    """The container cannot take the request now (503, or it does not listen); it was not worked on."""

    retry_after: float


@dataclass(frozen=True)
class Lost:
    """The connection broke after the request was sent: it may have been worked on."""

    reason: str


@dataclass(frozen=True)
class TimedOut:
    """No complete response within InvocationTimeoutSeconds."""


Outcome = Answered | Refused | Busy | Lost | TimedOut


def call_container(base_url: str, body: bytes, headers: Mapping[str, str], timeout: float) -> Outcome:
    """Posts `body`; waits `timeout` seconds at most for the whole response. Never raises for what a container does."""
    address = urlsplit(base_url)
    deadline = time.monotonic() + timeout
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=_CONNECT_SECONDS)
    try:
        connection.connect()
    except OSError:
        connection.close()
        return Busy(1.0)
    try:
        connection.sock.settimeout(timeout)
        connection.request("POST", "/invocations", body=body, headers=dict(headers))
        return _outcome(connection, connection.getresponse(), deadline)
    except TimeoutError:
        return TimedOut()
    except (OSError, http.client.HTTPException) as error:
        return Lost(f"{type(error).__name__}: {error}")
    finally:
        connection.close()


def _outcome(connection: http.client.HTTPConnection, response: http.client.HTTPResponse, deadline: float) -> Outcome:
    if response.status == 503:
        return Busy(_retry_after(response.headers.get("Retry-After")))
    if response.length is None:
        return Refused("ClientError: The response from the model must have Content-Length, got none.")
    if response.length > _MAX_RESPONSE_BYTES:
        return Refused(
            f"ClientError: The response must have at most {_MAX_RESPONSE_BYTES} bytes, got {response.length}"
        )
    content_type = response.headers.get("Content-Type", "application/octet-stream")
    body = _read(connection, response, deadline)
    if 200 <= response.status < 300:
        return Answered(body, content_type)
    side = "client" if response.status < 500 else "server"
    reason = (
        f"ClientError: Received {side} error ({response.status}) from model. "
        "See the SageMaker Endpoint logs in your account for more information."
    )
    return Refused(reason, body, content_type, response.status)


def _read(connection: http.client.HTTPConnection, response: http.client.HTTPResponse, deadline: float) -> bytes:
    blocks: list[bytes] = []
    expected = response.length or 0
    while expected:
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError
        if connection.sock:  # http.client lets go of it once the server said "Connection: close"
            connection.sock.settimeout(remaining)
        block = response.read(min(_BLOCK_BYTES, expected))
        if not block:
            raise http.client.IncompleteRead(b"", expected)
        blocks.append(block)
        expected -= len(block)
    return b"".join(blocks)


def _retry_after(text: str | None) -> float:
    seconds = float(text) if text and text.isdecimal() else 1.0
    return min(max(seconds, 0.1), _MAX_RETRY_SECONDS)
