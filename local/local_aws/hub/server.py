"""The loopback Hub: one server for the API and small files, one as the CDN of the large files, and a hook for tests."""

import hashlib
import hmac
import json
import re
import secrets
import ssl
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple, Self
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit

from local_aws.hub.repository import HubFile, Repository

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


@dataclass(frozen=True)
class HubRequest:
    """A request as received. `origin` is "hub" or "cdn"; `target` is the path with its query."""

    origin: str
    method: str
    target: str
    headers: Mapping[str, str]

    @property
    def path(self) -> str:
        return urlsplit(self.target).path


@dataclass
class Reply:
    """A response that a hook may change. Content-Length is that of `body` unless `headers` say otherwise.

    With `truncate_to` the connection closes after that many bytes of the body.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""
    truncate_to: int | None = None


ReplyHook = Callable[[HubRequest, Reply], Reply]


class LoopbackHub:
    """Serves `repository` on 127.0.0.1 between `__enter__` and `__exit__`; its commit is also known as `main`.

    `url` goes into HF_ENDPOINT. LFS files redirect to a second origin, `cdn_url`, by URLs that are valid for
    `signed_seconds`. `tls` (for 127.0.0.1 and localhost) serves both over https. These may change while it serves:

    - `token`: the bearer token needed to read files (a gated model), or None.
    - `on_reply`: called for every request with the correct reply; what it returns is sent.
    - `requests`: all requests received so far, in order.
    - `others`: more repositories, which it serves too.
    """

    def __init__(
        self,
        repository: Repository,
        *,
        token: str | None = None,
        on_reply: ReplyHook | None = None,
        tls: ssl.SSLContext | None = None,
        signed_seconds: float = 3600,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.repository = repository
        self.others: list[Repository] = []
        self.token = token
        self.on_reply: ReplyHook | None = on_reply
        self.requests: list[HubRequest] = []
        self.signer = UrlSigner(repository.model_id, signed_seconds, clock)
        self.url = self.cdn_url = ""
        self._tls = tls
        self._servers: list[tuple[ThreadingHTTPServer, threading.Thread]] = []

    def __enter__(self) -> Self:
        # Another host name, because clients keep their token where the host stays the same, whatever the port.
        self.cdn_url = self._serve(_CdnHandler, "localhost")
        self.url = self._serve(_HubHandler, "127.0.0.1")
        return self

    def __exit__(self, *exc_info: object) -> None:
        while self._servers:
            server, thread = self._servers.pop()
            server.shutdown()
            thread.join()
            server.server_close()

    def _serve(self, handler: type["_Handler"], host: str) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (handler,), {"hub": self}))
        server.daemon_threads = True
        if self._tls:
            # Handshake in the request's thread, so that a slow client does not block the others.
            server.socket = self._tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True, name=handler.origin)
        thread.start()
        self._servers.append((server, thread))
        return f"{'https' if self._tls else 'http'}://{host}:{server.server_port}"


class UrlSigner:
    """Signs and verifies `/repos/<repository>/<sha256>?Expires=…&Signature=…`; `clock` returns Unix time."""

    def __init__(self, repository: str, valid_seconds: float, clock: Callable[[], float]) -> None:
        self._repository = hashlib.sha256(repository.encode()).hexdigest()
        self._valid_seconds = valid_seconds
        self._clock = clock
        self._key = secrets.token_bytes(32)

    def sign(self, sha256: str, filename: str) -> str:
        """Return the path and query for an object, valid for `valid_seconds` from now."""
        path = f"/repos/{self._repository[:2]}/{self._repository}/{sha256}"
        expires = str(int(self._clock() + self._valid_seconds))
        query = {
            "response-content-disposition": f"attachment; filename*=UTF-8''{quote(filename)}",
            "Expires": expires,
            "Signature": self._signature(path, expires),
            "Key-Pair-Id": "LOOPBACK",
        }
        return f"{path}?{urlencode(query)}"

    def verify(self, target: str) -> str | None:
        """Return the SHA-256 of the object that `target` (path and query) grants access to now, or None."""
        parts = urlsplit(target)
        query = parse_qs(parts.query)
        expires, signature = query.get("Expires", [""])[0], query.get("Signature", [""])[0]
        genuine = hmac.compare_digest(signature.encode(), self._signature(parts.path, expires).encode())
        if not genuine or int(expires) < self._clock():
            return None
        return parts.path.rpartition("/")[2]

    def expire_all(self) -> None:
        """Invalidate every URL signed so far."""
        self._key = secrets.token_bytes(32)

    def _signature(self, path: str, expires: str) -> str:
        return hmac.new(self._key, f"{path}\n{expires}".encode(), hashlib.sha256).hexdigest()


class _Response(NamedTuple):
    """An origin's response; `blocks` hold `length` bytes and are read when they are sent."""

    status: int
    headers: Mapping[str, str]
    length: int
    blocks: Iterable[bytes]


