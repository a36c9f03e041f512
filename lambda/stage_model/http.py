"""HTTP/1.1 over persistent connections, using the standard library only.

boto3's `upload_part` and a general-purpose HTTP client cost a third of the throughput and over 100 MiB of memory.
"""

import http.client
import os
import socket
import ssl
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from stage_model.errors import StagingError, TransientError

Connection = http.client.HTTPConnection
_RETRYABLE_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})


def tls_context() -> ssl.SSLContext:
    """Return the default TLS settings (`SSL_CERT_FILE` included), trusting `AWS_CA_BUNDLE` as the AWS SDK does."""
    context = ssl.create_default_context()
    bundle = os.environ.get("AWS_CA_BUNDLE")
    if bundle:
        context.load_verify_locations(bundle)
    return context


def split_url(url: str) -> SplitResult:
    """Return the parts of an https URL, or of an http URL to loopback. Raises StagingError for any other."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # validated on access only
    except ValueError as error:
        raise StagingError(f"addresses must be well-formed, got {url[:200]!r}: {error}") from error
    if parts.hostname and (parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(parts.hostname))):
        return parts
    raise StagingError(f"addresses must be https (or http to loopback), got {parts.scheme}://{parts.hostname}")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@dataclass(frozen=True)
class Request:
    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | memoryview | None = None


@dataclass(frozen=True)
class Exchange:
    """A response whose body is still to be read, and its socket."""

    response: http.client.HTTPResponse
    socket: socket.socket


class Connections:
    """A pool of connections by scheme, host and port: at most as many as there were concurrent exchanges.

    `timeout_s` bounds each socket operation; the time reserved at the end of an invocation allows for it.
    """

    def __init__(self, timeout_s: float = 10.0, context: ssl.SSLContext | None = None) -> None:
        self.timeout_s = timeout_s
        self._context = context or tls_context()
        # Shared by threads: list.append and list.pop are atomic under the interpreter lock.
        self._idle: defaultdict[str, list[Connection]] = defaultdict(list)

    @contextmanager
    def exchange(self, request: Request) -> Generator[Exchange]:
        """Send a request and yield its response, to be read inside the block.

        Raises TransientError when the connection fails, also while the block reads.
        """
        parts = split_url(request.url)
        key = f"{parts.scheme}://{parts.netloc}"
        try:
            connection = self._idle[key].pop()
        except IndexError:
            connection = self._connection(parts)
        keep = False
        try:
            target = parts.path + (f"?{parts.query}" if parts.query else "")
            connection.request(request.method, target or "/", body=request.body, headers=dict(request.headers))
            sock = connection.sock  # getresponse() drops it when the server closes; it stays readable
            response = connection.getresponse()
            yield Exchange(response, sock)
            keep = response.isclosed()  # read to its end: the connection can be reused
        except (OSError, http.client.HTTPException) as error:
            self._close(key)  # idle connections to a host that dropped one are probably dead too
            what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            raise TransientError(f"connection to {parts.hostname} failed: {what}") from error
        finally:
            if keep:
                self._idle[key].append(connection)
            else:
                connection.close()

    def _connection(self, parts: SplitResult) -> Connection:
        host = parts.hostname or ""
        if parts.scheme == "https":
            return http.client.HTTPSConnection(host, parts.port, timeout=self.timeout_s, context=self._context)
        return http.client.HTTPConnection(host, parts.port, timeout=self.timeout_s)

    def _close(self, key: str) -> None:
        for connection in self._idle.pop(key, []):
            connection.close()

    def close(self) -> None:
        """Close all idle connections. No exchange may be in progress."""
        for key in list(self._idle):
            self._close(key)


def raise_if_retryable(response: http.client.HTTPResponse, server: str) -> None:
    """Raise TransientError for a retryable status, with the wait that the server asks for.

    `Retry-After` may hold seconds; the Hub also sends `RateLimit: "api";r=0;t=55`, `t` seconds until the next window.
    """
    if response.status in _RETRYABLE_STATUSES:
        fields = (field.strip() for field in response.headers.get("RateLimit", "").split(";"))
        reset_s = next((_seconds(field[2:]) for field in fields if field.startswith("t=")), None)
        wait_s = _seconds(response.headers.get("Retry-After")) or reset_s
        raise TransientError(f"{server} answered {response.status}", wait_s)


def _seconds(value: str | None) -> float | None:
    text = (value or "").strip()
    return min(float(text), 3600.0) if text.replace(".", "", 1).isdigit() else None


class ViewCursor:
    """The position up to which a sequence of buffers is filled; `filled` counts bytes."""

    def __init__(self, views: Iterable[memoryview]) -> None:
        self._rest = [view for view in views if len(view)]
        self._rest.reverse()
        self.filled = 0

    def next_view(self) -> memoryview | None:
        """Return the next unfilled buffer, or None when all are full."""
        return self._rest[-1] if self._rest else None

    def advance(self, count: int) -> None:
        """Mark the first `count` bytes of the next buffer as filled."""
        if not count:
            return
        view = self._rest.pop()
        if count < len(view):
            self._rest.append(view[count:])
        self.filled += count

    def write(self, data: bytes | memoryview) -> None:
        """Copy `data` into the next buffers. Raises ValueError if there is no room."""
        while len(data):
            if (view := self.next_view()) is None:
                raise ValueError(f"{len(data)} bytes do not fit into the buffers")
            count = min(len(view), len(data))
            view[:count] = data[:count]
            self.advance(count)
            data = data[count:]


def read_body(
    response: http.client.HTTPResponse, connection: socket.socket, cursor: ViewCursor, check: Callable[[], None]
) -> None:
    """Fill the cursor's buffers with the whole body, whose Content-Length must equal the space left.

    Receives from the socket into the destination: `HTTPResponse.readinto` passes three Python layers per TLS record of
    16 KiB, which together cost as much as the decryption. `check` is called before every read and may raise. Raises
    TransientError when the body ends early.
    """
    left = response.length
    if left is None:  # chunked: rare, left to http.client
        _fill(cursor, lambda view, _: response.readinto(view), check)
    elif left:
        cursor.write(response.fp.read(len(response.fp.peek()[:left])))  # what the response has buffered already
        _fill(cursor, connection.recv_into, check)
        response.length = 0
    response.read(1)  # reach the end of the body, so that the connection can be reused


def _fill(cursor: ViewCursor, receive: Callable[[memoryview, int], int], check: Callable[[], None]) -> None:
    while (view := cursor.next_view()) is not None:
        rest, left = view, len(view)
        while left:
            check()  # before every read: a buffer can be a whole part long
            count = receive(rest, left)
            if not count:
                cursor.advance(len(view) - left)
                raise TransientError("the source closed the connection early")
            left -= count
            rest = rest[count:]
        cursor.advance(len(view))


def read_limited(response: http.client.HTTPResponse, limit: int) -> bytes:
    """Return a body of at most `limit` bytes, or `limit + 1` bytes of a longer one.

    Raises TransientError when it ends early, which http.client does not report for reads with a limit.
    """
    data = response.read(limit + 1)
    if response.length and len(data) <= limit:
        raise TransientError(f"a response ended {response.length} bytes early")
    return data
