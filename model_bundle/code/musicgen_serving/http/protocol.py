"""One connection's HTTP/1.1 without I/O: h11, and the refusals of what h11 forgives.

h11 comes with the container: transformers needs huggingface_hub, that httpx, and that httpcore, which is built on h11.
A proxy may read a lenient spelling in another way than h11 does, so bytes that RFC 9112 does not allow are refused.
"""

import re
from http import HTTPStatus

import h11

from musicgen_serving.http.errors import BodyTooLargeError, ProtocolError
from musicgen_serving.http.response import Response

MAX_LINE_BYTES = 8 * 1024  # of the request line
MAX_HEAD_BYTES = 16 * 1024  # of request line and headers, and of the trailers
MAX_CHUNK_OVERHEAD_BYTES = 64 * 1024  # of chunk lengths and extensions in one body: 13,000 chunks without extensions
_NOT_ALLOWED = re.compile(rb"(?<!\r)\n|\r(?!\n)|\n[ \t]|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_CHUNK_HEAD = re.compile(rb"(?:\r\n)?[0-9A-Fa-f]{1,16}(?:;[\t\x20-\x7e\x80-\xff]*)?\r\n")
_STATUSES = frozenset(status.value for status in HTTPStatus)
_LENGTH = re.compile(rb"(?i)\r\ncontent-length:([^\r]*)")


class HttpProtocol:
    """Parses requests and frames responses; events are h11's."""

    def __init__(self, max_body_bytes: int) -> None:
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
        self._max_body_bytes = max_body_bytes
        self._wire = b""  # received, and not yet part of an event
        self._body_bytes = self._overhead_bytes = 0
        self._chunked = self._head_read = False
        self._method = b""

    @property
    def idle(self) -> bool:
        """Whether no byte of the next request has arrived."""
        return not self._wire

    @property
    def awaits_continue(self) -> bool:
        """Whether the client sends its body only after a response with status 100."""
        return self._h11.they_are_waiting_for_100_continue

    def receive(self, data: bytes) -> None:
        """Take bytes from the client; an empty string is the end of its side."""
        self._wire += data
        self._h11.receive_data(data)

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """Return the next event; ProtocolError or BodyTooLargeError for what is refused."""
        try:
            event = self._h11.next_event()
        except h11.RemoteProtocolError as error:
            raise self._refusal(error) from error
        if event is h11.NEED_DATA or event is h11.PAUSED:
            return event
        consumed = len(self._wire) - len(self._h11.trailing_data[0])
        wire, self._wire = self._wire[:consumed], self._wire[consumed:]
        if isinstance(event, h11.Request):
            self._check_request(event, wire)
            self._head_read = True
        elif isinstance(event, h11.Data):
            self._check_data(event, wire)
        elif isinstance(event, h11.EndOfMessage) and self._chunked:
            self._check_end(wire)
        return event

    def _refusal(self, error: h11.RemoteProtocolError) -> ProtocolError:
        """Return h11's reason as one sentence, without the bytes that it quotes."""
        if error.error_status_hint == HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE:
            return self._too_large(self._wire)
        reason = re.split(r":? b(?:ytearray\(b)?['\"]", str(error))[0].lower()
        return ProtocolError(error.error_status_hint, f"request must be valid HTTP/1.1: {reason}")

    def _too_large(self, wire: bytes) -> ProtocolError:
        if not self._head_read and len(wire.partition(b"\r\n")[0]) > MAX_LINE_BYTES:
            return ProtocolError(414, f"request line must be at most {MAX_LINE_BYTES} bytes, got more")
        return ProtocolError(431, f"headers must be at most {MAX_HEAD_BYTES} bytes, got more")

    def _check_request(self, request: h11.Request, wire: bytes) -> None:
        """Refuse a head that is too large, of another version, or that leaves open where the body ends."""
        self._method = request.method
        self._body_bytes = self._overhead_bytes = 0
        headers = dict(request.headers)
        self._chunked = b"transfer-encoding" in headers
        if len(wire) > MAX_HEAD_BYTES or len(wire.partition(b"\r\n")[0]) > MAX_LINE_BYTES:
            raise self._too_large(wire)
        if request.http_version not in (b"1.0", b"1.1"):
            raise ProtocolError(505, f"version must be HTTP/1.0 or HTTP/1.1, got {request.http_version.decode()}")
        if _NOT_ALLOWED.search(wire):
            raise ProtocolError(400, "headers must be one line each, ended by CR LF and without control characters")
        lengths = [value.strip(b" \t") for value in _LENGTH.findall(wire)]
        if len(lengths) > 1 or not all(length.isdigit() for length in lengths):
            raise ProtocolError(400, "Content-Length must be given once and be a number of bytes")
        if self._chunked and (lengths or request.http_version == b"1.0"):
            raise ProtocolError(400, "Transfer-Encoding must be used without Content-Length, in HTTP/1.1")
        if request.method == b"POST" and not self._chunked and not lengths:
            raise ProtocolError(411, "Content-Length must be given, or Transfer-Encoding: chunked")
        if lengths and int(lengths[0]) > self._max_body_bytes:
            raise BodyTooLargeError(f"body must be at most {self._max_body_bytes} bytes of JSON, got {int(lengths[0])}")

    def _check_data(self, data: h11.Data, wire: bytes) -> None:
        """Refuse a body over the limit, and chunks with other framing than RFC 9112, section 7.1."""
        self._body_bytes += len(data.data)
        if self._body_bytes > self._max_body_bytes:
            raise BodyTooLargeError(f"body must be at most {self._max_body_bytes} bytes of JSON, got more")
        framing = wire[: len(wire) - len(data.data)]
        self._overhead_bytes += len(framing)
        if self._overhead_bytes > MAX_CHUNK_OVERHEAD_BYTES:
            raise ProtocolError(400, f"chunk lengths must take at most {MAX_CHUNK_OVERHEAD_BYTES} bytes of the body")
        if data.chunk_start and not _CHUNK_HEAD.fullmatch(framing):
            raise ProtocolError(400, "a chunk must start with its length in at most 16 hexadecimal digits and CR LF")

    def _check_end(self, wire: bytes) -> None:
        """Refuse a last chunk or trailers that are too large or wrongly framed."""
        if len(wire) > MAX_HEAD_BYTES:
            raise self._too_large(wire)
        if _NOT_ALLOWED.search(wire) or not _CHUNK_HEAD.match(wire):
            raise ProtocolError(400, "the last chunk and trailers must be lines ended by CR LF, without control bytes")

    def continue_bytes(self) -> bytes:
        """Return the interim response that asks for the body."""
        return self._sent(h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue"))

    def response_bytes(self, response: Response, date: str, *, close: bool) -> list[bytes]:
        """Return the response's head and body; with `close` it says that the connection ends."""
        headers = [
            ("Date", date),
            ("Content-Type", response.content_type),
            ("Content-Length", str(len(response.body))),
            *response.extra_headers,
            *([("Connection", "close")] if close else []),
        ]
        reason = HTTPStatus(response.status).phrase if response.status in _STATUSES else ""
        head = h11.Response(status_code=response.status, headers=headers, reason=reason.encode())
        parts = [self._sent(head)]
        if self._method != b"HEAD":
            parts.append(self._sent(h11.Data(data=response.body)))
        self._sent(h11.EndOfMessage())
        return parts

    def _sent(self, event: h11.InformationalResponse | h11.Response | h11.Data | h11.EndOfMessage) -> bytes:
        return self._h11.send(event)

    def start_next(self) -> bool:
        """Get ready for the connection's next request; return False if there can be none."""
        if self._h11.our_state is not h11.DONE or self._h11.their_state is not h11.DONE:
            return False
        self._h11.start_next_cycle()
        self._head_read = False
        return True
