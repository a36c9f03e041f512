"""A table of sessions with the HTTP server, one line each: a name, what must come back, and what is sent.

What comes back is the statuses, and `close` if the server ends the connection; otherwise it must still answer `/ping`.
What is sent is bytes, pauses in seconds, and HALF_CLOSE. The times go with LIMITS.
"""
# ruff: noqa: E501  (one line each)

from musicgen_serving.http.connection import Limits

LIMITS = Limits(
    idle_seconds=0.6, head_seconds=0.4, body_seconds=0.4, response_seconds=1.0, linger_seconds=0.3, body_bytes=2**20
)  # fmt: skip
HALF_CLOSE = None
Session = tuple[str, str, tuple[bytes | float | None, ...]]

H = b"Host: x\r\n"
BODY = b'{"texts": ["a"]}'
LENGTH = b"Content-Length: 16\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
PING = b"GET /ping HTTP/1.1\r\n" + H + b"\r\n"
CHUNKS = b"10\r\n" + BODY + b"\r\n0\r\n\r\n"


def get(head: bytes = H, line: bytes = b"GET /ping HTTP/1.1") -> bytes:
    return line + b"\r\n" + head + b"\r\n"


def post(
    head: bytes = LENGTH, body: bytes = BODY, host: bytes = H, line: bytes = b"POST /invocations HTTP/1.1"
) -> bytes:
    return line + b"\r\n" + host + b"Content-Type: application/json\r\n" + head + b"\r\n" + body


def chunked(chunks: bytes) -> bytes:
    return post(CHUNKED, chunks)


POST = post()
HEAD_ONLY = post(body=b"")

