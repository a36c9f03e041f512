"""The container's HTTP server: `GET /ping` and `POST /invocations`, one thread per connection.

multi-model-server runs one request at a time through its worker, and loses the worker to a response above 6.5 MB. So
the worker serves the container's port itself, and multi-model-server only starts and restarts it.
"""

import select
import socket
import sys
import threading
from email.message import Message
from http.server import BaseHTTPRequestHandler
from io import BufferedIOBase
from socketserver import ThreadingTCPServer

from musicgen_serving.http.errors import BodyTooLargeError, MalformedBodyError
from musicgen_serving.http.invocation import Invocations
from musicgen_serving.http.response import Response
from musicgen_serving.json_log import JsonLog

TRANSFER_TIMEOUT_SECONDS = 60.0  # for a body or a response to make progress; an idle connection may stay open
DISCARD_SECONDS = 2.0  # without a byte, when a request was refused before its body was read
MAX_LINE_BYTES = 1024
NOT_FOUND = Response.json(404, {"error": "path must be /ping or /invocations"})


class ContainerServer(ThreadingTCPServer):
    """Serves invocations on a port, once started."""

    allow_reuse_address = True
    daemon_threads = True  # multi-model-server ends a worker by returning from its main thread
    request_queue_size = 128

    def __init__(self, host: str, port: int, invocations: Invocations, max_payload_bytes: int, log: JsonLog) -> None:
        self.invocations = invocations
        self.max_payload_bytes = max_payload_bytes
        self.log = log
        super().__init__((host, port), _Connection)

    def start(self) -> None:
        """Accept connections in a background thread."""
        threading.Thread(target=self.serve_forever, args=(0.1,), name="http", daemon=True).start()

    def handle_error(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        """Log why a connection ended: a client that left, or a fault on our side."""
        del request
        error = sys.exc_info()[1]
        if isinstance(error, ConnectionError | TimeoutError):
            self.log.write("client_gone", client=str(client_address), error=repr(error))
        elif error is not None:
            self.log.exception("connection_fault", error)


class _Connection(BaseHTTPRequestHandler):
    """A client's connection, which may carry several requests."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two writes
    server_version = "musicgen"
    sys_version = ""
    server: ContainerServer  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_GET(self) -> None:  # http.server's name
        """Answer `/ping`: SageMaker sends requests once it returns 200."""
        if self.path != "/ping":
            return self._send(NOT_FOUND)
        return self._send(Response.json(200 if self.server.invocations.ready else 503, {}))

    def do_POST(self) -> None:  # http.server's name
        """Answer one invocation."""
        body = RequestBody(self.rfile, self.headers, self.server.max_payload_bytes)
        self.connection.settimeout(TRANSFER_TIMEOUT_SECONDS)
        response = NOT_FOUND
        if self.path == "/invocations":
            response = self.server.invocations.answer(self.headers, body.read, self._client_gone)
        self.close_connection = self.close_connection or not body.drained
        self._send(response)
        if not body.drained:
            self._discard_rest()
        self.connection.settimeout(None)

    def _discard_rest(self) -> None:
        """Read what the client still sends; closing early would reset the connection and lose the response."""
        self.connection.shutdown(socket.SHUT_WR)
        self.connection.settimeout(DISCARD_SECONDS)
        left = self.server.max_payload_bytes
        while left > 0 and (data := self.connection.recv(65536)):
            left -= len(data)

    def _client_gone(self) -> bool:
        """Return whether the client has closed its side; polled while its clips are generated."""
        poller = select.poll()
        poller.register(self.connection, select.POLLIN)
        try:
            return bool(poller.poll(0)) and self.connection.recv(1, socket.MSG_PEEK) == b""
        except OSError:
            return True

    def _send(self, response: Response) -> None:
        self.send_response(response.status)
        self.send_header("Content-Type", response.content_type)
        self.send_header("Content-Length", str(len(response.body)))
        if response.retry_after_seconds is not None:
            self.send_header("Retry-After", str(response.retry_after_seconds))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(response.body)

    def log_message(self, format: str, *args: object) -> None:  # http.server's name
        """Log nothing: each invocation has its own line, and pings would bury them."""


class RequestBody:
    """A request's body, framed by Content-Length or in chunks; `drained` is set once the stream is past it."""

    def __init__(self, stream: BufferedIOBase, headers: Message, limit: int) -> None:
        self._stream = stream
        self._length = headers.get("Content-Length")
        self._chunked = headers.get("Transfer-Encoding", "").strip().lower() == "chunked"
        self._limit = limit
        self.drained = False

    def read(self) -> bytes:
        """Return the whole body; BodyTooLargeError beyond the limit, MalformedBodyError if it is wrongly framed."""
        if self._chunked:
            body = self._read_chunks()
        else:
            text = (self._length or "").strip()
            if not (text.isascii() and text.isdigit() and len(text) < 20):
                raise MalformedBodyError(f"Content-Length must be a number of bytes, got {self._length!r}")
            body = self._read_exactly(int(text))
        self.drained = True
        return body

    def _read_chunks(self) -> bytes:
        """RFC 9112, section 7.1: chunks of a hexadecimal length, the last of length 0, then trailers."""
        body = bytearray()
        while True:
            digits = self._read_line().split(b";")[0].strip()
            if not digits or digits.strip(b"0123456789abcdefABCDEF"):
                raise MalformedBodyError(f"a chunk's length must be hexadecimal, got {digits[:20]!r}")
            if (size := int(digits, 16)) == 0:
                break
            body += self._read_exactly(size, already_read=len(body))
            self._read_line()
        while self._read_line():
            pass
        return bytes(body)

    def _read_line(self) -> bytes:
        line = self._stream.readline(MAX_LINE_BYTES)
        if not line.endswith(b"\n"):
            got = f"{len(line)} without an end"
            raise MalformedBodyError(f"a chunk's line must end within {MAX_LINE_BYTES} bytes, got {got}")
        return line.strip()

    def _read_exactly(self, size: int, already_read: int = 0) -> bytes:
        if already_read + size > self._limit:
            raise BodyTooLargeError(f"body must be at most {self._limit} bytes, got {already_read + size}")
        data = self._stream.read(size)
        if len(data) != size:
            raise MalformedBodyError(f"body must be {size} bytes, got {len(data)} before the connection ended")
        return data
