"""Clients that send or read too slowly, for the whole of a soak test; the others must not notice them."""

import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager

_HEAD = b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
_BODY = b'{"texts": ["slow"], "generation_params": {"max_new_tokens": 5}}'
SECONDS_BETWEEN_BYTES = 0.05
# What each sends at once, and then again and again until it is refused.
SLOW = {
    "silent": (b"", b""),
    "headers": (_HEAD, b"A: b\r\n"),
    "body": (_HEAD + b"Content-Length: 100000\r\n\r\n", b" "),
    "chunks": (_HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "trailers": (_HEAD + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n" % (len(_BODY), _BODY), b"A: b\r\n"),
    "reader": (b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n"),  # reads no response
}


@contextmanager
def slow_clients(port: int) -> Generator[None]:
    """Keep one client of each kind connected to a port of 127.0.0.1; each connects again when it is turned away."""
    stop = threading.Event()
    threads = [threading.Thread(target=_hold, args=(port, *parts, stop)) for parts in SLOW.values()]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _hold(port: int, first: bytes, rest: bytes, stop: threading.Event) -> None:
    while not stop.wait(SECONDS_BETWEEN_BYTES):
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
                client.sendall(first)
                while not stop.wait(SECONDS_BETWEEN_BYTES):
                    client.sendall(rest)
        except OSError:  # turned away, or the worker has been killed
            continue
