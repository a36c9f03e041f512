"""A source on raw sockets that answers each request as a row of the table of lying sources says, or honestly.

A lie turns the honest reply into what is sent: bytes, and pauses in seconds, after which the connection is closed.
"""

import hashlib
import json
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

DRIP_S = 0.2  # between two bytes of a trickle: less than any timeout of a single wait
_RANGE = re.compile(rb"range: bytes=(\d+)-(\d+)", re.I)
_ROW = re.compile(rb"row-(\d+)")


@dataclass(frozen=True)
class Reply:
    """The honest reply to the `count`-th request (from 0) of a kind: a file's name, or "listing"."""

    kind: str
    count: int
    target: str
    source: "LyingSource"
    status: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def head(self) -> bytes:
        lines = [f"HTTP/1.1 {self.status}", *(f"{name}: {value}" for name, value in self.headers.items())]
        return "".join(f"{line}\r\n" for line in lines).encode("latin-1") + b"\r\n"

    @property
    def chunked_body(self) -> bytes:
        """The head and the whole body in chunks, without the end of the trailer."""
        headers = {k: v for k, v in self.headers.items() if k != "Content-Length"} | {"Transfer-Encoding": "chunked"}
        chunk = b"%x\r\n%b\r\n" % (len(self.body), self.body)
        return replace(self, headers=headers).head + chunk + b"0\r\n"


Pieces = Iterable[bytes | float]
Lie = Callable[[Reply], Pieces]


def raw(*pieces: bytes | float) -> Lie:
    """Send exactly this."""
    return lambda reply: pieces


def change(status: str | None = None, body: bytes | None = None, **headers: str | None) -> Lie:
    """Change the status, the body, and headers (None removes one); Content-Length follows the body."""

    def lie(reply: Reply) -> Pieces:
        content = reply.body if body is None else body
        changed = {**reply.headers, "Content-Length": str(len(content))}
        changed |= {name.replace("_", "-"): value for name, value in headers.items() if value is not None}
        for name in [name.replace("_", "-") for name, value in headers.items() if value is None]:
            changed.pop(name, None)
        honest = replace(reply, status=status or reply.status, headers=changed)
        return (honest.head, content)

    return lie


def redirect(target: str, status: int = 302) -> Lie:
    """Redirect to an address, in which {path}, {port}, {tls} and {mute} are this source's."""

    def lie(reply: Reply) -> Pieces:
        source, path = reply.source, reply.target
        named = {"path": path, "port": source.port, "tls": source.tls_port, "mute": source.mute_port}
        return change(f"{status} Found", b"", Location=target.format(**named), Content_Range=None)(reply)

    return lie


def chunked(trailer: bytes = b"\r\n", encode: Callable[[bytes], bytes] | None = None) -> Lie:
    """Send the body in one chunk, with this trailer; or as `encode` says."""

    def lie(reply: Reply) -> Pieces:
        if encode is None:
            return (reply.chunked_body + trailer,)
        return (replace(reply, body=b"").chunked_body.partition(b"\r\n\r\n")[0] + b"\r\n\r\n", encode(reply.body))

    return lie


def cut(at: Callable[[int], int], extra: bytes = b"") -> Lie:
    """Send so many bytes of the body, given its length, and some more."""
    return lambda reply: (reply.head, reply.body[: at(len(reply.body))] + extra)


def flip(reply: Reply) -> Pieces:
    """Flip a bit of the body's last byte."""
    return (reply.head, reply.body[:-1] + bytes([reply.body[-1] ^ 1]))


def drip(lie: Lie, start: int = 0) -> Lie:
    """Send a lie one byte at a time from the byte `start` on; endlessly, if it has no end."""

    def slowly(reply: Reply) -> Iterator[bytes | float]:
        at = 0
        for piece in lie(reply):
            if not isinstance(piece, bytes):
                yield piece
                continue
            fast = piece[: max(0, start - at)]
            yield fast
            for byte in piece[len(fast) :]:
                yield bytes([byte])
                yield DRIP_S
            at += len(piece)

    return slowly


def honest(reply: Reply) -> Pieces:
    return (reply.head, reply.body)


def endless(before: Callable[[Reply], bytes], piece: bytes) -> Lie:
    """Send a beginning and then the same piece without end."""

    def lie(reply: Reply) -> Iterator[bytes]:
        yield before(reply)
        while True:
            yield piece

    return lie


def first(times: int, lie: Lie, then: Lie = honest) -> Lie:
    """Lie so many times."""
    return lambda reply: lie(reply) if reply.count < times else then(reply)


def after(times: int, lie: Lie) -> Lie:
    """Be honest so many times."""
    return first(times, honest, lie)


def listing(**fields: object) -> Lie:
    """Change fields of the listing."""
    return lambda reply: change(body=json.dumps({**json.loads(reply.body), **fields}).encode())(reply)


