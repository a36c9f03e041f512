"""Read responses from raw bytes, strictly and without the library that the server uses."""

import json
import re
import socket
import time
from dataclasses import dataclass
from http import HTTPStatus

_HEAD = re.compile(rb"HTTP/1\.1 ([1-5][0-9]{2}) ([A-Za-z -]*)\r\n((?:[A-Za-z-]+: [\x20-\x7e]*\r\n)*)\r\n")
PING = b"GET /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


class InvalidResponseError(Exception):
    """What the server sent is not what this project promises of its responses."""


@dataclass(frozen=True)
class RawResponse:
    """A response; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


def split_responses(data: bytes, *, head_last: bool = False) -> tuple[list[RawResponse], bytes]:
    """Return the complete responses at the start of `data`, and the rest; InvalidResponseError for anything else.

    Each final response has a Content-Length; one that is no success has one JSON sentence. With `head_last`
    the last one may lack its body, as for HEAD.
    """
    responses: list[RawResponse] = []
    while match := _HEAD.match(data):
        status, lines = int(match[1]), match[3].decode("ascii").split("\r\n")[:-1]
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        if len(headers) != len(lines):
            raise InvalidResponseError(f"a header is repeated: {lines}")
        interim = status < HTTPStatus.OK
        without_body = interim or (head_last and match.end() == len(data))
        length = 0 if without_body else int(headers["content-length"])
        if len(data) < match.end() + length:
            return responses, data
        body, data = data[match.end() : match.end() + length], data[match.end() + length :]
        response = RawResponse(status, headers, body)
        if not without_body:
            _check_sentence(response)
        responses.append(response)
    if (data and not b"HTTP/1.1 ".startswith(data[:9])) or b"\r\n\r\n" in data:
        raise InvalidResponseError(f"not a response: {data[:200]!r}")
    return responses, data


def _check_sentence(response: RawResponse) -> None:
    """Raise InvalidResponseError if a refusal is not one JSON sentence in printable ASCII."""
    if response.status in (HTTPStatus.OK, HTTPStatus.SERVICE_UNAVAILABLE) and response.body == b"{}":
        return  # /ping
    if response.status != HTTPStatus.OK:
        error = json.loads(response.body)["error"]
        if not error or "\n" in error or not response.body.isascii() or len(response.body) > 1000:
            raise InvalidResponseError(f"not one sentence: {response}")


def read_until_closed(client: socket.socket, seconds: float) -> tuple[bytes, bool]:
    """Return what the server sends within `seconds`, and whether it closed the connection."""
    deadline, data = time.monotonic() + seconds, b""
    while (left := deadline - time.monotonic()) > 0:
        client.settimeout(left)
        try:
            received = client.recv(65536)
        except TimeoutError:
            break
        except ConnectionError:
            return data, True
        if not received:
            return data, True
        data += received
    return data, False


def ping(port: int, seconds: float = 10.0) -> int:
    """Return the status of `/ping` on a new connection; InvalidResponseError if it does not come in time."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as client:
        client.sendall(PING)
        data, closed = read_until_closed(client, seconds)
    responses, rest = split_responses(data)
    if len(responses) != 1 or rest or not closed:
        raise InvalidResponseError(f"/ping must get one response and the connection's end, got {data!r}")
    return responses[0].status
