"""HTTP/1.1 over connections that are kept open (standard library only).

boto3's `upload_part` and a general HTTP client cost a third of the staging's speed and over 100 MiB of memory.
"""

import http.client
import os
import socket
import ssl
from collections import defaultdict
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from stage_model.errors import StagingError, TransientError

Connection = http.client.HTTPConnection
_BUSY_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})


def tls_context() -> ssl.SSLContext:
    """Return the default TLS settings (`SSL_CERT_FILE` is honoured), trusting `AWS_CA_BUNDLE` as the AWS SDK does."""
    context = ssl.create_default_context()
    bundle = os.environ.get("AWS_CA_BUNDLE")
    if bundle:
        context.load_verify_locations(bundle)
    return context


def split_url(url: str) -> SplitResult:
    """Take a URL apart; only https is allowed, and http to the machine itself.

    Raises StagingError for any other URL.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port  # checked only when asked for
    except ValueError as error:
        raise StagingError(f"addresses must be well-formed, got {url[:200]!r}: {error}") from error
    if parts.scheme == "https" and parts.hostname:
        return parts
    if parts.scheme == "http" and parts.hostname and _is_loopback(parts.hostname):
        return parts
    raise StagingError(f"addresses must be https (or http to loopback), got {parts.scheme}://{parts.hostname}")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@dataclass(frozen=True)
class Request:
    """One HTTP request."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | memoryview | None = None


@dataclass(frozen=True)
class Exchange:
    """A response under way, and the socket that it comes from."""

    response: http.client.HTTPResponse
    socket: socket.socket


class Connections:
    """Open connections by scheme, host and port: at most as many as there were exchanges at a time.

    `timeout_s` bounds each wait for the other side. A run can only hand over when its last one has ended.
    """

    def __init__(self, timeout_s: float = 10.0, context: ssl.SSLContext | None = None) -> None:
        self.timeout_s = timeout_s
        self._context = context or tls_context()
        # Several threads append and pop, which are atomic under the interpreter lock.
        self._idle: defaultdict[str, list[Connection]] = defaultdict(list)

    @contextmanager
    def exchange(self, request: Request) -> Generator[Exchange]:
        """Send a request and yield the response and its socket, to be read inside the block.

        Raises TransientError when the connection fails, inside the block too.
        """
        parts = split_url(request.url)
        key = f"{parts.scheme}://{parts.netloc}"
        connection = self._take(key, parts)
        keep = False
        try:
            target = parts.path + (f"?{parts.query}" if parts.query else "")
            connection.request(request.method, target or "/", body=request.body, headers=dict(request.headers))
            sock = connection.sock  # before an answer that closes the connection takes it away; it can be read on
            response = connection.getresponse()
            yield Exchange(response, sock)
            keep = response.isclosed()  # read to its end: the connection can carry the next request
        except (OSError, http.client.HTTPException) as error:
            self._close(key)  # where one has failed, those that wait are likely gone too
            raise TransientError(f"connection to {parts.hostname} failed: {_describe(error)}") from error
        finally:
            if keep:
                self._idle[key].append(connection)
            else:
                connection.close()

    def _take(self, key: str, parts: SplitResult) -> Connection:
        try:
            return self._idle[key].pop()
        except IndexError:
            return self._connection(parts)

    def _connection(self, parts: SplitResult) -> Connection:
        host = parts.hostname or ""
        if parts.scheme == "https":
            return http.client.HTTPSConnection(host, parts.port, timeout=self.timeout_s, context=self._context)
        return http.client.HTTPConnection(host, parts.port, timeout=self.timeout_s)

    def _close(self, key: str) -> None:
        for connection in self._idle.pop(key, []):
            connection.close()

    def close(self) -> None:
        """Close every connection. No exchange may be under way."""
        for key in list(self._idle):
            self._close(key)


def raise_if_busy(response: http.client.HTTPResponse, what: str) -> None:
    """Raise TransientError for statuses that ask for another attempt, with the wait that the server asks for.

    `Retry-After` may hold seconds; the Hub also sends `RateLimit: "api";r=0;t=55`, `t` seconds until the next window.
    """
    if response.status in _BUSY_STATUSES:
        wait_s = _seconds(response.headers.get("Retry-After")) or _reset_seconds(response.headers.get("RateLimit"))
        raise TransientError(f"{what} answered {response.status}", wait_s)


def _seconds(value: str | None) -> float | None:
    text = (value or "").strip()
    return min(float(text), 3600.0) if text.replace(".", "", 1).isdigit() else None


def _reset_seconds(value: str | None) -> float | None:
    fields = (field.strip() for field in (value or "").split(";"))
    return next((_seconds(field[2:]) for field in fields if field.startswith("t=")), None)


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
