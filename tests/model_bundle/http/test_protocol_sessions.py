"""Each session of the table against the real server and the real hooks, and the sentences of the refusals."""

import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from http_fuzz.fake_engine import serve_silence
from http_fuzz.raw_http import PING, RawResponse, ping, read_until_closed, split_responses
from musicgen_serving.http.server import ContainerServer
from tests.model_bundle.helpers.memory_log import MemoryLog
from tests.model_bundle.helpers.protocol_sessions import CHUNKED, CHUNKS, HALF_CLOSE, LIMITS, SESSIONS, get, post

ANSWER_SECONDS = 5.0


@pytest.fixture(scope="module")
def log() -> MemoryLog:
    return MemoryLog()


@pytest.fixture(scope="module")
def server(log: MemoryLog) -> Iterator[ContainerServer]:
    running = serve_silence(log.log, LIMITS)
    yield running
    assert ping(running.port) == 200
    running.stop()


def exchange(port: int, parts: tuple[Any, ...], *, head_last: bool = False) -> tuple[list[RawResponse], bool]:
    """Send the parts; return all responses, and whether the server ended the connection."""
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for part in parts:
            try:
                if part is HALF_CLOSE:
                    client.shutdown(socket.SHUT_WR)
                elif isinstance(part, float):
                    time.sleep(part)
                else:
                    client.sendall(part)
            except ConnectionError:  # the server has ended the connection
                break
        data, closed = read_until_closed(client, ANSWER_SECONDS)
    responses, rest = split_responses(data, head_last=head_last)
    assert rest == b""
    return responses, closed


@pytest.mark.parametrize(("name", "expected", "parts"), SESSIONS, ids=[name for name, _, _ in SESSIONS])
def test_session(server: ContainerServer, log: MemoryLog, name: str, expected: str, parts: tuple[Any, ...]) -> None:
    """A connection that the server keeps must still answer a ping: it has read the requests and no more."""
    *statuses, last = expected.split()
    if last != "close":
        statuses, parts = [*statuses, last, "200"], (*parts, PING)
    responses, closed = exchange(server.port, parts, head_last=name.startswith("HEAD"))
    assert [str(response.status) for response in responses] == statuses
    assert closed
    assert not log.events("connection_fault")
    assert not log.events("fault")


def test_the_table_has_at_least_127_sessions_of_different_names() -> None:
    assert len({name for name, _, _ in SESSIONS}) == len(SESSIONS) >= 127


SENTENCES: list[tuple[bytes, str]] = [
    (get(line=b"GET / HTTP/1.1"), "path must be /ping or /invocations"),
    (get(line=b"PUT /ping HTTP/1.1"), "method must be GET for /ping"),
    (get(line=b"GET /pi\x00ng HTTP/1.1"), "request must be valid HTTP/1.1: illegal request line"),
    (
        get(b"Host: x\r\nA: \x1b[31m\r\n"),
        "headers must be one line each, ended by CR LF and without control characters",
    ),
    (get(b"Host: x\r\nA\x00: b\r\n"), "request must be valid HTTP/1.1: illegal header line"),
    (get(b""), "request must be valid HTTP/1.1: missing mandatory host: header"),
    (get(line=b"GET /ping HTTP/2.0"), "version must be HTTP/1.0 or HTTP/1.1, got 2.0"),
    (get(line=b"GET /" + b"a" * 9000 + b" HTTP/1.1"), "request line must be at most 8192 bytes, got more"),
    (get(b"Host: x\r\nA: " + b"a" * 17_000 + b"\r\n"), "headers must be at most 16384 bytes, got more"),
    (post(b""), "Content-Length must be given, or Transfer-Encoding: chunked"),
    (post(b"Content-Length: 1048577\r\n"), "body must be at most 1048576 bytes of JSON, got 1048577"),
    (post(b"Content-Length: 17\r\n"), "body must arrive within 0.4 s"),
    (b"GET", "headers must arrive within 0.4 s"),
    (post(CHUNKED, b"zz\r\n"), "request must be valid HTTP/1.1: illegal chunk header"),
    (post(CHUNKED, b"10\r\n" + b" " * 20), "request must be valid HTTP/1.1: malformed chunk footer"),
    (
        post(CHUNKED, b"10 " + CHUNKS[2:]),
        "a chunk must start with its length in at most 16 hexadecimal digits and CR LF",
    ),
]


@pytest.mark.parametrize(("request_bytes", "sentence"), SENTENCES, ids=[sentence for _, sentence in SENTENCES])
def test_refuses_with_one_sentence_that_quotes_no_hostile_byte(
    server: ContainerServer, log: MemoryLog, request_bytes: bytes, sentence: str
) -> None:
    (response,), closed = exchange(server.port, (request_bytes,))
    assert (json.loads(response.body), closed) == ({"error": sentence, "status": response.status}, True)
    assert log.events("refused")[-1]["error"] == sentence


def test_a_head_request_gets_the_headers_alone(server: ContainerServer) -> None:
    (response,), _ = exchange(server.port, (get(line=b"HEAD /ping HTTP/1.1"),), head_last=True)
    assert (response.headers["allow"], response.headers["content-length"]) == ("GET", "56")
