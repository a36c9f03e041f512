"""Reading a request's body from the connection: both framings, their limits and malformed input."""

import io
from email.message import Message

import pytest

from musicgen_serving.http.errors import BodyTooLargeError, MalformedBodyError
from musicgen_serving.http.server import RequestBody


def body_of(data: bytes, limit: int = 100, **headers: str) -> RequestBody:
    message = Message()
    for name, value in headers.items():
        message[name.replace("_", "-")] = value
    return RequestBody(io.BytesIO(data), message, limit)


def test_reads_content_length_bytes_and_leaves_the_rest() -> None:
    body = body_of(b"abcdef", Content_Length="4")
    assert (body.read(), body.drained) == (b"abcd", True)


def test_joins_chunks_and_skips_trailers() -> None:
    body = body_of(b"3\r\nabc\r\nA;ext=1\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n", Transfer_Encoding="chunked")
    assert (body.read(), body.drained) == (b"abc0123456789", True)


@pytest.mark.parametrize("length", ["", "-1", "1e3", "٣", "9" * 30])
def test_rejects_an_invalid_content_length(length: str) -> None:
    with pytest.raises(MalformedBodyError, match="Content-Length must be a number of bytes, got"):
        body_of(b"abc", Content_Length=length).read()


def test_rejects_a_body_without_a_length() -> None:
    with pytest.raises(MalformedBodyError, match="Content-Length must be a number of bytes, got None"):
        body_of(b"abc").read()


def test_rejects_a_long_body_before_reading_it() -> None:
    body = body_of(b"abc", limit=2, Content_Length="3")
    with pytest.raises(BodyTooLargeError, match="body must be at most 2 bytes, got 3"):
        body.read()
    assert not body.drained


def test_rejects_chunks_over_the_limit() -> None:
    with pytest.raises(BodyTooLargeError, match="body must be at most 4 bytes, got 6"):
        body_of(b"3\r\nabc\r\n3\r\nabc\r\n0\r\n\r\n", limit=4, Transfer_Encoding="chunked").read()


@pytest.mark.parametrize("data", [b"", b"zz\r\n", b"\r\n", b"-1\r\n", b"1" * 2000, b"5\r\nab"])
def test_rejects_malformed_chunks(data: bytes) -> None:
    with pytest.raises(MalformedBodyError):
        body_of(data, Transfer_Encoding="chunked").read()


def test_rejects_a_body_that_ends_early() -> None:
    with pytest.raises(MalformedBodyError, match="body must be 9 bytes, got 3 before the connection ended"):
        body_of(b"abc", Content_Length="9").read()
