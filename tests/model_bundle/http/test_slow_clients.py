"""Clients that hold connections: they cost others nothing, and the one that has waited longest gives way."""

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager

import psutil
import pytest

from http_fuzz.fake_engine import SilentGenerator, serve_silence
from http_fuzz.raw_http import RawResponse, ping, read_until_closed, split_responses
from musicgen_serving.http.connection import Limits
from musicgen_serving.http.server import ContainerServer, DaemonThreads, DescriptorReserve
from tests.model_bundle.helpers.memory_log import MemoryLog
from tests.model_bundle.helpers.protocol_sessions import CHUNKS, PING, chunked, post

LARGE_CLIP = 8 * 2**20  # samples of two bytes: more than the sockets' buffers hold
CLOSE = b"Connection: close\r\n"
GOOD = post(b"Content-Length: 16\r\n" + CLOSE)


@contextmanager
def running(limits: Limits, log: MemoryLog, generator: SilentGenerator | None = None) -> Generator[ContainerServer]:
    server = serve_silence(log.log, limits, max_concurrent_requests=1, generator=generator)
    try:
        yield server
    finally:
        server.stop()


def connect(server: ContainerServer, data: bytes) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", server.port), timeout=30)
    client.sendall(data)
    return client


def responses_on(client: socket.socket) -> list[RawResponse]:
    """Return the responses until the server ends the connection."""
    data, closed = read_until_closed(client, 30)
    responses, rest = split_responses(data)
    assert (rest, closed) == (b"", True)
    return responses


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def trickle(client: socket.socket, data: bytes, stop: threading.Event) -> None:
    """Send the data again and again, until told to stop or the server ends the connection."""
    while not stop.wait(0.05):
        try:
            client.sendall(data)
        except OSError:
            return


SLOW = {
    "headers": (b"POST /invocations HTTP/1.1\r\nHost: x\r\n", b"A: b\r\n"),
    "body": (post(b"Content-Length: 1000000\r\n", b""), b" "),
    "trailers": (chunked(CHUNKS[:-2]), b"A: b\r\n"),
}


def test_four_slow_clients_cost_a_good_request_nothing(memory_log: MemoryLog) -> None:
    """One request at a time is allowed, so a slow client that held it would turn the good one away."""
    stop, patient = threading.Event(), Limits(head_seconds=300, body_seconds=300, response_seconds=300)
    with running(patient, memory_log, SilentGenerator(LARGE_CLIP)) as server, ExitStack() as stack:
        reader = stack.enter_context(connect(server, post(b"Content-Length: 16\r\nAccept: audio/wav\r\n")))
        wait_until(lambda: memory_log.events("invocation"))  # it has been generated, and is not read
        slow = [(stack.enter_context(connect(server, head)), rest) for head, rest in SLOW.values()]
        threads = [threading.Thread(target=trickle, args=(client, rest, stop)) for client, rest in slow]
        for thread in threads:
            thread.start()
        try:
            for _ in range(5):
                with connect(server, GOOD) as good:
                    assert [response.status for response in responses_on(good)] == [200]
                assert ping(server.port) == 200
            for client, _ in slow:  # none has been answered or closed meanwhile
                client.settimeout(0.05)
                with pytest.raises(TimeoutError):
                    client.recv(1)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert not memory_log.events("client_gone")
        assert reader.recv(12) == b"HTTP/1.1 200"


def test_a_response_that_is_not_taken_in_time_ends_the_connection(memory_log: MemoryLog) -> None:
    with (
        running(Limits(response_seconds=0.2), memory_log, SilentGenerator(LARGE_CLIP)) as server,
        connect(server, post(b"Content-Length: 16\r\nAccept: audio/wav\r\n")) as reader,
    ):
        wait_until(lambda: memory_log.events("client_gone"))
        data, closed = read_until_closed(reader, 30)
        assert closed
        assert 0 < len(data) < 2 * LARGE_CLIP