class _Handler(BaseHTTPRequestHandler, ABC):
    """One request to one of the two origins; the server sets `hub`."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body are two packets, else 40 ms apart
    timeout = 60  # seconds before an idle connection is closed
    origin = ""
    hub: LoopbackHub

    def do_GET(self) -> None:
        request = HubRequest(self.origin, self.command, self.path, dict(self.headers))
        self.hub.requests.append(request)
        response = self.respond(request.path)
        if self.hub.on_reply:
            correct = Reply(response.status, response.headers, b"".join(response.blocks))
            reply = self.hub.on_reply(request, correct)
            response = _Response(reply.status, reply.headers, len(reply.body), [reply.body[: reply.truncate_to]])
            self.close_connection |= reply.truncate_to is not None
        self.send_response(response.status)
        for name, value in {"Content-Length": str(response.length), **response.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            for block in response.blocks:
                self.wfile.write(block)

    do_HEAD = do_GET  # noqa: N815 - the name that http.server looks for

    @abstractmethod
    def respond(self, path: str) -> _Response:
        """Return the correct response to a request for `path`, which has no query."""

    def file(self, file: HubFile, headers: Mapping[str, str]) -> _Response:
        """Return the file or the requested range of it (RFC 9110, section 14: one range); 412 if If-Match differs."""
        if self.headers.get("If-Match") not in (None, "*", file.etag):
            return self.error(412, "PreconditionFailed", "the ETag does not match")
        headers = {**headers, "ETag": file.etag, "Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
        match = _RANGE.fullmatch(self.headers.get("Range", ""))
        if not match or match.groups() == ("", ""):  # other forms of ranges get the whole file
            return _Response(200, headers, file.size, file.blocks(0, file.size))
        first, last = match.groups()
        if first == "":
            start, stop = max(0, file.size - int(last)), file.size
        else:
            start, stop = int(first), min(file.size, int(last) + 1) if last else file.size
        if start >= stop:
            return self.error(416, "RangeNotSatisfiable", "outside the file", {"Content-Range": f"bytes */{file.size}"})
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{file.size}"
        return _Response(206, headers, stop - start, file.blocks(start, stop))

    def json(self, status: int, content: object, headers: Mapping[str, str] | None = None) -> _Response:
        headers = {"Content-Type": "application/json; charset=utf-8", **(headers or {})}
        body = json.dumps(content).encode()
        return _Response(status, headers, len(body), [body])

    def error(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> _Response:
        """Return an error in the Hub's form: its code in a header, its text in a header and the body."""
        headers = {"X-Error-Code": code, "X-Error-Message": message, **(headers or {})}
        return self.json(status, {"error": message}, headers)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: paths carry signatures."""


class _HubHandler(_Handler):
    """`/api/models/{id}/revision/{revision}` and `/{id}/resolve/{revision}/{path}`."""

    origin = "hub"

    def respond(self, path: str) -> _Response:
        for repository in (self.hub.repository, *self.hub.others):
            information, files = f"/api/models/{repository.model_id}", f"/{repository.model_id}/resolve/"
            if path == information or path.startswith(f"{information}/revision/"):
                revision, name = unquote(path.removeprefix(information).removeprefix("/revision/")) or "main", None
                break
            if path.startswith(files):
                revision, _, name = map(unquote, path.removeprefix(files).partition("/"))
                break
        else:
            return self.error(404, "RepoNotFound", "Repository not found")
        if revision not in (repository.revision, "main"):
            return self.error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        if name is None:
            blobs = parse_qs(urlsplit(self.path).query).get("blobs", ["false"])[0] == "true"
            return self.json(200, repository.information(blobs=blobs, gated=bool(self.hub.token)))
        return self._resolve(repository, name)

    def _resolve(self, repository: Repository, name: str) -> _Response:
        token, given = self.hub.token, self.headers.get("Authorization")
        if token and not (given and hmac.compare_digest(given.encode(), f"Bearer {token}".encode())):
            message = f"Access to model {repository.model_id} is restricted."
            return self.error(403 if given else 401, "GatedRepo", message)
        commit, file = {"X-Repo-Commit": repository.revision}, repository.files.get(name)
        if file is None:
            return self.error(404, "EntryNotFound", "Entry not found", commit)
        if not file.sha256:
            return self.file(file, commit)
        location = self.hub.cdn_url + self.hub.signer.sign(file.sha256, file.path)
        linked = {"X-Linked-Size": str(file.size), "X-Linked-ETag": file.etag, "Accept-Ranges": "bytes"}
        return _Response(302, {"Location": location, **linked, **commit}, 0, [])


class _CdnHandler(_Handler):
    """LFS files, at URLs that are signed and have not expired."""

    origin = "cdn"

    def respond(self, path: str) -> _Response:
        sha256 = self.hub.signer.verify(self.path)
        stored = (repository.lfs_file(sha256) for repository in (self.hub.repository, *self.hub.others) if sha256)
        file = next(filter(None, stored), None)
        if file is None:
            return self.error(403, "AccessDenied", "the URL is not signed, or has expired")
        if "Authorization" in self.headers:
            # The real CDN refuses two kinds of authentication at once, and a leaked token must not pass unnoticed.
            return self.error(400, "InvalidRequest", "only one authentication mechanism is allowed")
        return self.file(file, {})
