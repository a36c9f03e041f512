"""Sockets whose every wait ends in time, and that receive a limited number of bytes.

An ordinary timeout starts again with each byte, so a peer that sends one per second outlives any deadline. Here each
connect, handshake, send and receive waits at most for what is left of the exchange. This holds for http.client's status
lines, headers, chunks and trailers too.
"""

import socket
import ssl
import threading
from concurrent.futures import Future
from typing import Any

from stage_model.errors import StagingError
from stage_model.retry import RetryBudget


class Limits:
    """What one exchange may take: `wait_s` seconds per wait, `total_s` in total, and `max_bytes` received bytes."""

    def __init__(self, budget: RetryBudget, wait_s: float, total_s: float, max_bytes: int) -> None:
        self._budget, self._wait_s = budget, wait_s
        self._bytes = max_bytes
        self.allow_time(total_s)

    def allow_time(self, seconds: float) -> None:
        """Allow so many seconds from now on; `math.inf` leaves the budget's deadline."""
        self._total_s = seconds
        self._over = self._budget.clock.now() + seconds
        self._end = min(self._over, self._budget.deadline)

    def allow_bytes(self, count: int) -> None:
        """Allow so many bytes in addition."""
        self._bytes += count

    def next_wait_s(self) -> float:
        """Return how long the next wait may take. Raises OutOfTimeError at the deadline, else TimeoutError."""
        left_s = self._end - self._budget.clock.now()
        if left_s <= 0:
            raise self.timeout(TimeoutError())
        return min(self._wait_s, left_s)

    def timeout(self, error: TimeoutError) -> TimeoutError:
        """Return the error to report for a wait that timed out. Raises OutOfTimeError at the deadline."""
        self._budget.check_deadline()
        if self._budget.clock.now() < self._over - 0.01:  # one wait only; clocks differ by less
            return error
        return TimeoutError(f"no complete reply within {self._total_s:.3g} s")

    def received(self, count: int) -> None:
        """Count received bytes. Raises StagingError for more than are allowed."""
        self._bytes -= count
        if self._bytes < 0:
            raise StagingError("a server must not send more than its reply, got endless headers, chunks or trailers")


class BoundedSocket(socket.socket):
    """A socket whose waits keep to `limits`, which the owner sets for each exchange."""

    limits: Limits

    def _limit_wait(self) -> None:
        wait_s = self.limits.next_wait_s()
        if wait_s != self.gettimeout():  # a system call, so only where it changes: near the end
            self.settimeout(wait_s)

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        self._limit_wait()
        count = super().recv_into(buffer, nbytes or len(buffer), flags)
        self.limits.received(count)
        return count

    def send(self, data: Any, flags: int = 0) -> int:
        self._limit_wait()
        return super().send(data, flags)

    def sendall(self, data: Any, flags: int = 0) -> None:
        self._limit_wait()
        super().sendall(data, flags)  # one wait in all for plain sockets; TLS calls `send` for each record

    def connect(self, address: Any) -> None:
        self._limit_wait()
        super().connect(address)


class BoundedTLSSocket(BoundedSocket, ssl.SSLSocket):  # pyright: ignore[reportIncompatibleMethodOverride] - stubs differ in defaults
    """The same over TLS: the class for `SSLContext.sslsocket_class`. A handshake is one wait, as long as the last."""


def connect(host: str, port: int, limits: Limits) -> BoundedSocket:
    """Return a connection to the first of a host's addresses that accepts one. Raises OSError or OutOfTimeError."""
    failure: OSError = socket.gaierror(f"{host} has no address")
    for family, kind, protocol, _, address in _resolve(host, port, limits):
        sock = BoundedSocket(family, kind, protocol)
        sock.limits = limits
        try:
            sock.connect(address)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            sock.close()
            failure = error
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise failure


def start_tls(sock: BoundedSocket, context: ssl.SSLContext, host: str) -> BoundedSocket:
    """Return the TLS connection over `sock`, which it replaces. `context` must make BoundedTLSSockets."""
    limits = sock.limits
    try:
        sock.settimeout(limits.next_wait_s())
        secure = context.wrap_socket(sock, server_hostname=host)
    except BaseException:
        sock.close()
        raise
    assert isinstance(secure, BoundedTLSSocket)
    secure.limits = limits
    return secure


def _resolve(host: str, port: int, limits: Limits) -> list[Any]:
    """Return a host's addresses. The resolver has no timeout of its own: a slow one is left behind on its thread."""
    found: Future[list[Any]] = Future()

    def resolve() -> None:
        try:
            found.set_result(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except Exception as error:
            found.set_exception(error)

    threading.Thread(target=resolve, name="resolve", daemon=True).start()
    try:
        return found.result(limits.next_wait_s())
    except TimeoutError as error:
        raise TimeoutError("name resolution timed out") from error