# fmt: off
SESSIONS: list[Session] = [
    # Requests that are answered.
    ("ping", "200", (PING,)),
    ("invocation", "200", (POST,)),
    ("two pings", "200 200", (PING, 0.02, PING)),
    ("ping and invocation in one packet", "200 200", (PING + POST,)),
    ("three pipelined invocations", "200 200 200", (POST * 3,)),
    ("twenty pipelined pings", "200 " * 20, (PING * 20,)),
    ("pipelined after a body that is no JSON", "400 200", (post(b"Content-Length: 1\r\n", b"{") + POST,)),
    ("pipelined after an invalid field", "422 200", (post(b"Content-Length: 2\r\n", b"{}") + POST,)),
    ("pipelined after chunks", "200 200", (chunked(CHUNKS) + PING,)),
    ("request cut into two packets", "200", (POST[:40], 0.05, POST[40:])),
    ("request cut within a header's name", "200", (POST[:33], 0.05, POST[33:])),
    ("request cut within CR LF", "200", (POST[:27], 0.05, POST[27:])),
    ("body in single bytes", "200", (HEAD_ONLY, *(BODY[i:i + 1] for i in range(16)))),
    ("body after a pause", "200", (HEAD_ONLY, 0.15, BODY)),
    ("absolute target", "200", (get(line=b"GET http://x/ping HTTP/1.1"),)),
    ("absolute target in capitals", "200", (get(line=b"GET HTTP://X:80/ping HTTP/1.1"),)),
    ("ping with a body", "200", (get(H + b"Content-Length: 3\r\n") + b"abc",)),
    ("ping with a chunked body", "200", (get(H + CHUNKED) + b"3\r\nabc\r\n0\r\n\r\n",)),
    ("length with zeros in front", "200", (post(b"Content-Length: 0016\r\n"),)),
    ("length surrounded by spaces and tabs", "200", (post(b"Content-Length: \t 16 \t\r\n"),)),
    ("header names in capitals", "200", (b"POST /invocations HTTP/1.1\r\nHOST: x\r\nCONTENT-LENGTH: 16\r\n\r\n" + BODY,)),
    ("header without a value", "200", (get(H + b"X-Empty:\r\n"),)),
    ("header of Latin-1", "200", (get(H + b"X-Name: caf\xe9\r\n"),)),
    ("a hundred headers", "200", (get(H + b"X-A: b\r\n" * 100),)),
    ("headers of 15 KiB", "200", (get(H + b"X-A: " + b"b" * 15 * 1024 + b"\r\n"),)),
    ("no content type", "200", (b"POST /invocations HTTP/1.1\r\n" + H + LENGTH + b"\r\n" + BODY,)),
    ("upgrade to HTTP/2", "200", (get(H + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n"),)),
    ("invocation that offers an upgrade", "200", (post(LENGTH + b"Connection: Upgrade\r\nUpgrade: websocket\r\n"),)),
    # The end of a connection.
    ("connection: close", "200 close", (get(H + b"Connection: close\r\n"),)),
    ("connection: close in capitals, among others", "200 close", (get(H + b"Connection: foo, CLOSE\r\n"),)),
    ("pipelined after connection: close", "200 close", (get(H + b"Connection: close\r\n") + PING,)),
    ("HTTP/1.0", "200 close", (b"GET /ping HTTP/1.0\r\n\r\n",)),
    ("HTTP/1.0 that asks to keep alive", "200 close", (b"GET /ping HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",)),
    ("invocation of HTTP/1.0", "200 close", (post(line=b"POST /invocations HTTP/1.0", host=b""),)),
    ("HTTP/1.0 without a length", "411 close", (post(b"", b"", b"", b"POST /invocations HTTP/1.0"),)),
    ("nothing, then the end", "close", (HALF_CLOSE,)),
    ("ping, then the end", "200 close", (PING, HALF_CLOSE)),
    ("end within the request line", "400 close", (b"GET /pi", HALF_CLOSE)),
    ("end within the headers", "400 close", (b"GET /ping HTTP/1.1\r\nHost", HALF_CLOSE)),
    ("end within the body", "400 close", (HEAD_ONLY + BODY[:5], HALF_CLOSE)),
    ("end within a chunk", "400 close", (chunked(b"10\r\nabc"), HALF_CLOSE)),
    ("end before the last chunk", "400 close", (chunked(CHUNKS[:-5]), HALF_CLOSE)),
    ("end within the trailers", "400 close", (chunked(CHUNKS[:-2] + b"A: b\r\n"), HALF_CLOSE)),
    # Time.
    ("silence", "close", (0.9,)),
    ("silence after a ping", "200 close", (PING, 0.9)),
    ("a request line that stops", "408 close", (b"GET /ping",)),
    ("headers that stop", "408 close", (b"GET /ping HTTP/1.1\r\nHost: x\r\n",)),
    ("headers that trickle", "408 close", (b"GET /ping HTTP/1.1\r\n" + H, *(0.1, b"A: b\r\n") * 8)),
    ("a request line that trickles", "408 close", (b"G", *(0.1, b"E") * 8)),
    ("a body that stops", "408 close", (HEAD_ONLY + BODY[:5],)),
    ("a body that never starts", "408 close", (HEAD_ONLY,)),
    ("a body that trickles", "408 close", (post(b"Content-Length: 99\r\n", b""), *(0.1, b"a") * 8)),
    ("a chunk's length that stops", "408 close", (chunked(b"1"),)),
    ("a chunk that stops", "408 close", (chunked(b"10\r\nabc"),)),
    ("chunks that trickle", "408 close", (chunked(b""), *(0.1, b"1\r\n \r\n") * 8)),
    ("a chunk's extension that trickles", "408 close", (chunked(b"1;"), *(0.1, b"a") * 8)),
    ("trailers that stop", "408 close", (chunked(CHUNKS[:-2]),)),
    ("trailers that trickle", "408 close", (chunked(CHUNKS[:-2]), *(0.1, b"A: b\r\n") * 8)),
    ("second request that stops", "200 408 close", (PING + b"GET /",)),
    ("body that stops after 100 Continue", "100 408 close", (post(LENGTH + b"Expect: 100-continue\r\n", b""), 0.1, b"{")),
    # Expect.
    ("expect: 100-continue", "100 200", (post(LENGTH + b"Expect: 100-continue\r\n", b""), 0.1, BODY)),
    ("expect in capitals", "100 200", (post(LENGTH + b"EXPECT: 100-CONTINUE\r\n", b""), 0.1, BODY)),
    ("expect with chunks", "100 200", (post(CHUNKED + b"Expect: 100-continue\r\n", b""), 0.1, CHUNKS)),
    ("expect, too large", "413 close", (post(b"Content-Length: 1048577\r\nExpect: 100-continue\r\n", b""),)),
    ("expect, wrong path", "404 close", (post(LENGTH + b"Expect: 100-continue\r\n", b"", line=b"POST /x HTTP/1.1"),)),
    ("expect of HTTP/1.0 is ignored", "200 close", (post(LENGTH + b"Expect: 100-continue\r\n", line=b"POST /invocations HTTP/1.0"),)),
    ("another expectation is ignored", "200", (post(LENGTH + b"Expect: tea\r\n"),)),
    # Paths and methods.
    ("other path", "404 close", (get(line=b"GET / HTTP/1.1"),)),
    ("path with a query", "404 close", (get(line=b"GET /ping?a=b HTTP/1.1"),)),
    ("path with a slash at the end", "404 close", (get(line=b"GET /ping/ HTTP/1.1"),)),
    ("escaped path", "404 close", (get(line=b"GET /%70ing HTTP/1.1"),)),
    ("path with dots", "404 close", (get(line=b"GET /a/../ping HTTP/1.1"),)),
    ("asterisk", "404 close", (get(line=b"OPTIONS * HTTP/1.1"),)),
    ("absolute target without a path", "404 close", (get(line=b"GET http://x HTTP/1.1"),)),
    ("CONNECT to a host", "404 close", (get(line=b"CONNECT x:80 HTTP/1.1"),)),
    ("POST /ping", "405 close", (post(line=b"POST /ping HTTP/1.1"),)),
    ("GET /invocations", "405 close", (get(line=b"GET /invocations HTTP/1.1"),)),
    ("PUT /invocations", "405 close", (post(line=b"PUT /invocations HTTP/1.1"),)),
    ("DELETE /ping", "405 close", (get(line=b"DELETE /ping HTTP/1.1"),)),
    ("OPTIONS /ping", "405 close", (get(line=b"OPTIONS /ping HTTP/1.1"),)),
    ("TRACE /ping", "405 close", (get(line=b"TRACE /ping HTTP/1.1"),)),
    ("CONNECT /ping", "405 close", (get(line=b"CONNECT /ping HTTP/1.1"),)),
    ("method in small letters", "405 close", (get(line=b"get /ping HTTP/1.1"),)),
    ("invented method", "405 close", (get(line=b"BREW /ping HTTP/1.1"),)),
    ("HEAD has no body", "405 close", (get(line=b"HEAD /ping HTTP/1.1"),)),
    # Malformed request lines.
    ("empty line", "400 close", (b"\r\n",)),
    ("words", "400 close", (b"hello there\r\n\r\n",)),
    ("no version", "400 close", (b"GET /ping\r\n\r\n",)),
    ("two spaces", "400 close", (get(line=b"GET  /ping HTTP/1.1"),)),
    ("tab for space", "400 close", (get(line=b"GET\t/ping\tHTTP/1.1"),)),
    ("space in the path", "400 close", (get(line=b"GET /pi ng HTTP/1.1"),)),
    ("space before the method", "400 close", (get(line=b" GET /ping HTTP/1.1"),)),
    ("space after the version", "400 close", (get(line=b"GET /ping HTTP/1.1 "),)),
    ("NUL in the path", "400 close", (get(line=b"GET /pi\x00ng HTTP/1.1"),)),
    ("bytes beyond ASCII in the path", "400 close", (get(line=b"GET /p\xc3\xaeng HTTP/1.1"),)),
    ("parenthesis in the method", "400 close", (get(line=b"G(T /ping HTTP/1.1"),)),
    ("version in small letters", "400 close", (get(line=b"GET /ping http/1.1"),)),
    ("version of two digits", "400 close", (get(line=b"GET /ping HTTP/1.10"),)),
    ("version 2.0", "505 close", (get(line=b"GET /ping HTTP/2.0"),)),
    ("version 1.2", "505 close", (get(line=b"GET /ping HTTP/1.2"),)),
    ("version 0.9", "505 close", (get(line=b"GET /ping HTTP/0.9"),)),
    ("preface of HTTP/2", "505 close", (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",)),
    ("TLS", "400 close", (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",)),
    ("TLS without a line", "400 close", (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",)),
    # Malformed headers.
    ("no host", "400 close", (get(b""),)),
    ("two hosts", "400 close", (get(H + H),)),
    ("header without a colon", "400 close", (get(H + b"Name\r\n"),)),
    ("header without a name", "400 close", (get(H + b": value\r\n"),)),
    ("space before the colon", "400 close", (get(H + b"Name : value\r\n"),)),
    ("space before the first header", "400 close", (get(b" A: b\r\n" + H),)),
    ("folded header", "400 close", (get(H + b"A: b\r\n c\r\n"),)),
    ("header folded with a tab", "400 close", (get(H + b"A: b\r\n\tc\r\n"),)),
    ("lines ended by LF", "400 close", (b"GET /ping HTTP/1.1\nHost: x\n\n",)),
    ("one line ended by LF", "400 close", (get(b"Host: x\nA: b\r\n"),)),
    ("headers ended by LF LF", "400 close", (b"GET /ping HTTP/1.1\r\nHost: x\n\n",)),
    ("CR in a header", "400 close", (get(H + b"A: b\rc\r\n"),)),
    ("CR CR LF", "400 close", (get(H + b"A: b\r\r\n"),)),
    ("NUL in a header", "400 close", (get(H + b"A: b\x00c\r\n"),)),
    ("control character in a header", "400 close", (get(H + b"A: b\x01c\r\n"),)),
    ("escape sequence in a header", "400 close", (get(H + b"A: \x1b[31m\r\n"),)),
    ("DEL in a header", "400 close", (get(H + b"A: \x7f\r\n"),)),
    ("byte beyond ASCII in a header's name", "400 close", (get(H + b"N\xe4me: a\r\n"),)),
    # Size of the head.
    ("request line of 9 KiB", "414 close", (get(line=b"GET /" + b"a" * 9 * 1024 + b" HTTP/1.1"),)),
    ("request line of 40 KiB", "414 close", (get(line=b"GET /" + b"a" * 40 * 1024 + b" HTTP/1.1"),)),
    ("request line without end", "414 close", (b"GET /" + b"a" * 20 * 1024,)),
    ("headers of 17 KiB", "431 close", (get(H + b"A: " + b"b" * 17 * 1024 + b"\r\n"),)),
    ("headers of 200 KiB", "431 close", (get(H + b"A: b\r\n" * 34_000),)),
    ("header without end", "431 close", (b"GET /ping HTTP/1.1\r\nA: " + b"b" * 20 * 1024,)),
    # Content-Length.
    ("no length", "411 close", (post(b"", b""),)),
    ("length of 0", "400", (post(b"Content-Length: 0\r\n", b""),)),
    ("two equal lengths", "400 close", (post(LENGTH + LENGTH),)),
    ("two lengths", "400 close", (post(LENGTH + b"Content-Length: 5\r\n"),)),
    ("list of equal lengths", "400 close", (post(b"Content-Length: 16, 16\r\n"),)),
    ("list of lengths", "400 close", (post(b"Content-Length: 16, 5\r\n"),)),
    ("empty length", "400 close", (post(b"Content-Length:\r\n"),)),
    ("negative length", "400 close", (post(b"Content-Length: -16\r\n"),)),
    ("length with a plus", "400 close", (post(b"Content-Length: +16\r\n"),)),
    ("hexadecimal length", "400 close", (post(b"Content-Length: 0x10\r\n"),)),
    ("length with an exponent", "400 close", (post(b"Content-Length: 1e1\r\n"),)),
    ("length with an underscore", "400 close", (post(b"Content-Length: 1_6\r\n"),)),
    ("length in Arabic digits", "400 close", (post("Content-Length: \u0661\u0666\r\n".encode()),)),
    ("length of 30 digits", "400 close", (post(b"Content-Length: " + b"9" * 30 + b"\r\n"),)),
    ("length of 5,000 digits", "400 close", (post(b"Content-Length: " + b"9" * 5000 + b"\r\n"),)),
    ("length over the limit", "413 close", (post(b"Content-Length: 1048577\r\n", b"{"),)),
    ("length of an exabyte", "413 close", (post(b"Content-Length: 1000000000000000000\r\n", b"{"),)),
    ("body over the limit that is sent", "413 close", (post(b"Content-Length: 1048577\r\n", b" " * 1048577),)),
    ("body of exactly the limit", "400", (post(b"Content-Length: 1048576\r\n", b" " * 1048576),)),
    ("body longer than its length", "200 400 close", (POST + b"more\r\n\r\n",)),
    # Transfer-Encoding.
    ("chunks", "200", (chunked(CHUNKS),)),
    ("chunks, the coding in capitals", "200", (post(b"Transfer-Encoding: CHUNKED\r\n", CHUNKS),)),
    ("chunks of one byte", "200", (chunked(b"".join(b"1\r\n%c\r\n" % byte for byte in BODY) + b"0\r\n\r\n"),)),
    ("chunks of one byte, each in a packet", "200", (chunked(b""), *(b"1\r\n%c\r\n" % byte for byte in BODY), b"0\r\n\r\n")),
    ("chunk cut within its length", "200", (chunked(b"1"), 0.05, CHUNKS[1:])),
    ("chunk length with zeros in front", "200", (chunked(b"0000" + CHUNKS),)),
    ("chunk with an extension", "200", (chunked(b'10;name="value"' + CHUNKS[2:]),)),
    ("last chunk of several zeros", "200", (chunked(CHUNKS[:-5] + b"000\r\n\r\n"),)),
    ("trailers", "200", (chunked(CHUNKS[:-2] + b"A: b\r\nC: d\r\n\r\n"),)),
    ("no chunks", "400", (chunked(b"0\r\n\r\n"),)),
    ("chunks and a length", "400 close", (post(LENGTH + CHUNKED, CHUNKS),)),
    ("a length and chunks", "400 close", (post(CHUNKED + LENGTH, CHUNKS),)),
    ("chunks in HTTP/1.0", "400 close", (post(CHUNKED, CHUNKS, line=b"POST /invocations HTTP/1.0"),)),
    ("chunked twice", "501 close", (post(CHUNKED + CHUNKED, CHUNKS),)),
    ("chunked, chunked", "501 close", (post(b"Transfer-Encoding: chunked, chunked\r\n", CHUNKS),)),
    ("gzip, chunked", "501 close", (post(b"Transfer-Encoding: gzip, chunked\r\n", CHUNKS),)),
    ("identity", "501 close", (post(b"Transfer-Encoding: identity\r\n"),)),
    ("unknown coding", "501 close", (post(b"Transfer-Encoding: xchunked\r\n", CHUNKS),)),
    ("coding with a vertical tab", "400 close", (post(b"Transfer-Encoding: \x0bchunked\r\n", CHUNKS),)),
    ("space before the coding's colon", "400 close", (post(b"Transfer-Encoding : chunked\r\n", CHUNKS),)),
    # Chunk framing.
    ("chunk length in other letters", "400 close", (chunked(b"1g\r\n"),)),
    ("chunk length with 0x", "400 close", (chunked(b"0x10\r\n"),)),
    ("chunk length with a plus", "400 close", (chunked(b"+10\r\n"),)),
    ("negative chunk length", "400 close", (chunked(b"-1\r\n"),)),
    ("chunk length with an underscore", "400 close", (chunked(b"1_0\r\n"),)),
    ("empty chunk length", "400 close", (chunked(b"\r\n" + CHUNKS),)),
    ("chunk length after a space", "400 close", (chunked(b" 10" + CHUNKS[2:]),)),
    ("chunk length before a space", "400 close", (chunked(b"10 " + CHUNKS[2:]),)),
    ("chunk length of 17 digits", "400 close", (chunked(b"0" * 15 + CHUNKS),)),
    ("chunk length of 21 digits", "400 close", (chunked(b"f" * 21 + b"\r\n"),)),
    ("chunk length ended by LF", "400 close", (chunked(b"10\n" + BODY + b"\r\n0\r\n\r\n"),)),
    ("chunk ended by LF", "400 close", (chunked(b"10\r\n" + BODY + b"\n0\r\n\r\n"),)),
    ("chunk longer than its length", "400 close", (chunked(b"f\r\n" + BODY + b"\r\n0\r\n\r\n"),)),
    ("extension with LF", "400 close", (chunked(b"10;a\nb" + CHUNKS[2:]),)),
    ("extension with a control character", "400 close", (chunked(b"10;a\x00" + CHUNKS[2:]),)),
    ("extension of 20 KiB", "431 close", (chunked(b"10;" + b"a" * 20 * 1024),)),
    ("endless extensions", "400 close", (chunked((b"1;" + b"a" * 9000 + b"\r\n \r\n") * 9),)),
    ("endless tiny chunks", "400 close", (chunked(b"1\r\n \r\n" * 20_000),)),
    ("endless small chunks over the limit", "413 close", (chunked((b"8000\r\n" + b" " * 0x8000 + b"\r\n") * 40),)),
    ("chunk over the limit", "413 close", (chunked(b"ffffffff\r\n" + b" " * 1_100_000),)),
    ("trailers ended by LF", "400 close", (chunked(CHUNKS[:-2] + b"A: b\n\n"),)),
    ("folded trailer", "400 close", (chunked(CHUNKS[:-2] + b"A: b\r\n c\r\n\r\n"),)),
    ("trailer without a colon", "400 close", (chunked(CHUNKS[:-2] + b"A\r\n\r\n"),)),
    ("control character in a trailer", "400 close", (chunked(CHUNKS[:-2] + b"A: \x01\r\n\r\n"),)),
    ("trailers of 20 KiB", "431 close", (chunked(CHUNKS[:-2] + b"A: b\r\n" * 3500 + b"\r\n"),)),
    ("last chunk before a space", "400 close", (chunked(CHUNKS[:-5] + b"0 \r\n\r\n"),)),
    # Headers that the invocation reads.
    ("accept WAV", "200", (post(LENGTH + b"Accept: audio/wav\r\n"),)),
    ("accept something else", "406", (post(LENGTH + b"Accept: image/png\r\n"),)),
    ("accept with a quality of 0", "406", (post(LENGTH + b"Accept: application/json;q=0\r\n"),)),
    ("accept refused in a second header", "406", (post(LENGTH + b"Accept: image/png\r\nAccept: audio/wav;q=0\r\n"),)),
    ("accept given by a second header", "200", (post(LENGTH + b"Accept: image/png\r\nAccept: audio/wav\r\n"),)),
    ("accept of 10 KiB", "406", (post(LENGTH + b"Accept: " + b"a/b," * 2500 + b"\r\n"),)),
    ("accept of Latin-1", "406", (post(LENGTH + b"Accept: \xe9\xe9\r\n"),)),
    ("two content types", "415", (post(LENGTH + b"Content-Type: text/plain\r\n"),)),
    ("inference id with dots in front", "422", (post(LENGTH + b"X-Amzn-SageMaker-Inference-Id: ../a\r\n"),)),
    ("two inference ids", "422", (post(LENGTH + b"X-Amzn-SageMaker-Inference-Id: a\r\n" * 2),)),
    ("inference id of Latin-1", "422", (post(LENGTH + b"X-Amzn-SageMaker-Inference-Id: \xe9\r\n"),)),
    ("body beyond UTF-8", "400", (post(body=b'{"texts": ["\xff"]}'[:16]),)),
    ("body of NULs", "400", (post(body=b"\x00" * 16),)),
]
# fmt: on
