"""Serve one connection: read requests within limits of time and size, and answer `/ping` and `/invocations`."""

import asyncio
import re
import select
import socket
import time
from collections.abc import Generator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from email.utils import formatdate

import h11

from musicgen_serving.http.errors import (
    MethodNotAllowedError,
    NotFoundError,
    RequestError,
    RequestTimeoutError,
    ServiceUnavailableError,
)
from musicgen_serving.http.invocation import Invocations
from musicgen_serving.http.protocol import HttpProtocol
from musicgen_serving.http.request import MAX_JSON_BYTES
from musicgen_serving.http.response import Response
from musicgen_serving.json_log import JsonLog

READ_BYTES = 16 * 1024
ROUTES = {"/ping": "GET", "/invocations": "POST"}


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds on what a client may cost. Times are totals: a byte now and then does not extend them."""

    idle_seconds: float = 300.0  # for the first byte of a request; longer than proxies keep idle connections
    head_seconds: float = 15.0
    body_seconds: float = 60.0
    response_seconds: float = 60.0  # for the client to take the response
    linger_seconds: float = 2.0  # for a refused client to stop sending
    body_bytes: int = MAX_JSON_BYTES
    all_bodies_bytes: int = 16 * MAX_JSON_BYTES  # of all connections together
    connections: int = 256


class BodyBudget:
    """The memory that request bodies of all connections may take; only the event loop's thread uses it."""

    def __init__(self, total: int) -> None:
        self._total = total
        self.held = 0

    def take(self, count: int) -> None:
        """Count bytes of a body; ServiceUnavailableError if there are too many."""
        if self.held + count > self._total:
            raise ServiceUnavailableError(f"bodies of all requests must be at most {self._total} bytes; retry")
        self.held += count

    def give_back(self, count: int) -> None:
        self.held -= count


class Connection:
    """A client's connection, which may carry several requests."""

    def __init__(
        self, client: socket.socket, invocations: Invocations, workers: Executor, limits: Limits, bodies: BodyBudget,
        log: JsonLog,
    ) -> None:  # fmt: skip
        self._socket = client
        self._invocations = invocations
        self._workers = workers
        self._limits = limits
        self._bodies = bodies
        self._body_bytes = 0  # of the request, as counted there
        self._log = log
        self._http = HttpProtocol(limits.body_bytes)
        self._loop = asyncio.get_running_loop()
        self.waiting_since: float | None = time.monotonic()  # for the client; None while its request is answered

    async def serve(self) -> None:
        """Answer requests until the client or a limit ends the connection; never raises but when cancelled."""
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # head and body are two writes
            while await self._exchange():
                await asyncio.sleep(0)  # a client that pipelines without end must not keep others waiting
            await self._linger()
        except OSError as error:  # among them a response that was not taken in time
            self._log.write("client_gone", error=repr(error))
        except Exception as error:
            self._log.exception("connection_fault", error)
        finally:
            self._socket.close()

    async def _exchange(self) -> bool:
        """Answer one request; return whether the connection can carry another."""
        close = False
        try:
            if not await self._wait_for_request():
                return False
            try:
                response = await self._answer()
            finally:
                self._bodies.give_back(self._body_bytes)
                self._body_bytes = 0
        except RequestError as refusal:
            # The rest of what was sent cannot be told from a new request.
            close = True
            response = Response.refusal(refusal)
            self._log.write("refused", status=response.status, error=str(refusal))
        async with asyncio.timeout(self._limits.response_seconds):
            for part in self._http.response_bytes(response, formatdate(usegmt=True), close=close):
                await self._loop.sock_sendall(self._socket, part)
        return self._http.start_next() and not close

    async def _wait_for_request(self) -> bool:
        """Wait for a request's first byte; return False if none came in time or the client closed the connection."""
        try:
            async with asyncio.timeout(self._limits.idle_seconds):
                if self._http.idle:
                    self.waiting_since = time.monotonic()
                    return await self._receive()
        except TimeoutError:
            return False
        return True

    async def _answer(self) -> Response:
        """Read one request and return its response; RequestError if it is refused before it reaches the hooks."""
        try:
            async with asyncio.timeout(self._limits.head_seconds):
                request = await self._next_event()
        except TimeoutError as error:
            raise RequestTimeoutError(f"headers must arrive within {self._limits.head_seconds:g} s") from error
        assert isinstance(request, h11.Request)
        path = check_route(request)
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                body = await self._read_body()
        except TimeoutError as error:
            raise RequestTimeoutError(f"body must arrive within {self._limits.body_seconds:g} s") from error
        if path == "/ping":
            return Response.json(200 if self._invocations.ready else 503, {})
        with self._busy():
            headers = combined_headers(request)
            return await self._loop.run_in_executor(
                self._workers, self._invocations.answer, headers, lambda: body, self._client_gone
            )

    async def _read_body(self) -> bytes:
        if self._http.awaits_continue:
            await self._loop.sock_sendall(self._socket, self._http.continue_bytes())
        body = bytearray()
        while isinstance(event := await self._next_event(), h11.Data):
            self._bodies.take(len(event.data))
            self._body_bytes += len(event.data)
            body += event.data
        return bytes(body)

    async def _next_event(self) -> object:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            await self._receive()
        return event

    async def _receive(self) -> bool:
        """Pass what the client sent to the parser; return False at the end of its side."""
        await asyncio.sleep(0)  # sock_recv does not yield while data is there, and timeouts need the loop
        data = await self._loop.sock_recv(self._socket, READ_BYTES)
        self._http.receive(data)
        return bool(data)

    @contextmanager
    def _busy(self) -> Generator[None]:
        """Mark the connection as not waiting for its client, so that it is not shed."""
        self.waiting_since = None
        try:
            yield
        finally:
            self.waiting_since = time.monotonic()

    async def _linger(self) -> None:
        """Read what the client still sends; closing early would reset the connection and lose the response."""
        self._socket.shutdown(socket.SHUT_WR)
        try:
            async with asyncio.timeout(self._limits.linger_seconds):
                while await self._loop.sock_recv(self._socket, READ_BYTES):
                    await asyncio.sleep(0)
        except TimeoutError:
            return  # it has had time to read the response

    def _client_gone(self) -> bool:
        """Return whether the client has closed its side; polled by the engine while it generates the clips."""
        poller = select.poll()
        try:
            poller.register(self._socket, select.POLLIN)
            return bool(poller.poll(0)) and self._socket.recv(1, socket.MSG_PEEK) == b""
        except (OSError, ValueError):  # closed
            return True


def check_route(request: h11.Request) -> str:
    """Return the request's path; NotFoundError or MethodNotAllowedError if it is not one of `ROUTES`."""
    path = re.sub(r"^(?i:https?)://[^/?#]*", "", request.target.decode("ascii"))  # RFC 9112, section 3.2.2
    if path not in ROUTES:
        raise NotFoundError("path must be /ping or /invocations")
    if request.method.decode("ascii") != ROUTES[path]:
        raise MethodNotAllowedError(path, ROUTES[path])
    return path


def combined_headers(request: h11.Request) -> Message:
    """Return the headers, those of one name joined by commas (RFC 9110, section 5.3)."""
    values: dict[bytes, list[bytes]] = {}
    for name, value in request.headers:
        values.setdefault(name, []).append(value)
    message = Message()
    for name, parts in values.items():
        message[name.decode("ascii")] = b", ".join(parts).decode("latin-1")
    return message