@pytest.mark.parametrize("held", [b"", b"GET /", post(b"Content-Length: 16\r\n", b"{"), PING])
def test_beyond_the_limit_the_connection_that_waits_longest_gives_way(memory_log: MemoryLog, held: bytes) -> None:
    with running(Limits(connections=5), memory_log) as server, ExitStack() as stack:
        slow: list[socket.socket] = []
        for number in range(1, 6):
            slow.append(stack.enter_context(connect(server, held)))
            wait_until(lambda number=number: len(server.connections) == number)
        with connect(server, GOOD) as good:
            assert [response.status for response in responses_on(good)] == [200]
        _, first_closed = read_until_closed(slow[0], 5)
        later_closed = [read_until_closed(client, 0.05)[1] for client in slow[1:]]
        assert (first_closed, later_closed) == (True, [False] * 4)
        assert len(memory_log.events("connection_shed")) == 1


def test_bodies_of_all_connections_share_one_bound(memory_log: MemoryLog) -> None:
    """Half-sent bodies hold what they may; another is turned away, and taken once one of them has gone."""
    large = post(b"Content-Length: 600\r\n", b" " * 590)
    with running(Limits(body_bytes=600, all_bodies_bytes=1000), memory_log) as server, ExitStack() as stack:
        bodies = server._bodies  # pyright: ignore[reportPrivateUsage]
        slow = stack.enter_context(connect(server, large))
        wait_until(lambda: bodies.held == 590)
        with connect(server, large) as second:
            (response,) = responses_on(second)
        sentence = "bodies of all requests must be at most 1000 bytes; retry"
        assert (response.status, json.loads(response.body)) == (503, {"error": sentence, "status": 503})
        assert response.headers["retry-after"] == "5" and bodies.held == 590
        with connect(server, GOOD) as good:
            assert [one.status for one in responses_on(good)] == [200]
        slow.close()
        wait_until(lambda: bodies.held == 0)
        with connect(server, large + b" " * 10) as third:
            data, _ = read_until_closed(third, 1)
        assert split_responses(data)[0][0].status == 400  # white space is no JSON, and was read


def test_a_request_that_is_answered_never_gives_way(memory_log: MemoryLog) -> None:
    entered, proceed = threading.Event(), threading.Event()
    generator = SilentGenerator(wait=lambda: (entered.set(), proceed.wait(30)))
    with running(Limits(connections=3), memory_log, generator) as server, ExitStack() as stack:
        good = stack.enter_context(connect(server, GOOD))
        assert entered.wait(30)
        for _ in range(20):
            stack.enter_context(connect(server, b"GET /"))
        wait_until(lambda: len(memory_log.events("connection_shed")) >= 18)
        assert ping(server.port) == 200
        proceed.set()
        assert [response.status for response in responses_on(good)] == [200]


def test_a_process_out_of_file_descriptors_still_answers_pings_and_does_not_spin() -> None:
    command = [sys.executable, "-m", "tests.model_bundle.helpers.exhausted_server"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        port = int(process.stdout.readline())
        usage = psutil.Process(process.pid).cpu_times
        before = sum(usage()[:2])
        with ExitStack() as stack:
            for _ in range(30):
                stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
            time.sleep(2)
            assert sum(usage()[:2]) - before < 1
            assert [ping(port) for _ in range(5)] == [200] * 5
        process.stdin.close()
        events = process.stderr.read()
        assert process.wait(30) == 0, events[-2000:]
    assert '"accept_failed"' in events  # the reserve was not enough: connections gave way
    assert '"connection_fault"' not in events


def test_the_reserve_gives_up_descriptors_and_takes_them_back() -> None:
    reserve = DescriptorReserve(2)
    assert [reserve.release(), reserve.release(), reserve.release()] == [True, True, False]
    reserve.refill()
    assert reserve.release()
    reserve.close()


def test_worker_threads_are_reused_and_survive_a_failure() -> None:
    threads = DaemonThreads(2)

    def fail() -> None:
        raise SystemExit("no")

    futures = [threads.submit(fail) for _ in range(5)]
    assert [type(future.exception(30)) for future in futures] == [SystemExit] * 5
    names = {threads.submit(lambda: threading.current_thread().name).result(30) for _ in range(50)}
    assert names <= {"invocation-0", "invocation-1"}
    threads.shutdown()


def test_a_stopped_server_closes_its_port(memory_log: MemoryLog) -> None:
    with running(Limits(), memory_log) as server:
        assert ping(server.port) == 200
    with pytest.raises(ConnectionRefusedError):
        ping(server.port)
