"""The container's HTTP server: `GET /ping` and `POST /invocations` in multi-model-server's worker.

multi-model-server runs one request at a time through its worker, and loses the worker to a response above 6.5 MB. So
the worker serves the container's port itself, and multi-model-server only starts and restarts it. One thread waits for
all clients; a complete request is answered by one of a fixed number of threads, so a slow client holds none.
docs/serving-http.md says why, and what was compared.
"""

import asyncio
import os
import resource
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import replace
from queue import SimpleQueue
from typing import Any

from musicgen_serving.engine.watchdog import end_process, end_worker
from musicgen_serving.http.connection import BodyBudget, Connection, Limits
from musicgen_serving.http.invocation import Invocations
from musicgen_serving.json_log import JsonLog

BACKLOG = 128
SPARE_WORKERS = 2  # they refuse requests beyond the limit, while all others generate
SPARE_DESCRIPTORS = 4  # beyond those of requests that are answered, whose connections cannot be closed
BACKOFF_SECONDS = 0.05


class ContainerServer:
    """Serves invocations on a port, once started; calls `on_death` if anything but `stop` ends its thread."""

    def __init__(
        self, host: str, port: int, invocations: Invocations, log: JsonLog, *, limits: Limits | None = None,
        on_death: Callable[[], None] = end_worker,
    ) -> None:  # fmt: skip
        self._invocations = invocations
        self._log = log
        # A connection costs a descriptor, and the rest of the process needs some.
        limits = limits or Limits(connections=max(Limits.connections, 8 * invocations.max_concurrent_requests))
        allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        at_most = limits.connections if allowed == resource.RLIM_INFINITY else max(1, allowed // 2)
        self._limits = replace(limits, connections=min(limits.connections, at_most))
        self._bodies = BodyBudget(self._limits.all_bodies_bytes)
        self._workers = DaemonThreads(invocations.max_concurrent_requests + SPARE_WORKERS)
        self.connections: dict[Connection, asyncio.Task[None]] = {}
        self._reserve = DescriptorReserve(invocations.max_concurrent_requests + SPARE_DESCRIPTORS)
        self._listener = socket.create_server((host, port), backlog=BACKLOG)
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)
        self._started = threading.Event()
        self._cancel: Callable[[], object] = self._listener.close
        self._stopping = False
        self._on_death = on_death

    def start(self) -> None:
        """Accept connections in a background thread."""
        self._thread.start()
        self._started.wait()

    def stop(self) -> None:
        """Close the port and all connections."""
        self._stopping = True
        self._cancel()
        self._thread.join()
        self._workers.shutdown()

    def _run(self) -> None:
        """Serve until stopped; if this ends in any other way, end the process, which nobody could reach."""
        try:
            asyncio.run(self._accept_connections())
        except BaseException as error:  # SystemExit as well
            if self._stopping and isinstance(error, asyncio.CancelledError):
                self._log.write("server_stopped")
            else:
                died = error  # `error` is unbound after this block
                end_process(lambda: self._log.exception("server_died", died), self._on_death)
        finally:
            self._listener.close()
            self._reserve.close()

    async def _accept_connections(self) -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task
        self._cancel = lambda: loop.call_soon_threadsafe(task.cancel)
        self._started.set()
        while True:
            try:
                client, _ = await loop.sock_accept(self._listener)
            except OSError as error:  # out of descriptors or memory, or the client has left
                self._make_room(error)
                await asyncio.sleep(BACKOFF_SECONDS)
                continue
            if len(self.connections) >= self._limits.connections:
                self._shed()
            self._serve(client)
            await asyncio.sleep(0)  # sock_accept does not yield while clients wait

    def _serve(self, client: socket.socket) -> None:
        connection = Connection(client, self._invocations, self._workers, self._limits, self._bodies, self._log)
        task = asyncio.get_running_loop().create_task(connection.serve())
        self.connections[connection] = task
        task.add_done_callback(lambda _: self._ended(connection))

    def _ended(self, connection: Connection) -> None:
        self.connections.pop(connection, None)
        self._reserve.refill()

    def _make_room(self, error: OSError) -> None:
        """Free a descriptor for the next client: from the reserve, or of the connection that waits longest."""
        if not self._reserve.release():
            self._log.write("accept_failed", error=repr(error), connections=len(self.connections))
            self._shed()

    def _shed(self) -> None:
        """Close the connection that has waited longest for its client; never one whose request is being answered."""
        waiting = [connection for connection in self.connections if connection.waiting_since is not None]
        if waiting:
            slowest = min(waiting, key=lambda connection: connection.waiting_since or time.monotonic())
            self.connections.pop(slowest).cancel()
            self._log.write("connection_shed", connections=len(self.connections) + 1)


class DescriptorReserve:
    """File descriptors held back, so that clients are still accepted when the process has run out of them."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._descriptors: list[int] = []
        self.refill()

    def release(self) -> bool:
        """Give one up; return False if none is left."""
        if not self._descriptors:
            return False
        os.close(self._descriptors.pop())
        return True

    def refill(self) -> None:
        """Take back as many as there are."""
        while len(self._descriptors) < self._size:
            try:
                self._descriptors.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
            except OSError:
                return

    def close(self) -> None:
        while self.release():
            pass


class DaemonThreads(Executor):
    """A fixed number of threads that do not keep the process alive, as those of ThreadPoolExecutor would.

    multi-model-server ends a worker by returning from its main thread. Threads are reused, as each new one may take
    another of malloc's arenas, which never shrink.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        for index in range(size):
            threading.Thread(target=self._work, name=f"invocation-{index}", daemon=True).start()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call the function in one of the threads; the future has its result."""
        future: Future[Any] = Future()
        self._calls.put((future, lambda: fn(*args, **kwargs)))
        return future

    def _work(self) -> None:
        while item := self._calls.get():
            future, call = item
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(call())
                except BaseException as error:
                    future.set_exception(error)
            del item, future, call  # or an idle thread would keep the last request and its response

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the threads once their calls have returned; waits for none."""
        del wait, cancel_futures
        for _ in range(self._size):
            self._calls.put(None)