def sibling(path: str, **fields: object) -> Lie:
    """Change a file's fields in the listing."""

    def lie(reply: Reply) -> Pieces:
        document = json.loads(reply.body)
        for entry in document["siblings"]:
            if entry["rfilename"] == path:
                entry.update(fields)
        return change(body=json.dumps(document).encode())(reply)

    return lie


def also(*entries: object) -> Lie:
    """List more files."""

    def lie(reply: Reply) -> Pieces:
        document = json.loads(reply.body)
        return change(body=json.dumps({**document, "siblings": [*document["siblings"], *entries]}).encode())(reply)

    return lie


class LyingSource:
    """Serves `files` at `revision` as any model `…/row-<n>`; `lies[n]` says what it does to which kind of request.

    A second port speaks TLS with `tls`; a third accepts connections and sends one byte of a TLS record at a time.
    """

    def __init__(self, files: Mapping[str, bytes], revision: str, lfs: str, tls: ssl.SSLContext) -> None:
        self._files, self._revision, self._lfs, self._tls = files, revision, lfs, tls
        self.lies: dict[int, tuple[str, Lie]] = {}
        self._counts: dict[tuple[int, str], int] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()

    def __enter__(self) -> Self:
        self._listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
        self.port, self.tls_port, self.mute_port = (listener.getsockname()[1] for listener in self._listeners)
        self.url = f"http://127.0.0.1:{self.port}"
        for listener, serve in zip(self._listeners, (self._serve, self._serve_tls, self._serve_mute), strict=True):
            threading.Thread(target=self._accept, args=(listener, serve), daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._stop.set()
        for listener in self._listeners:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # wakes accept()
            listener.close()

    def _accept(self, listener: socket.socket, serve: Callable[[socket.socket], None]) -> None:
        while not self._stop.is_set():
            with suppress(OSError):
                connection, _ = listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self._close_after, args=(connection, serve), daemon=True).start()

    def _close_after(self, connection: socket.socket, serve: Callable[[socket.socket], None]) -> None:
        with connection, suppress(OSError):  # the client disconnects where it detects a lie
            serve(connection)

    def _serve_tls(self, connection: socket.socket) -> None:
        with self._tls.wrap_socket(connection, server_side=True) as secure:
            self._serve(secure)

    def _serve_mute(self, connection: socket.socket) -> None:
        self._send(connection, drip(raw(b"\x16\x03\x03\x40\x00", bytes(1000)))(Reply("", 0, "", self, "", {}, b"")))

    def _serve(self, connection: socket.socket) -> None:
        buffered = b""
        while not self._stop.is_set():
            while b"\r\n\r\n" not in buffered:
                received = connection.recv(65536)
                if not received:
                    return
                buffered += received
            head, _, buffered = buffered.partition(b"\r\n\r\n")
            row = int(match[1]) if (match := _ROW.search(head)) else -1
            reply = self._reply(row, head)
            kind, lie = self.lies.get(row, ("", honest))
            if kind in ("*", reply.kind):
                # Without the header the client would take the closed connection for a fault of its own pool.
                self._send(connection, lie(replace(reply, headers={**reply.headers, "Connection": "close"})))
                return
            self._send(connection, honest(reply))

    def _send(self, connection: socket.socket, pieces: Pieces) -> None:
        for piece in pieces:
            if self._stop.wait(0.0 if isinstance(piece, bytes) else piece):
                return
            if isinstance(piece, bytes):
                connection.sendall(piece)

    def _reply(self, row: int, head: bytes) -> Reply:
        target = head.split(b" ")[1].decode()
        kind = "listing" if target.startswith("/api/") else target.partition("?")[0].rpartition("/")[2]
        with self._lock:
            count = self._counts[row, kind] = self._counts.get((row, kind), -1) + 1
        if kind == "listing":
            body = json.dumps(self.information()).encode()
            return Reply(kind, count, target, self, "200 OK", {"Content-Length": str(len(body))}, body)
        content, found = self._files.get(kind, b""), _RANGE.search(head)
        start, stop = (int(found[1]), int(found[2]) + 1) if found else (0, len(content))
        body = content[start:stop]
        headers = {
            "Content-Length": str(len(body)),
            "Content-Range": f"bytes {start}-{start + len(body) - 1}/{len(content)}",
            "ETag": f'"{hashlib.sha256(content).hexdigest()}"',
        }
        return Reply(kind, count, target, self, "206 Partial Content", headers, body)

    def information(self) -> dict[str, Any]:
        """Return the honest listing."""
        siblings: list[dict[str, Any]] = []
        for path, data in self._files.items():
            blob = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
            entry: dict[str, Any] = {"rfilename": path, "size": len(data), "blobId": blob}
            if path == self._lfs:
                entry["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
            siblings.append(entry)
        return {"sha": self._revision, "siblings": siblings}
