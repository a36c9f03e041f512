"""A Hub on loopback: listings, redirects to signed URLs on another host, ranges, and faults."""

import hashlib
import json
import re
import ssl
import threading
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit


@dataclass
class Repository:
    """One commit: small files by name, and LFS files by name."""

    model_id: str
    revision: str
    files: dict[str, bytes]
    lfs: dict[str, bytes]

    def listing(self) -> dict[str, Any]:
        """Return what `GET /api/models/<id>/revision/<commit>?blobs=true` answers."""
        siblings: list[dict[str, Any]] = []
        for name, data in self.files.items():
            blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
            siblings.append({"rfilename": name, "size": len(data), "blobId": blob})
        for name, data in self.lfs.items():
            lfs = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
            siblings.append({"rfilename": name, "size": len(data), "blobId": "0" * 40, "lfs": lfs})
        return {"id": self.model_id, "sha": self.revision, "siblings": siblings}


@dataclass
class HubRequest:
    """A received request: path, headers, and whether it was sent to the CDN's port."""

    path: str
    headers: dict[str, str]
    on_cdn: bool


@dataclass
class Reply:
    """A reply, which a fault may change before it is sent."""

    status: int
    headers: dict[str, str]
    body: bytes
    cut: int | None = None  # bytes of the body to send before closing the connection


Fault = Callable[[HubRequest, Reply], Reply]


@dataclass
class LoopbackHub:
    """Serves a repository; LFS files redirect to a second port, with a signature that can expire."""

    repository: Repository
    fault: Fault | None = None
    token: str | None = None
    signature: int = 0
    tls: ssl.SSLContext | None = None
    seen: list[HubRequest] = field(default_factory=list[HubRequest])

    def __enter__(self) -> Self:
        self._hub = self._serve(on_cdn=False)
        self._cdn = self._serve(on_cdn=True)
        self.url = f"{self._scheme}://127.0.0.1:{self._hub.server_port}"
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for server in (self._hub, self._cdn):
            server.shutdown()
            server.server_close()

    @property
    def _scheme(self) -> str:
        return "https" if self.tls is not None else "http"

    def expire(self) -> None:
        """Make all signed URLs issued so far answer 403."""
        self.signature += 1

    def _serve(self, on_cdn: bool) -> ThreadingHTTPServer:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # headers and body are two packets: else 40 ms each

            def do_GET(self) -> None:
                seen = HubRequest(self.path, dict(self.headers), on_cdn)
                hub.seen.append(seen)
                reply = hub.reply(seen)
                self._send(hub.fault(seen, reply) if hub.fault else reply)

            def _send(self, reply: Reply) -> None:
                self.send_response(reply.status)
                for name, value in {"Content-Length": str(len(reply.body)), **reply.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(reply.body[: reply.cut])
                self.close_connection = self.close_connection or reply.cut is not None

            def log_message(self, format: str, *args: object) -> None:
                """Keep the test's output quiet."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        if self.tls is not None:
            server.socket = self.tls.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return server

    def reply(self, seen: HubRequest) -> Reply:
        """Return the correct reply to a request."""
        path = urlsplit(seen.path).path
        if not seen.on_cdn and self.token is not None and seen.headers.get("Authorization") != f"Bearer {self.token}":
            return Reply(401, {}, b'{"error": "gated"}')
        base = f"/{self.repository.model_id}/resolve/{self.repository.revision}/"
        if seen.on_cdn:
            return self._from_cdn(seen)
        if path == f"/api/models/{self.repository.model_id}/revision/{self.repository.revision}":
            return Reply(200, {"Content-Type": "application/json"}, json.dumps(self.repository.listing()).encode())
        name = path.removeprefix(base)
        if name in self.repository.files:
            return _ranged(seen, self.repository.files[name])
        if name in self.repository.lfs:
            target = f"{self._scheme}://127.0.0.1:{self._cdn.server_port}/{name}?signature={self.signature}"
            return Reply(302, {"Location": target}, b"")
        return Reply(404, {}, b'{"error": "not found"}')

    def _from_cdn(self, seen: HubRequest) -> Reply:
        parts = urlsplit(seen.path)
        if parse_qs(parts.query)["signature"] != [str(self.signature)]:
            return Reply(403, {}, b"expired")
        return _ranged(seen, self.repository.lfs[parts.path[1:]])


def _ranged(seen: HubRequest, data: bytes) -> Reply:
    etag = f'"{len(data)}-{zlib.crc32(data[:4096]):08x}"'
    if seen.headers.get("If-Match", etag) != etag:
        return Reply(412, {}, b"")
    match = re.fullmatch(r"bytes=(\d+)-(\d+)", seen.headers.get("Range", ""))
    if match is None:
        return Reply(200, {"ETag": etag}, data)
    start, end = int(match[1]), min(int(match[2]), len(data) - 1)
    return Reply(206, {"ETag": etag, "Content-Range": f"bytes {start}-{end}/{len(data)}"}, data[start : end + 1])
