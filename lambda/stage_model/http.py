"""HTTP/1.1 over persistent connections, using the standard library only.

boto3's `upload_part` and a general-purpose HTTP client cost a third of the throughput and over 100 MiB of memory.
"""

import functools
import http.client
import math
import os
import re
import ssl
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import SplitResult, urljoin, urlsplit

from stage_model.bounded_socket import BoundedSocket, BoundedTLSSocket, Limits, connect, start_tls
from stage_model.errors import StagingError, TransientError
from stage_model.retry import RetryBudget

EXCHANGE_S = 60.0  # an exchange without a large body; a body as large as the reader asked for may take longer
_MAX_OVERHEAD = 256 << 10  # bytes received around a body: interim responses, headers and trailers; or a body to discard
_DISCARDED = 64 << 10  # bytes of a redirect's or error's body, so that its connection can be reused
_MAX_URL = 8192  # characters
_RETRYABLE_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
_PRINTABLE = re.compile(r"[!-~]+")
_HOST = re.compile(r"(?=.{1,253}$)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?")
_SECONDS = re.compile(r"[0-9]+(\.[0-9]*)?")


@functools.cache
def tls_context() -> ssl.SSLContext:
    """Return the default TLS settings (`SSL_CERT_FILE` included), trusting `AWS_CA_BUNDLE` as the AWS SDK does.

    One for all invocations of a container: to parse the system's certificates takes 20 ms.
    """
    context = ssl.create_default_context()
    bundle = os.environ.get("AWS_CA_BUNDLE")
    if bundle:
        context.load_verify_locations(bundle)
    return context


def split_url(url: str) -> SplitResult:
    """Return the parts of an https URL, or of an http URL to loopback. Raises StagingError for any other.

    Other characters than printable ASCII must be percent-encoded; a URL must not hold a user name.
    """
    with _checked_url(url):
        parts = urlsplit(url)
        _ = parts.port  # validated on access only
    host = parts.hostname
    if not host or not (parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(host))):
        raise StagingError(f"addresses must be https (or http to loopback), got {parts.scheme}://{host}")
    if "@" in parts.netloc:
        raise StagingError(f"addresses must not hold a user name or password, got one for {host}")
    if not _HOST.fullmatch(host) and not (_is_address(host) and "%" not in host):
        raise StagingError(f"the host of an address must be a name or an IP address, got {host[:260]!r}")
    return parts


def join_url(base: str, target: str) -> str:
    """Return the URL to which `target`, the Location of a redirect, leads from `base`. Raises StagingError."""
    with _checked_url(target):  # before urljoin, which drops tabs and line breaks
        return urljoin(base, target)


@contextmanager
def _checked_url(url: str) -> Generator[None]:
    shown = ascii(url.partition("?")[0][:200])  # a query may hold a signature
    if len(url) > _MAX_URL:
        raise StagingError(f"addresses must have at most {_MAX_URL} characters, got {len(url)}: {shown}")
    if not _PRINTABLE.fullmatch(url):
        raise StagingError(f"addresses must be printable ASCII, got {shown}")
    try:
        yield
    except ValueError as error:
        raise StagingError(f"addresses must be well-formed, got {shown}: {error}") from error


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


@dataclass(frozen=True)
class Request:
    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | memoryview | None = None


@dataclass(frozen=True)
class Exchange:
    """A response whose body is still to be read, its socket, and the limits of both."""

    response: http.client.HTTPResponse
    socket: BoundedSocket
    limits: Limits

    def read(self, count: int = _DISCARDED) -> bytes:
        """Return at most so many bytes of the body: all that matter of a redirect's or an error's."""
        with _checked_chunks():
            return self.response.read(count)


@contextmanager
def _checked_chunks() -> Generator[None]:
    """Translate what http.client raises for the length of a chunk that is negative or huge."""
    try:
        yield
    except (ValueError, OverflowError) as error:
        raise http.client.HTTPException(f"malformed chunk: {error}") from error


class _Connection(http.client.HTTPConnection):
    """A connection over a BoundedSocket, with TLS if there is a context; `limits` are those of the exchange."""

    limits: Limits
    sock: BoundedSocket | None

    def __init__(self, parts: SplitResult, context: ssl.SSLContext | None) -> None:
        self._context, self._server = context, parts.hostname or ""
        if context is not None:
            self.default_port = http.client.HTTPS_PORT
        super().__init__(self._server, parts.port)

    def connect(self) -> None:
        sock = connect(self._server, self.port, self.limits)
        self.sock = sock if self._context is None else start_tls(sock, self._context, self._server)

    def use(self, limits: Limits) -> None:
        """Set the limits of the next exchange."""
        self.limits = limits
        if self.sock is not None:
            self.sock.limits = limits


