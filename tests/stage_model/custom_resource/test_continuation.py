"""A run stops working in time to continue in a new invocation, whatever blocks it."""

import socket
import threading
from collections.abc import Iterator

import pytest

from stage_model import handler, s3
from stage_model.custom_resource.run_record import LEASE_S
from stage_model.errors import OutOfTimeError
from stage_model.http import Connections
from stage_model.retry import RetryBudget
from stage_model.source.hub import Location, RemoteFile
from tests.stage_model.fakes.clock import WaitingClock

SIZE = 1 << 20  # bytes


def test_two_requests_that_time_out_fit_into_the_reserve_for_continuing() -> None:
    longest_s = max(float(s3.CONNECT_TIMEOUT_S + s3.READ_TIMEOUT_S), Connections().timeout_s)
    assert 2 * longest_s + handler.EXIT_RESERVE_S <= handler.CONTINUATION_RESERVE_S
    assert longest_s < LEASE_S / 2  # what a deletion relies on


@pytest.fixture
def clock() -> WaitingClock:
    """A clock that only the slow source advances."""
    return WaitingClock()


@pytest.fixture
def slow_source(clock: WaitingClock) -> Iterator[str]:
    """The URL of a file of which each sixteenth takes a second to arrive."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = server.accept()
        with connection:
            request = b""
            while b"\r\n\r\n" not in request:
                request += connection.recv(65536)
            length = f"Content-Length: {SIZE}\r\nContent-Range: bytes 0-{SIZE - 1}/{SIZE}"
            connection.sendall(f'HTTP/1.1 206 Partial Content\r\n{length}\r\nETag: "a"\r\n\r\n'.encode())
            try:
                for _ in range(16):
                    clock.time += 1.0
                    connection.sendall(bytes(SIZE // 16))
            except OSError:  # the reader disconnected, as expected
                return

    thread = threading.Thread(target=serve)
    thread.start()
    yield f"http://127.0.0.1:{server.getsockname()[1]}/file"
    thread.join(20)
    server.close()


def test_a_deadline_in_the_middle_of_a_range_stops_the_read(clock: WaitingClock, slow_source: str) -> None:
    connections = Connections()
    file = RemoteFile("file", SIZE, connections, RetryBudget(clock, 8.0), lambda: Location(slow_source, signed=True))
    with pytest.raises(OutOfTimeError):
        file.read_into(0, [memoryview(bytearray(SIZE))])
    connections.close()
