"""An S3 that takes a part, or answers it, one byte at a time: the upload ends with the invocation, also over TLS."""

import itertools
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

import stage_model.http
from local_aws.emulator.certificates import make_certificates
from stage_model.errors import OutOfTimeError, TransientError
from stage_model.http import Connections, tls_context
from stage_model.retry import RetryBudget, SystemClock, retry
from stage_model.s3 import S3Store, Upload, s3_client
from stage_model.upload.hashing import crc32

PART = memoryview(bytes(8 << 20))  # more than the buffers of a connection hold
PAUSE_S = 0.1  # between two bytes: less than any timeout of a single wait
REPLY = b'HTTP/1.1 200 OK\r\nETag: "a"\r\n' + b"X: y\r\n" * 90 + b"Content-Length: 0\r\n\r\n"


def take_slowly(connection: socket.socket) -> None:
    """Receive a request one byte at a time."""
    while connection.recv(1):
        time.sleep(PAUSE_S)


def answer_slowly(connection: socket.socket) -> None:
    """Receive a whole request, and answer it one byte at a time."""
    left = len(PART)
    while left > 0:
        left -= len(connection.recv(1 << 16))
    for byte in REPLY:
        connection.sendall(bytes([byte]))
        time.sleep(PAUSE_S)


def trickle_interim_replies(connection: socket.socket) -> None:
    """Answer with `100 Continue` without end, one byte at a time, and receive nothing."""
    for byte in itertools.cycle(b"HTTP/1.1 100 Continue\r\n\r\n"):
        connection.sendall(bytes([byte]))
        time.sleep(PAUSE_S)


SLOW = (take_slowly, answer_slowly, trickle_interim_replies)


class SlowS3:
    """A server that treats each connection in one way."""

    def __init__(self, treat: Callable[[socket.socket], None], tls: ssl.SSLContext | None) -> None:
        self._treat, self._tls = treat, tls
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen()
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                threading.Thread(target=self._serve, args=(self._listener.accept()[0],), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError):  # the client gave up
            served = self._tls.wrap_socket(connection, server_side=True) if self._tls else connection
            with served:
                self._treat(served)

    def close(self) -> None:
        self._listener.close()


@pytest.fixture(params=["plain", "tls"])
def slow_s3(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., SlowS3]]:
    """Return a function that starts a slow S3, which the environment then names."""
    certificates, started = make_certificates(tmp_path), list[SlowS3]()

    def start(treat: Callable[[socket.socket], None]) -> SlowS3:
        server = SlowS3(treat, certificates.server_context() if request.param == "tls" else None)
        started.append(server)
        tls_context.cache_clear()
        for name, value in {
            "AWS_ENDPOINT_URL": server.url, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1", "AWS_CA_BUNDLE": str(certificates.authority),
        }.items():  # fmt: skip
            monkeypatch.setenv(name, value)
        return server

    yield start
    for server in started:
        server.close()
    tls_context.cache_clear()


def put_part(deadline_s: float) -> float:
    """Upload a part, retrying as a run does; return how many seconds it took to give up."""
    clock, began = SystemClock(), time.monotonic()
    budget, connections = RetryBudget(clock, clock.now() + deadline_s), Connections(context=tls_context())
    store = S3Store(s3_client(), "artifacts", connections, budget)
    try:
        retry(budget, lambda: store.put_part(Upload("models/a", "u"), 1, PART, crc32([PART])))
    except OutOfTimeError:
        return time.monotonic() - began
    finally:
        connections.close()
    raise AssertionError("the part must not be uploaded")


@pytest.mark.parametrize("treat", SLOW, ids=[treat.__name__ for treat in SLOW])
def test_the_upload_of_a_part_ends_at_the_deadline(
    treat: Callable[[socket.socket], None], slow_s3: Callable[..., SlowS3]
) -> None:
    slow_s3(treat)
    assert 2.0 <= put_part(2.0) + 0.05 < 3.5


def test_a_reply_that_takes_over_a_minute_is_an_error_that_is_retried(
    slow_s3: Callable[..., SlowS3], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage_model.http, "EXCHANGE_S", 1.0)  # scaled down
    slow_s3(answer_slowly)
    clock = SystemClock()
    budget, connections = RetryBudget(clock, clock.now() + 60.0), Connections(context=tls_context())
    store = S3Store(s3_client(), "artifacts", connections, budget)
    with pytest.raises(TransientError, match="no complete reply within 1 s"):
        store.put_part(Upload("models/a", "u"), 1, PART, crc32([PART]))
    connections.close()