class Connections:
    """A pool of connections by scheme, host and port: at most as many as there were concurrent exchanges.

    `timeout_s` bounds each wait for a socket; the time reserved at the end of an invocation allows for it.
    """

    def __init__(self, timeout_s: float = 10.0, context: ssl.SSLContext | None = None) -> None:
        self.timeout_s = timeout_s
        self._context = context or tls_context()
        self._context.sslsocket_class = BoundedTLSSocket
        # Shared by threads: list.append and list.pop are atomic under the interpreter lock.
        self._idle: defaultdict[str, list[_Connection]] = defaultdict(list)

    @contextmanager
    def exchange(self, request: Request, budget: RetryBudget) -> Generator[Exchange]:
        """Send a request and yield its response, to be read inside the block.

        Every wait ends at the budget's deadline, and all of them after a minute, `read_body` excepted. Raises
        TransientError when the connection fails, OutOfTimeError at the deadline, and StagingError for a URL that is not
        allowed or a response with too much around its body, also while the block reads.
        """
        parts = split_url(request.url)
        key = f"{parts.scheme}://{parts.netloc}"
        limits = Limits(budget, self.timeout_s, EXCHANGE_S, _MAX_OVERHEAD)
        try:
            connection = self._idle[key].pop()
        except IndexError:
            connection = _Connection(parts, self._context if parts.scheme == "https" else None)
        connection.use(limits)
        keep = False
        try:
            target = parts.path + (f"?{parts.query}" if parts.query else "")
            connection.request(request.method, target or "/", body=request.body, headers=dict(request.headers))
            sock = connection.sock  # getresponse() drops it when the server closes; it stays readable
            assert sock is not None
            with closing(connection.getresponse()) as response:
                yield Exchange(response, sock, limits)
                keep = response.isclosed()  # read to its end: the connection can be reused
        except (OSError, http.client.HTTPException) as error:
            self._close(key)  # idle connections to a host that dropped one are probably dead too
            cause = limits.timeout(error) if isinstance(error, TimeoutError) else error
            text = str(cause).encode("unicode_escape").decode()[:200]  # it may quote what the server sent
            what = f"{type(cause).__name__}: {text}" if text else type(cause).__name__
            raise TransientError(f"connection to {parts.hostname} failed: {what}") from error
        finally:
            if keep:
                self._idle[key].append(connection)
            else:
                connection.close()

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
    return min(float(text), 3600.0) if _SECONDS.fullmatch(text) else None


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


def read_body(exchange: Exchange, cursor: ViewCursor, count: int) -> None:
    """Fill the cursor's buffers, which have room for `count` bytes, with the whole body of that Content-Length.

    Receives from the socket into the destination: `HTTPResponse.readinto` passes three Python layers per TLS record of
    16 KiB, which together cost as much as the decryption. Takes any time that the budget has. Raises TransientError
    when the body ends early.
    """
    response, limits = exchange.response, exchange.limits
    left = response.length
    limits.allow_time(math.inf)
    limits.allow_bytes(2 * count)  # chunks of a few bytes are mostly framing, and refused
    if left is None:  # chunked: rare, left to http.client
        with _checked_chunks():
            _fill(cursor, lambda view, _: response.readinto(view))
    elif left:
        cursor.write(response.fp.read(len(response.fp.peek()[:left])))  # what the response has buffered already
        _fill(cursor, exchange.socket.recv_into)
        response.length = 0
    limits.allow_time(EXCHANGE_S)
    exchange.read(1)  # reach the end of the body, so that the connection can be reused


def _fill(cursor: ViewCursor, receive: Callable[[memoryview, int], int]) -> None:
    while (view := cursor.next_view()) is not None:
        rest, left = view, len(view)
        while left:
            count = receive(rest, left)
            if not count:
                cursor.advance(len(view) - left)
                raise TransientError("the source closed the connection early")
            left -= count
            rest = rest[count:]
        cursor.advance(len(view))


def read_limited(exchange: Exchange, limit: int) -> bytes:
    """Return a body of at most `limit` bytes, or `limit + 1` bytes of a longer one.

    Raises TransientError when it ends early, which http.client does not report for reads with a limit.
    """
    exchange.limits.allow_bytes(2 * limit)
    data = exchange.read(limit + 1)
    if exchange.response.length and len(data) <= limit:
        raise TransientError(f"a response ended {exchange.response.length} bytes early")
    return data
