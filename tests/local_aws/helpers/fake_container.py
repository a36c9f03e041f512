"""Containers in threads of the test's process that obey the body of each request."""

import contextlib
import json
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class FakeContainer:
    """A container in a thread. A request's JSON body sets its behaviour: `sleep` (seconds), `status`, `text`, `busy`
    (answer 503 to the first n deliveries), `drop` (close the connection of the first n deliveries), `chunked`,
    `size` (bytes of the answer), `length` (Content-Length of the answer, whatever its size)."""

    def __init__(self, world: "FakeWorld", environment: Mapping[str, str]) -> None:
        self.environment = dict(environment)
        self.world = world
        self.ping_status = 200
        self.in_flight = 0
        self.max_in_flight = 0
        self.lock = threading.Lock()
        self._alive = True
        self._server = ThreadingHTTPServer(
            ("127.0.0.1", int(environment["SAGEMAKER_BIND_TO_PORT"])),
            type("Handler", (_ContainerHandler,), {"container": self}),
        )
        self._server.daemon_threads = True
        self.connections: list[Any] = []
        self.base_url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def alive(self) -> bool:
        return self._alive

    def stop(self) -> None:
        """Close all connections, as a killed process does."""
        if not self._alive:
            return
        self._alive = False
        self._server.shutdown()
        self._server.server_close()
        for connection in list(self.connections):
            with contextlib.suppress(OSError):
                connection.shutdown(2)


class _ContainerHandler(BaseHTTPRequestHandler):
    container: FakeContainer

    def setup(self) -> None:
        super().setup()
        self.container.connections.append(self.connection)

    def do_GET(self) -> None:
        self._reply(self.container.ping_status, b"")

    def do_POST(self) -> None:
        container, world = self.container, self.container.world
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with container.lock:
            container.in_flight += 1
            container.max_in_flight = max(container.max_in_flight, container.in_flight)
        wanted: dict[str, Any] = json.loads(body)
        delivery = world.record(container, dict(self.headers), body)
        time.sleep(wanted.get("sleep", 0))
        with container.lock:  # before the response: the next request may follow at once
            container.in_flight -= 1
        with contextlib.suppress(OSError):
            self._answer(wanted, delivery)

    def _answer(self, wanted: dict[str, Any], delivery: int) -> None:
        if delivery <= wanted.get("drop", 0):
            self.connection.shutdown(2)
        elif delivery <= wanted.get("busy", 0):
            self._reply(503, b"full", retry_after="0")
        elif wanted.get("chunked"):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"no length")
        elif "size" in wanted:
            self._reply(200, b"x" * wanted["size"], length=wanted.get("length"))
        else:
            text = wanted.get("text", "done")
            self._reply(wanted.get("status", 200), json.dumps({"text": text}).encode())

    def _reply(self, status: int, body: bytes, retry_after: str | None = None, *, length: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body) if length is None else length))
        if retry_after:
            self.send_header("Retry-After", retry_after)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


class FakeWorld:
    """All fake containers of one test and the requests they received; `ping_status` is for new containers."""

    def __init__(self) -> None:
        self.containers: list[FakeContainer] = []
        self.received: list[tuple[dict[str, str], bytes]] = []
        self.ping_status = 200
        self._lock = threading.Lock()

    def launch(self, environment: Mapping[str, str], log: Path) -> FakeContainer:
        log.write_text("the container starts\n")
        container = FakeContainer(self, environment)
        container.ping_status = self.ping_status
        self.containers.append(container)
        return container

    def record(self, container: FakeContainer, headers: dict[str, str], body: bytes) -> int:
        """Record a request; return how often its inference id has been received."""
        identifier = headers["X-Amzn-SageMaker-Inference-Id"]
        with self._lock:
            self.received.append((headers, body))
            return sum(other["X-Amzn-SageMaker-Inference-Id"] == identifier for other, _ in self.received)

    @property
    def running(self) -> list[FakeContainer]:
        return [container for container in self.containers if container.alive()]
