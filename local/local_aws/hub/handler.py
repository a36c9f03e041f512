"""What the Hub's two origins have in common: sending files, ranges and errors, with faults where a test wants them."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler
from urllib.parse import urlsplit

from local_aws.hub.catalog import HubFile
from local_aws.hub.faults import Fault, HubRequest, spoil
from local_aws.hub.ranges import Unsatisfiable, parse_range
from local_aws.hub.repository import Repository

_BLOCK_BYTES = 2**20


class OriginHandler(BaseHTTPRequestHandler, ABC):
    """One request. Subclasses name their `origin` and define `answer`; the server sets `repository`."""

    protocol_version = "HTTP/1.1"
    timeout = 60  # seconds that an idle connection is kept
    origin = ""
    repository: Repository

    def do_GET(self) -> None:
        """Answers GET and HEAD alike; a fault with a status comes first."""
        path = urlsplit(self.path).path
        request = HubRequest(self.origin, self.command, path, dict(self.headers), self.repository.count_request())
        self.fault: Fault | None = self.repository.fault_for(request)
        if self.fault and self.fault.status:
            self.send_error_code(self.fault.status, "Fault", "a fault that a test asked for", self.fault.headers)
        else:
            self.answer(path)

    do_HEAD = do_GET  # noqa: N815 - the name that http.server looks for

    @abstractmethod
    def answer(self, path: str) -> None:
        """Answers a request for `path`, which is without its query."""

    def send_file(self, file: HubFile, headers: Mapping[str, str]) -> None:
        """Sends the file or the range that is asked for; 412 when If-Match names another ETag."""
        etag = self.fault.headers.get("ETag", file.etag) if self.fault else file.etag
        if self.headers.get("If-Match") not in (None, "*", etag):
            self.send_error_code(412, "PreconditionFailed", "the ETag is another one")
            return
        try:
            span = parse_range(self.headers.get("Range"), file.size)
        except Unsatisfiable as error:
            self.send_error_code(416, "RangeNotSatisfiable", "outside the file", {"Content-Range": str(error)})
            return
        start, stop = span or (0, file.size)
        content_range = {"Content-Range": f"bytes {start}-{stop - 1}/{file.size}"} if span else {}
        common = {"ETag": etag, "Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
        self.send_head(206 if span else 200, stop - start, {**common, **content_range, **headers})
        if self.command == "GET":
            self._send_bytes(file, start, stop)

    def send_head(self, status: int, length: int, headers: Mapping[str, str]) -> None:
        """Status line and headers; those of a fault win."""
        spoiled = self.fault or Fault()
        self.send_response(status)
        for name, value in {"Content-Length": str(length), **headers, **spoiled.headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def send_json(self, status: int, content: object, headers: Mapping[str, str] | None = None) -> None:
        """A small JSON answer."""
        body = json.dumps(content).encode()
        self.send_head(status, len(body), {"Content-Type": "application/json; charset=utf-8", **(headers or {})})
        if self.command == "GET":
            self.wfile.write(spoil(self.fault, body, 0))
            self.close_connection |= self.fault is not None

    def send_error_code(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        """An error in the Hub's form: its code is in a header, its text in header and body."""
        named = {"X-Error-Code": code, "X-Error-Message": message, **(headers or {})}
        self.send_json(status, {"error": message}, named)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet: paths carry signatures."""

    def _send_bytes(self, file: HubFile, start: int, stop: int) -> None:
        with file.source.open("rb") as source:
            source.seek(start)
            sent = 0
            while sent < stop - start:
                block = source.read(min(_BLOCK_BYTES, stop - start - sent))
                self.wfile.write(spoil(self.fault, block, sent))
                sent += len(block)
        self.close_connection |= self.fault is not None
