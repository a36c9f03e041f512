"""A loopback S3 with what staging uses: conditional writes, multipart uploads, checksums, listings; and faults."""

import base64
import hashlib
import ssl
import struct
import threading
import uuid
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree
from xml.sax.saxutils import escape

# Optional headers of a part and of a completion that staging always sends.
_REQUIRED_HEADERS = {
    "PUT": frozenset({"x-amz-checksum-crc32"}),
    "POST": frozenset({"x-amz-checksum-crc32", "x-amz-checksum-type", "x-amz-mp-object-size", "if-none-match"}),
}
Fault = Callable[[str, str], int | None]  # method and path with query -> a status to refuse with, or None


@dataclass
class Upload:
    """An unfinished upload: the key, and parts by number."""

    key: str
    parts: dict[int, bytes] = field(default_factory=dict[int, bytes])


@dataclass
class Reply:
    """A reply's status, body and headers; with `truncate_to` only so many bytes of the body are sent."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict[str, str])
    truncate_to: int | None = None


class LoopbackS3:
    """One endpoint with any buckets; `fault` may refuse a request before it takes effect, or close the connection (0).

    `drops_reply` may withhold the reply to a request that took effect, `on_reply` may change it. With `demanding` it
    refuses parts and completions without the checksums and conditions that S3 can verify.
    """

    strict = True  # small parts only at the end, as in S3; off where tests cut small
    demanding = False

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.objects: dict[str, bytes] = {}
        self.uploads: dict[str, Upload] = {}
        self.fault: Fault | None = None
        self.drops_reply: Callable[[str, str], bool] | None = None
        self.requests: list[str] = []
        self.on_reply: Callable[[str, str, Reply], Reply] | None = None
        self._tls = tls
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (_Handler,), {"store": self}))
        self._server.daemon_threads = True
        if self._tls is not None:
            self._server.socket = self._tls.wrap_socket(self._server.socket, server_side=True)
        scheme = "https" if self._tls is not None else "http"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()

    def respond(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Reply:
        """Apply a request and return the reply."""
        parts = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        key = unquote(parts.path).lstrip("/")  # bucket and key together
        with self._lock:
            if "uploadId" in query:
                lowered = {k.lower(): v for k, v in headers.items()}
                missing = _REQUIRED_HEADERS.get(method, frozenset()) - lowered.keys() if self.demanding else ()
                if missing:
                    return _error(400, f"Missing {', '.join(sorted(missing))}")
                return self._upload(method, key, query, lowered, body)
            if method == "POST" and "uploads" in query:
                upload_id = uuid.uuid4().hex
                self.uploads[upload_id] = Upload(key)
                return _xml("InitiateMultipartUploadResult", f"<UploadId>{upload_id}</UploadId>")
            if method == "GET" and ("uploads" in query or "list-type" in query):
                return self._list(key.rstrip("/"), query)
            return self._object(method, key, {k.lower(): v for k, v in headers.items()}, body)

    def _object(self, method: str, key: str, headers: dict[str, str], body: bytes) -> Reply:
        present = self.objects.get(key)
        if method == "PUT":
            etag = _etag(present) if present is not None else None
            wanted = headers.get("if-match")
            if (wanted is not None and wanted != etag) or ("if-none-match" in headers and present is not None):
                return _error(412, "PreconditionFailed")
            self.objects[key] = _unchunked(headers, body)
            return Reply(200, headers={"ETag": _etag(self.objects[key])})
        if method == "DELETE":
            self.objects.pop(key, None)
            return Reply(204)
        if present is None:
            return _error(404, "NoSuchKey")
        length = {"Content-Length": str(len(present))}
        return Reply(200, b"" if method == "HEAD" else present, {"ETag": _etag(present), **length})

    def _upload(self, method: str, key: str, query: dict[str, str], headers: dict[str, str], body: bytes) -> Reply:
        upload = self.uploads.get(query["uploadId"])
        if upload is None:
            return _error(404, "NoSuchUpload")
        if method == "PUT":
            if headers.get("x-amz-checksum-crc32") not in (None, _crc(body)):
                return _error(400, "BadDigest")
            part = upload.parts[int(query["partNumber"])] = _unchunked(headers, body)
            return Reply(200, headers={"ETag": _etag(part)})
        if method == "DELETE":
            del self.uploads[query["uploadId"]]
            return Reply(204)
        if method == "GET":
            rows = "".join(
                f"<Part><PartNumber>{n}</PartNumber><ETag>{escape(_etag(d))}</ETag><Size>{len(d)}</Size>"
                f"<ChecksumCRC32>{_crc(d)}</ChecksumCRC32></Part>"
                for n, d in sorted(upload.parts.items())
            )
            return _xml("ListPartsResult", f"<IsTruncated>false</IsTruncated>{rows}")
        return self._complete(key, query["uploadId"], upload, headers, body)

    def _complete(self, key: str, upload_id: str, upload: Upload, headers: dict[str, str], body: bytes) -> Reply:
        if "if-none-match" in headers and key in self.objects:
            return _error(412, "PreconditionFailed")
        named = [
            (int(part.findtext("{*}PartNumber") or 0), part.findtext("{*}ETag"))
            for part in ElementTree.fromstring(body).iterfind("{*}Part")
        ]
        if any(number not in upload.parts or _etag(upload.parts[number]) != etag for number, etag in named):
            return _error(400, "InvalidPart")
        if any(len(upload.parts[number]) < 5 << 20 for number, _ in named[:-1]) and self.strict:
            return _error(400, "EntityTooSmall")
        whole = b"".join(upload.parts[number] for number, _ in named)
        size, crc = headers.get("x-amz-mp-object-size"), headers.get("x-amz-checksum-crc32")
        if size not in (None, str(len(whole))) or crc not in (None, _crc(whole)):
            return _error(400, "BadDigest")
        self.objects[key] = whole
        del self.uploads[upload_id]
        return _xml("CompleteMultipartUploadResult", f"<ETag>{escape(_etag(whole))}</ETag>")

    def _list(self, bucket: str, query: dict[str, str]) -> Reply:
        prefix = f"{bucket}/{query.get('prefix', '')}"
        if "uploads" in query:
            rows = "".join(
                f"<Upload><Key>{escape(u.key[len(bucket) + 1 :])}</Key><UploadId>{i}</UploadId></Upload>"
                for i, u in self.uploads.items()
                if u.key.startswith(prefix)
            )
            return _xml("ListMultipartUploadsResult", f"<IsTruncated>false</IsTruncated>{rows}")
        keys = sorted(key for key in self.objects if key.startswith(prefix))
        rows = "".join(f"<Contents><Key>{escape(key[len(bucket) + 1 :])}</Key></Contents>" for key in keys)
        return _xml("ListBucketResult", f"<IsTruncated>false</IsTruncated><KeyCount>{len(keys)}</KeyCount>{rows}")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    store: LoopbackS3

    def do_PUT(self) -> None:
        """Serve any method."""
        body = self._body()
        store = self.store
        store.requests.append(f"{self.command} {self.path}")
        refusal = store.fault(self.command, self.path) if store.fault else None
        if refusal == 0:
            self.close_connection = True
            return
        if refusal is not None:
            self._send(_error(refusal, "SlowDown" if refusal == 503 else "InternalError"))
            return
        reply = store.respond(self.command, self.path, dict(self.headers), body)
        if store.drops_reply and store.drops_reply(self.command, self.path):
            self.close_connection = True
        else:
            self._send(store.on_reply(self.command, self.path, reply) if store.on_reply else reply)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        chunks: list[bytes] = []
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    do_GET = do_POST = do_DELETE = do_HEAD = do_PUT  # noqa: N815 - the base class's names

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        for name, value in {"Content-Length": str(len(reply.body)), **reply.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body[: reply.truncate_to])
        self.close_connection = self.close_connection or reply.truncate_to is not None

    def log_message(self, format: str, *args: object) -> None:
        """Keep the output quiet."""


def _unchunked(headers: dict[str, str], body: bytes) -> bytes:
    """Return the payload of an `aws-chunked` body."""
    if "aws-chunked" not in headers.get("content-encoding", ""):
        return body
    payload, at = list[bytes](), 0
    while size := int(body[at : body.index(b"\r\n", at)].partition(b";")[0], 16):
        at = body.index(b"\r\n", at) + 2
        payload.append(body[at : at + size])
        at += size + 2
    return b"".join(payload)


def _etag(data: bytes) -> str:
    return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'


def _crc(data: bytes) -> str:
    return base64.b64encode(struct.pack(">I", zlib.crc32(data))).decode()


def _xml(name: str, content: str) -> Reply:
    body = f'<{name} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{content}</{name}>'
    return Reply(200, body.encode(), {"Content-Type": "application/xml"})


def _error(status: int, code: str) -> Reply:
    body = f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()
    return Reply(status, body, {"Content-Type": "application/xml"})
