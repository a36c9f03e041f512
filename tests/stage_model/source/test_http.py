"""Connections are pooled and shared; retryable errors are distinguished from final ones."""

import math
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import cast

import pytest
from botocore.exceptions import ClientError

from stage_model.errors import StagingError, TransientError
from stage_model.http import Connections, Request
from stage_model.retry import RetryBudget, SystemClock
from stage_model.s3 import translated_errors

BUDGET = RetryBudget(SystemClock(), math.inf)


class Server(ThreadingHTTPServer):
    """Answers every request and counts connections; with `closing` it closes each one after its reply."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.accepted = 0
        self.closing = False
        self.url = f"http://127.0.0.1:{self.server_port}/"

    def verify_request(self, request: object, client_address: object) -> bool:
        self.accepted += 1
        return True


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        # Read before the reply, since the test changes it afterwards. There is no Connection header: the next request
        # detects the closed connection.
        self.close_connection = cast(Server, self.server).closing
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test's output quiet."""


@pytest.fixture
def server() -> Iterator[Server]:
    """A server on loopback."""
    with Server() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def connections() -> Iterator[Connections]:
    """A connection pool, closed at the end."""
    with closing(Connections()) as pool:
        yield pool


def get(connections: Connections, server: Server) -> bytes:
    with connections.exchange(Request("GET", server.url, {}), BUDGET) as exchange:
        return exchange.read()


def test_consecutive_threads_share_a_connection(server: Server, connections: Connections) -> None:
    for _ in range(10):
        thread = threading.Thread(target=get, args=(connections, server))
        thread.start()
        thread.join()
    assert server.accepted == 1


def test_a_failed_connection_closes_the_idle_ones_to_its_host(server: Server, connections: Connections) -> None:
    def get_two() -> None:
        with connections.exchange(Request("GET", server.url, {}), BUDGET) as exchange:
            get(connections, server)
            exchange.read()

    server.closing = True
    get_two()
    assert server.accepted == 2
    server.closing = False
    with pytest.raises(TransientError, match=r"connection to 127\.0\.0\.1 failed"):
        get(connections, server)
    assert get(connections, server) == b"ok"


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("SlowDown", 503, TransientError),
        ("ThrottlingException", 400, TransientError),
        ("TooManyRequestsException", 429, TransientError),
        ("AccessDenied", 403, StagingError),
    ],
)
def test_only_transient_errors_are_retryable(code: str, status: int, kind: type[Exception]) -> None:
    reply = {"Error": {"Code": code, "Message": ""}, "ResponseMetadata": {"HTTPStatusCode": status}}
    with pytest.raises(kind, match=code), translated_errors("writing"):
        raise ClientError(reply, "PutObject")  # pyright: ignore[reportArgumentType] - the stub asks for its own TypedDict
