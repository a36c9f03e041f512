"""The container's HTTP server: `GET /ping` and `POST /invocations`, a thread for each connection.

multi-model-server's own path to the worker runs one request at a time and loses its worker to a response above 6.5 MB;
so the worker serves the container's port itself, and multi-model-server only starts and restarts it.
"""

import select
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import cast

from musicgen_serving.http_body import RequestBody
from musicgen_serving.invocation import Answer, Invocations
from musicgen_serving.json_log import JsonLog
from musicgen_serving.response import JSON

DISCARD_SECONDS = 2.0  # without a byte, after a refusal that did not wait for the body
TRANSFER_TIMEOUT_SECONDS = 60.0  # for a body or an answer to make progress; between requests a connection may rest
NOT_FOUND = Answer(404, JSON, b'{"error": "path must be /ping or /invocations"}')


class ContainerServer(ThreadingTCPServer):
    """Serves invocations on a port, from `start` on."""

    allow_reuse_address = True
    daemon_threads = True  # multi-model-server ends a worker by returning from its main thread
    request_queue_size = 128

    def __init__(self, host: str, port: int, invocations: Invocations, max_payload_bytes: int, log: JsonLog) -> None:
        self.invocations = invocations
        self.max_payload_bytes = max_payload_bytes
        self.log = log
        super().__init__((host, port), _Connection)

    def start(self) -> None:
        """Accept connections in a thread of its own."""
        threading.Thread(target=self.serve_forever, args=(0.1,), name="http", daemon=True).start()

    def handle_error(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        """Log what ended a connection: a client gone, or a fault of ours."""
        del request
        error = sys.exception() if sys.version_info >= (3, 11) else sys.exc_info()[1]
        if isinstance(error, ConnectionError | TimeoutError):
            self.log.write("client_gone", client=str(client_address), error=repr(error))
        elif error is not None:
            self.log.exception("connection_fault", error)


class _Connection(BaseHTTPRequestHandler):
    """One client's connection, request after request."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two writes
    server_version = "musicgen"
    sys_version = ""

    def do_GET(self) -> None:  # http.server's name
        """Say whether the model serves: SageMaker sends requests once `/ping` answers 200."""
        if self.path != "/ping":
            return self._send(NOT_FOUND)
        ready = self._server.invocations.ready
        return self._send(Answer(200 if ready else 503, JSON, b"{}"))

    def do_POST(self) -> None:  # http.server's name
        """Answer one invocation."""
        body = RequestBody(self.rfile, self.headers, self._server.max_payload_bytes)
        self.connection.settimeout(TRANSFER_TIMEOUT_SECONDS)
        if self.path == "/invocations":
            answer = self._server.invocations.answer(self.headers, body.read, self._client_gone)
        else:
            answer = NOT_FOUND
        self.close_connection = self.close_connection or not body.drained
        self._send(answer)
        if not body.drained:
            self._discard_rest()
        self.connection.settimeout(None)

    def _discard_rest(self) -> None:
        """Take what the client still sends: closing on it would reset the connection, and with it the answer."""
        self.connection.shutdown(socket.SHUT_WR)
        self.connection.settimeout(DISCARD_SECONDS)
        left = self._server.max_payload_bytes
        while left > 0 and (data := self.connection.recv(65536)):
            left -= len(data)

    def _client_gone(self) -> bool:
        """Whether the client has closed its side; asked now and then while its clips are made."""
        poller = select.poll()
        poller.register(self.connection, select.POLLIN)
        try:
            return bool(poller.poll(0)) and self.connection.recv(1, socket.MSG_PEEK) == b""
        except OSError:
            return True

    @property
    def _server(self) -> ContainerServer:
        return cast("ContainerServer", self.server)

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        if answer.retry_after_seconds is not None:
            self.send_header("Retry-After", str(answer.retry_after_seconds))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, format: str, *args: object) -> None:  # http.server's name
        """Nothing: every invocation has its own line, and a line for each ping would bury them."""
