"""A table of lying sources: whatever they send, staging ends in time with the right object or an error that names the lie.

Each row is served over raw sockets to the real handler. Times are scaled down: the constants name what they replace.
"""

import io
import json
import math
import re
import socket
import tarfile
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

import stage_model.archive.staging_plan
import stage_model.handler
import stage_model.http
import stage_model.retry
from local_aws.emulator.certificates import make_certificates
from stage_model.archive.staging_plan import SizeLimits
from stage_model.handler import handler
from stage_model.http import tls_context
from tests.stage_model.fakes.lambda_runner import BUCKET, bundle
from tests.stage_model.fakes.lying_source import (
    Lie,
    LyingSource,
    after,
    also,
    change,
    chunked,
    cut,
    drip,
    endless,
    first,
    flip,
    honest,
    listing,
    raw,
    redirect,
    sibling,
)
from tests.stage_model.fakes.response_sink import ResponseSink
from tests.stage_model.fakes.s3 import LoopbackS3

REVISION = "0123456789abcdef0123456789abcdef01234567"
WEIGHTS, CONFIG, LISTING, ALL = "model.safetensors", "config.json", "listing", "*"
STAGED, CONTINUES = "staged", "continues in a new invocation"
NEAR = 4.0  # seconds of work: the deadline comes before any other limit
# Seconds, in place of 60, 3, 10, 60 and 120: reserves at the end of an invocation, limits of a wait and of an exchange
# without progress, and how long failures are retried.
RESERVE_S, EXIT_S, WAIT_S, EXCHANGE_S, STALL_S = 6.0, 1.0, 4.0, 6.0, 5.0
SLOW_NAME = "slow.example"
FILES = {
    CONFIG: json.dumps({"model_type": "musicgen", "dtype": "float32"}).encode(),
    "tokenizer.json": b'{"version": "1.0"}',
    WEIGHTS: save({"decoder.model.a": np.arange(9000, dtype="f4"), "text_encoder.b": np.arange(7, dtype="f4")}),
}
SIZE = len(FILES[WEIGHTS])


@dataclass(frozen=True)
class Row:
    """A source that lies about one kind of request, and what must come of it: an outcome, or a part of the error.

    `work_s` is the working time of the invocation; all of it plus the reserve bounds the row.
    """

    name: str
    about: str
    lie: Lie
    outcome: str
    work_s: float = 15.0


def name_of(row: Row) -> str:
    return row.name.replace(" ", "-")


def text(body: bytes | str) -> Lie:
    """Reply with another body."""
    return change(body=body.encode() if isinstance(body, str) else body)


def blob(name: object, **fields: object) -> dict[str, object]:
    """Return an entry of the listing."""
    return {"rfilename": name, "size": 2, "blobId": "0" * 40, **fields}


OK = b"HTTP/1.1 200 OK\r\n"
busy = change("429 Too Many Requests", b"slow down", Content_Range=None)
TABLE = [
    Row("an honest source", WEIGHTS, honest, STAGED),
    # Status lines
    Row("nothing", WEIGHTS, raw(), "gave up .* closed connection without response"),
    Row("nothing once", WEIGHTS, first(1, raw()), STAGED),
    Row("a hang", WEIGHTS, raw(30.0), "gave up .* (timed out|no complete reply within)"),
    Row("an empty status line", WEIGHTS, raw(b"\r\n\r\n"), "gave up .*BadStatusLine"),
    Row("a status line without a code", WEIGHTS, raw(b"HTTP/1.1\r\n\r\n"), "gave up .*BadStatusLine"),
    Row("a status of letters", WEIGHTS, raw(b"HTTP/1.1 abc OK\r\n\r\n"), "gave up .*BadStatusLine"),
    Row("a status of superscripts", WEIGHTS, raw(b"HTTP/1.1 2\xb2\xb2 OK\r\n\r\n"), "gave up .*BadStatusLine"),
    Row("a status of four digits", WEIGHTS, raw(b"HTTP/1.1 2000 OK\r\n\r\n"), "gave up .*BadStatusLine"),
    Row("a negative status", WEIGHTS, raw(b"HTTP/1.1 -200 OK\r\n\r\n"), "gave up .*BadStatusLine"),
    Row("HTTP of the next decade", WEIGHTS, raw(b"HTTP/9.0 200 OK\r\n\r\n"), "gave up .*UnknownProtocol"),
    Row("HTTP/0.9", WEIGHTS, raw(b"<html>hello</html>"), "gave up .*BadStatusLine"),
    Row("another protocol", LISTING, raw(b"SSH-2.0-OpenSSH_9.6\r\n"), "gave up .*BadStatusLine"),
    Row("zeros", LISTING, raw(bytes(3000)), "gave up .*BadStatusLine"),
    Row("terminal escapes", LISTING, raw(b"\x1b[2J\x9b31m\r\n\r\n"), r"BadStatusLine: \\x1b\[2J\\x9b31m"),
    Row("a status line of 70 kB", LISTING, raw(b"HTTP/1.1 200 " + b"k" * 70000 + b"\r\n\r\n"), "gave up .*LineTooLong"),
    # Statuses
    Row("101", WEIGHTS, change("101 Switching Protocols", b""), "was answered with 101"),
    Row("103 without end", WEIGHTS, change("103 Early Hints", b""), "was answered with 103"),
    Row("100 and then the reply", WEIGHTS, lambda r: (b"HTTP/1.1 100 Continue\r\n\r\n", r.head, r.body), STAGED),
    Row("204", WEIGHTS, change("204 No Content", b"", Content_Length=None), "was answered with 204"),
    Row("200 for a range", WEIGHTS, change("200 OK"), "must send bytes 0-"),
    Row("206 for the listing", LISTING, change("206 Partial Content"), "the Hub answered 206"),
    Row("304", CONFIG, change("304 Not Modified", b""), "was answered with 304"),
    Row("305", WEIGHTS, change("305 Use Proxy", b"", Location="http://127.0.0.1/"), "was answered with 305"),
    Row("400", WEIGHTS, change("400 Bad Request", b"no"), "was answered with 400"),
    Row("401", WEIGHTS, change("401 Unauthorized", b""), "gated or private: the Hub answered 401"),
    Row("404 of a listed file", CONFIG, change("404 Not Found", b""), "was answered with 404"),
    Row("404 of the listing", LISTING, change("404 Not Found", b""), "does not exist on the Hub"),
    Row("412", WEIGHTS, change("412 Precondition Failed", b""), "changed while it was read"),
    Row("416", WEIGHTS, change("416 Range Not Satisfiable", b""), "was answered with 416"),
    Row("418 for the listing", LISTING, change("418 I'm a teapot", b""), "the Hub answered 418"),
    Row("451", LISTING, change("451 Unavailable For Legal Reasons", b""), "the Hub answered 451"),
    Row("500 for ever", WEIGHTS, change("500 Oops", b""), "gave up .* answered 500"),
    Row("500 twice", WEIGHTS, first(2, change("500 Oops", b"")), STAGED),
    Row("502 twice", LISTING, first(2, change("502 Bad Gateway", b"<html>")), STAGED),
    Row("503 in the middle", WEIGHTS, after(2, first(4, change("503 Busy", b""))), STAGED),
    Row("429, 500, 502, 503, 504, 408, 425", CONFIG,
        lambda r: change(f"{[429, 500, 502, 503, 504, 408, 425, 206][min(r.count, 7)]} X", None if r.count > 6 else b"")(r), STAGED),
    # Retry-After
    Row("Retry-After 0", WEIGHTS, first(2, change("429 Busy", b"", Retry_After="0")), STAGED),
    Row("Retry-After too long", WEIGHTS, change("429 Busy", b"", Retry_After="3600"), "gave up .*asking for 3600 s more"),
    Row("Retry-After of 400 digits", WEIGHTS, change("429 Busy", b"", Retry_After="9" * 400), "asking for 3600 s more"),
    Row("Retry-After superscript", WEIGHTS, first(2, change("429 Busy", b"", Retry_After="\xb2")), STAGED),
    Row("Retry-After in Arabic", WEIGHTS,
        first(2, change("429 Busy", b"", Retry_After="٣".encode().decode("latin-1"))), STAGED),
    Row("Retry-After of the Hub in superscript", LISTING, first(2, change("503 Busy", b"", Retry_After="\xb9.\xb2")), STAGED),
    Row("RateLimit in superscript", LISTING, first(2, change("429 Busy", b"", RateLimit='"api";r=0;t=\xb3')), STAGED),
    Row("Retry-After negative", WEIGHTS, first(2, change("429 Busy", b"", Retry_After="-5")), STAGED),
    Row("Retry-After not a number", WEIGHTS, first(2, change("429 Busy", b"", Retry_After="nan")), STAGED),
    Row("Retry-After infinite", WEIGHTS, first(2, change("429 Busy", b"", Retry_After="inf")), STAGED),
    Row("Retry-After with an exponent", WEIGHTS, first(2, change("429 Busy", b"", Retry_After="1e9")), STAGED),
    Row("Retry-After a date", WEIGHTS, first(2, change("503 Busy", b"", Retry_After="Fri, 27 Nov 2026 10:00:00 GMT")), STAGED),
    Row("Retry-After beyond the deadline", WEIGHTS, change("429 Busy", b"", Retry_After="6"), CONTINUES, NEAR),
    # Lengths and ranges
    Row("Content-Length short", WEIGHTS, change(Content_Length="5"), "got Content-Length '5'"),
    Row("Content-Length long", WEIGHTS, change(Content_Length="99999"), "got Content-Length '99999'"),
    Row("Content-Length negative", WEIGHTS, change(Content_Length="-8"), "got Content-Length '-8'"),
    Row("Content-Length of letters", WEIGHTS, change(Content_Length="eight"), "got Content-Length 'eight'"),
    Row("Content-Length of 5000 digits", WEIGHTS, change(Content_Length="9" * 5000), "got Content-Length '9999"),
    Row("Content-Length superscript", WEIGHTS, change(Content_Length="\xb2"), r"got Content-Length '.xb2'"),
    Row("Content-Length twice", WEIGHTS, lambda r: (b"HTTP/1.1 206 P\r\nContent-Length: 7\r\n" + r.head.partition(b"\r\n")[2], r.body),
        "got Content-Length '7'"),
    Row("Content-Length twice, first right", WEIGHTS, change(content_length="7"), STAGED),
    Row("Content-Length of the listing long", LISTING, change(Content_Length="99999"), "gave up .* early"),
    Row("Content-Length of the listing huge", LISTING, change(Content_Length="9" * 30), "gave up .* early"),
    Row("Content-Length of the listing negative", LISTING, change(Content_Length="-1"), STAGED),
    Row("Content-Length of the listing short", LISTING, change(Content_Length="9"), "must be JSON in UTF-8"),
    Row("no Content-Length", WEIGHTS, change(Content_Length=None), STAGED),
    Row("no Content-Length, and cut", WEIGHTS, lambda r: change(body=r.body[:-1], Content_Length=None)(r), "gave up .* early"),
    Row("no Content-Range", WEIGHTS, change(Content_Range=None), "must send bytes .* got None"),
    Row("another Content-Range", WEIGHTS, change(Content_Range=f"bytes 1-8/{SIZE}"), "must send bytes 0-7"),
    Row("another total", WEIGHTS, change(Content_Range="bytes 0-7/8"), f"must send bytes 0-7/{SIZE}"),
    Row("an unknown total", WEIGHTS, change(Content_Range="bytes 0-7/*"), f"must send bytes 0-7/{SIZE}"),
    Row("Content-Range in lines", WEIGHTS, change(Content_Range="bytes\r\n 0-7"), "must send bytes"),
    Row("multipart ranges", WEIGHTS, change(Content_Range=None, Content_Type="multipart/byteranges"), "must send bytes"),
    # Versions
    Row("an ETag that changes", WEIGHTS, lambda r: change(ETag=f'"{r.count}"')(r), "its ETag .* became"),
    Row("an ETag that changes late", WEIGHTS, after(2, change(ETag='"other"')), "its ETag .* became"),
    Row("no ETag", WEIGHTS, change(ETag=None), STAGED),
    Row("a weak ETag", WEIGHTS, change(ETag='W/"a"'), STAGED),
    Row("an ETag in lines", WEIGHTS, change(ETag='"a\r\n b"'), STAGED),
    Row("an ETag of 60 kB", WEIGHTS, change(ETag=f'"{"a" * 60000}"'), STAGED),
    Row("an ETag of control characters", WEIGHTS, change(ETag='"\x01\x7f\xe9\x0b\x0c"'), STAGED),
    # Bodies
    Row("a body cut short", WEIGHTS, cut(lambda n: (n + 1) // 2), STAGED),
    Row("a body that is empty", WEIGHTS, cut(lambda n: 0), "gave up .* early"),
    Row("a body cut short once", CONFIG, first(1, cut(lambda n: n - 1)), STAGED),
    Row("a body that is empty once", CONFIG, first(1, cut(lambda n: 0)), STAGED),
    Row("a listing cut short once", LISTING, first(1, cut(lambda n: n // 2)), STAGED),
    Row("a listing that is empty once", LISTING, first(1, cut(lambda n: 0)), STAGED),
    Row("a body with more", WEIGHTS, cut(lambda n: n, b"HTTP/1.1 500 X\r\n\r\n"), STAGED),
    Row("other bytes of the weights", WEIGHTS, flip, "SHA-256|header|data_offsets|twice"),
    Row("other bytes of the last range", WEIGHTS, after(2, flip), "SHA-256|twice|other bytes"),
    Row("other bytes of config.json", CONFIG, flip, "git blob SHA-1"),
    Row("gzip not asked for", LISTING, change(body=b"\x1f\x8b\x08\0", Content_Encoding="gzip"), "must be JSON in UTF-8"),
    Row("gzip named only", WEIGHTS, change(Content_Encoding="gzip"), STAGED),
    # Chunks
    Row("chunks", WEIGHTS, chunked(), STAGED),
    Row("chunks of one byte", CONFIG, chunked(encode=lambda b: b"".join(b"1\r\n%c\r\n" % c for c in b) + b"0\r\n\r\n"), STAGED),
    Row("a chunk of letters", WEIGHTS, chunked(encode=lambda b: b"xyz\r\n" + b), "gave up .*"),
    Row("a negative chunk", LISTING, chunked(encode=lambda b: b"-5\r\n" + b), "gave up .*chunk|IncompleteRead"),
    Row("a negative chunk of a file", CONFIG, chunked(encode=lambda b: b"-5\r\n" + b), "gave up|SHA-1"),
    Row("a chunk of minus one", LISTING, chunked(encode=lambda b: b"-1\r\n" + b), "gave up|chunk"),
    Row("a huge chunk", LISTING, chunked(encode=lambda b: b"f" * 40 + b"\r\n" + b), "gave up|early"),
    Row("a huge chunk of a file", CONFIG, chunked(encode=lambda b: b"f" * 40 + b"\r\n" + b + b"x"), STAGED),
    Row("a chunk with an extension", CONFIG, chunked(encode=lambda b: b"%x;a=b\r\n" % len(b) + b + b"\r\n0\r\n\r\n"), STAGED),
    Row("an extension of 70 kB", CONFIG, chunked(encode=lambda b: b"%x;" % len(b) + b"a" * 70000), "gave up"),
    Row("no last chunk", CONFIG, chunked(encode=lambda b: b"%x\r\n" % len(b) + b + b"\r\n"), STAGED),
    Row("chunks cut short", LISTING, chunked(encode=lambda b: b"%x\r\n" % (len(b) + 9) + b), "gave up .*IncompleteRead"),
    Row("chunks and a Content-Length", WEIGHTS,
        lambda r: (r.head[:-2] + b"Transfer-Encoding: chunked\r\n\r\n", b"%x\r\n" % len(r.body) + r.body + b"\r\n0\r\n\r\n"), STAGED),
    Row("trailers", CONFIG, chunked(trailer=b"X-Sum: 1\r\nX-Other: 2\r\n\r\n"), STAGED),
    Row("endless trailers", CONFIG, endless(lambda r: r.chunked_body, b"X: 1\r\n" * 5000), "more than its reply"),
    # Too much
    Row("endless 100 Continue", LISTING, endless(lambda r: b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 2000), "more than its reply"),
    Row("endless headers", LISTING, endless(lambda r: OK, b"X: 1\r\n" * 5000), "more than its reply|more than 100 headers"),
    Row("endless headers of 100 Continue", LISTING, endless(lambda r: b"HTTP/1.1 100 C\r\n", b"X: 1\r\n" * 5000), "more than 100 headers"),
    Row("headers of 6 MB", LISTING, raw(OK + b"".join(b"X: %s\r\n" % (b"k" * 65000) for _ in range(99)) + b"\r\n"), "more than its reply"),
    Row("an endless header", LISTING, endless(lambda r: OK + b"X: ", b"k" * 1000), "gave up .*LineTooLong|more than"),
    Row("an endless listing", LISTING, endless(lambda r: OK + b"\r\n", b" " * 65536), "must be at most 8388608 bytes"),
    Row("an endless redirect", WEIGHTS, endless(lambda r: b"HTTP/1.1 302 F\r\nLocation: /\r\n\r\n", b" " * 9999), "must send"),
    Row("an endless error", LISTING, endless(lambda r: b"HTTP/1.1 500 Oops\r\n\r\n", b" " * 65536), "gave up .* answered 500"),
    Row("an endless body", WEIGHTS, endless(lambda r: r.head, b" " * 65536), "header|SHA-256"),
    # Redirects
    Row("a redirect", WEIGHTS, first(1, redirect("{path}?again"), honest), STAGED),
    Row("a redirect to another host", WEIGHTS, first(1, redirect("http://localhost:{port}{path}")), STAGED),
    Row("a redirect to TLS", WEIGHTS, first(1, redirect("https://localhost:{tls}{path}")), STAGED),
    Row("a circle", WEIGHTS, redirect("{path}"), "redirected more than 5 times"),
    Row("a circle of two hosts", LISTING,
        lambda r: redirect(f"http://{'localhost' if r.count % 2 else '127.0.0.1'}:{{port}}{{path}}")(r), "redirected more than 5 times"),
    Row("a redirect to nothing", WEIGHTS, change("302 Found", b"", Content_Range=None), "printable ASCII, got ''"),
    Row("a redirect to plain http", WEIGHTS, redirect("http://example.com/"), "must be https"),
    Row("a redirect from TLS to http", WEIGHTS,
        lambda r: redirect("https://127.0.0.1:{tls}{path}" if r.count == 0 else "http://127.0.0.1:{port}{path}")(r),
        "must lead to https"),
    Row("a redirect to a file", WEIGHTS, redirect("file:///etc/passwd"), "must be https"),
    Row("a redirect to data", LISTING, redirect("data:text/plain,x"), "must be https"),
    Row("a redirect with a user", WEIGHTS, redirect("http://user:secret@127.0.0.1:{port}{path}"), "user name"),
    Row("a redirect with an empty user", WEIGHTS, redirect("http://@127.0.0.1:{port}{path}"), "user name"),
    Row("a redirect in Latin-1", WEIGHTS, redirect("/caf\xe9"), "printable ASCII"),
    Row("a redirect in UTF-8", LISTING, redirect("/ж".encode().decode("latin-1")), "printable ASCII"),
    Row("a redirect with a space", WEIGHTS, redirect("/a b"), "printable ASCII"),
    Row("a redirect with a tab", WEIGHTS, redirect("/a\tb"), "printable ASCII"),
    Row("a redirect with a NUL", LISTING, redirect("/a\0b"), "printable ASCII"),
    Row("a redirect with an escape", WEIGHTS, redirect("/\x1b[2J"), "printable ASCII"),
    Row("a redirect in lines", WEIGHTS, redirect("/a\r\n b"), "printable ASCII"),
    Row("a redirect to a Latin-1 host", WEIGHTS, redirect("https://caf\xe9.example/"), "printable ASCII"),
    Row("a redirect to an open bracket", WEIGHTS, redirect("https://[::1"), "must be well-formed"),
    Row("a redirect to IPv6 rubbish", WEIGHTS, redirect("https://[::zz]/"), "must be well-formed|host"),
    Row("a redirect to an IPv6 zone", WEIGHTS, redirect("https://[fe80::1%25eth0]/"), "well-formed|host"),
    Row("a redirect to brackets in a name", LISTING, redirect("https://a[b]c/"), "well-formed|host"),
    Row("a redirect to port 99999", WEIGHTS, redirect("https://127.0.0.1:99999/"), "must be well-formed"),
    Row("a redirect to port -1", WEIGHTS, redirect("https://127.0.0.1:-1/"), "must be well-formed"),
    Row("a redirect to a port of letters", LISTING, redirect("https://127.0.0.1:http/"), "must be well-formed"),
    Row("a redirect to a superscript port", LISTING, redirect("https://127.0.0.1:\xb2/"), "printable ASCII"),
    Row("a redirect to no host", WEIGHTS, redirect("https:///path"), "must be https"),
    Row("a redirect to two dots", WEIGHTS, redirect("https://a..example/"), "host"),
    Row("a redirect to a long label", WEIGHTS, redirect(f"https://{'a' * 64}.example/"), "host"),
    Row("a redirect to a long host", LISTING, redirect(f"https://{'a.' * 200}example/"), "host"),
    Row("a redirect to a host of percents", WEIGHTS, redirect("https://%41.example/"), "host"),
    Row("a redirect of 60 kB", WEIGHTS, redirect("/" + "a" * 60000), "at most"),
    Row("a redirect to a closed port", WEIGHTS, redirect("https://127.0.0.1:1/"), "gave up .* failed"),
    Row("a redirect to TLS without TLS", WEIGHTS, redirect("https://127.0.0.1:{port}/"),
        "gave up .* 127.0.0.1 .*(handshake|no complete reply)"),  # on a busy machine the reply's deadline comes first
    # Listings
    Row("an empty listing", LISTING, text(""), "must be JSON in UTF-8"),
    Row("a listing in HTML", LISTING, text("<html>"), "must be JSON in UTF-8"),
    Row("a listing of a number", LISTING, text("7"), "must be a JSON object, got 7"),
    Row("a listing of null", LISTING, text("null"), "must be a JSON object, got None"),
    Row("a deep listing", LISTING, text("[" * 200_000), "must be JSON in UTF-8"),
    Row("a deep object", LISTING, text('{"a":' * 100_000), "must be JSON in UTF-8"),
    Row("deep siblings", LISTING, listing(siblings={"a": json.loads("[" * 900 + "]" * 900)}), "must have siblings"),
    Row("a deep sibling", LISTING, also(json.loads("[" * 900 + "]" * 900)), "a sibling in the Hub's listing must be an object"),
    Row("a deep size", LISTING, sibling(CONFIG, size=json.loads("[" * 900 + "]" * 900)), "the size of config.json"),
    Row("a number of 5000 digits", LISTING, text('{"sha": ' + "9" * 5000 + "}"), "must be JSON in UTF-8"),
    Row("a listing in UTF-16", LISTING, lambda r: change(body=r.body.decode().encode("utf-16"))(r), "must be JSON in UTF-8"),
    Row("a listing of wrong bytes", LISTING, text(b'{"sha": "\xff\xfe'), "must be JSON in UTF-8"),
    Row("another commit", LISTING, listing(sha="f" * 40), "must resolve to that commit"),
    Row("a commit of a surrogate", LISTING, listing(sha="\ud800"), "must resolve to that commit"),
    Row("no commit", LISTING, listing(sha=None), "must resolve to that commit, got None"),
    Row("siblings of a number", LISTING, listing(siblings=5), "must have siblings"),
    Row("siblings of an object", LISTING, listing(siblings={"a": 1}), "must have siblings"),
    Row("no siblings", LISTING, listing(siblings=[]), "must hold"),
    Row("a sibling of null", LISTING, also(None), "a sibling in the Hub's listing must be an object"),
    Row("a name of a number", LISTING, also(blob(7)), STAGED),
    Row("a name of a surrogate", LISTING, also(blob("\ud800.json")), STAGED),
    Row("a name in Cyrillic", LISTING, also(blob("ж.json")), STAGED),
    Row("a name with a NUL", LISTING, also(blob("a\0.json")), STAGED),
    Row("a name with a newline at its end", LISTING, also(blob("a.json\n")), STAGED),
    Row("a path traversal", LISTING, also(blob("../evil.json")), STAGED),
    Row("an absolute path", LISTING, also(blob("/etc/passwd.json")), STAGED),
    Row("a path of Windows", LISTING, also(blob("C:\\evil.json")), STAGED),
    Row("a listed file that is missing", LISTING, also(blob("more.json")), "must send|was answered"),
    Row("a name listed twice", LISTING, also(blob(CONFIG)), "twice"),
    Row("names that differ in case", LISTING, also(blob("CONFIG.JSON", size=0, blobId="e69de29bb2d1d6434b8b29ae775ad8c2e48c5391")), STAGED),
    Row("a negative size", LISTING, sibling(CONFIG, size=-1), "the size of config.json must be a number of bytes, got -1"),
    Row("a size of true", LISTING, sibling(CONFIG, size=True), "the size of config.json .* got True"),
    Row("a size of text", LISTING, sibling(CONFIG, size="12"), "the size of config.json .* got '12'"),
    Row("a size of NaN", LISTING, sibling(CONFIG, size=float("nan")), "the size of config.json .* got nan"),
    Row("a huge size", LISTING, sibling(CONFIG, size=10**300), "the size of config.json"),
    Row("a size over the limit", LISTING, sibling(CONFIG, size=1 << 30), "config.json must be at most 16777216 bytes"),
    Row("a wrong size", LISTING, sibling(CONFIG, size=3), "must send bytes"),
    Row("a size of zero", LISTING, sibling(CONFIG, size=0), "config.json must have git blob SHA-1"),
    Row("a wrong LFS size", LISTING, sibling(WEIGHTS, lfs={"sha256": "0" * 64, "size": SIZE - 1}), f"got 'bytes 0-7/{SIZE}'"),
    Row("a wrong SHA-256", LISTING, sibling(WEIGHTS, lfs={"sha256": "0" * 64, "size": SIZE}), "must have SHA-256 0000"),
    Row("a SHA-256 of letters", LISTING, sibling(WEIGHTS, lfs={"sha256": "x" * 64, "size": SIZE}, blobId=""), "must give a checksum"),
    Row("weights without LFS", LISTING, sibling(WEIGHTS, lfs=None), "must be an LFS file"),
    Row("an LFS of text", LISTING, sibling(CONFIG, lfs="yes"), STAGED),
    Row("a wrong SHA-1", LISTING, sibling(CONFIG, blobId="f" * 40), "config.json must have git blob SHA-1 ffff"),
    Row("a SHA-1 of a surrogate", LISTING, sibling(CONFIG, blobId="\ud800"), "must give a checksum for config.json"),
    # Trickles, one byte at a time
    Row("a trickling status line", LISTING, drip(honest), "gave up .* no complete reply"),
    Row("a trickling status line of a file", WEIGHTS, drip(honest), "gave up .* no complete reply"),
    Row("trickling headers", LISTING, drip(honest, 20), "gave up .* no complete reply"),
    Row("a trickling listing", LISTING, drip(honest, 100), "gave up .* no complete reply"),
    Row("a trickling 100 Continue", LISTING, drip(endless(lambda r: b"", b"HTTP/1.1 100 C\r\n\r\n")), "gave up .* no complete reply"),
    Row("a trickling redirect", LISTING, drip(change("302 F", b"k" * 999, Location="/"), 60), "gave up .* no complete reply"),
    Row("a trickling redirect of a file", WEIGHTS, drip(change("302 F", b"k" * 999, Location="/"), 200), "gave up .* no complete reply"),
    Row("a trickling error", LISTING, drip(change("500 Oops", b"k" * 999), 60), "gave up .* answered 500"),
    Row("a trickling handshake", WEIGHTS, redirect("https://127.0.0.1:{mute}/"), "gave up .* (timed out|no complete reply within)"),
    Row("trickling trailers", CONFIG, drip(chunked(trailer=b"X: 1\r\n" * 99 + b"\r\n"), 300), STAGED),
    Row("a name that is not resolved in time", WEIGHTS, redirect(f"https://{SLOW_NAME}/"), "gave up .* (timed out|no complete reply within)"),
    # Trickles that meet the deadline
    Row("a late hang", LISTING, raw(30.0), CONTINUES, 2.5),
    Row("a late status line", LISTING, drip(honest), CONTINUES, NEAR),
    Row("late headers", WEIGHTS, drip(honest, 20), CONTINUES, NEAR),
    Row("a late listing", LISTING, drip(honest, 100), CONTINUES, NEAR),
    Row("a late 100 Continue", LISTING, drip(endless(lambda r: b"", b"HTTP/1.1 100 C\r\n\r\n")), CONTINUES, NEAR),
    Row("a late redirect", LISTING, drip(change("302 F", b"k" * 999, Location="/"), 60), CONTINUES, NEAR),
    Row("a late redirect of a file", WEIGHTS, drip(change("302 F", b"k" * 999, Location="/"), 200), CONTINUES, NEAR),
    Row("a late config.json", CONFIG, drip(honest, 190), CONTINUES, NEAR),
    Row("a late range", WEIGHTS, after(2, drip(honest, 1000)), CONTINUES, NEAR),
    Row("late chunks", WEIGHTS, after(2, drip(chunked(), 1000)), CONTINUES, NEAR),
    Row("a late handshake", WEIGHTS, redirect("https://127.0.0.1:{mute}/"), CONTINUES, 2.5),
    Row("a late range over TLS", WEIGHTS,
        lambda r: redirect("https://localhost:{tls}{path}")(r) if r.count == 0 else drip(honest, 190)(r), CONTINUES, NEAR),
    Row("a name that is resolved too late", WEIGHTS, redirect(f"https://{SLOW_NAME}/"), CONTINUES, 2.5),
]  # fmt: skip


@dataclass
class Ended:
    """How a row ended: the responses, the events for new invocations, what was raised, and the seconds it took."""

    responses: list[dict[str, Any]]
    continued: int
    crash: BaseException | None
    seconds: float


class Invocation:
    """Lambda's context object for one row."""

    def __init__(self, row: int, work_s: float) -> None:
        self.invoked_function_arn = f"row-{row}"
        self._end = time.monotonic() + work_s + RESERVE_S

    def get_remaining_time_in_millis(self) -> int:
        """Return the time left."""
        return int(1000 * (self._end - time.monotonic()))


class Bench:
    """Runs rows, many at once, each under its own key prefix of one S3."""

    def __init__(self, source: LyingSource, s3: LoopbackS3, sink: ResponseSink) -> None:
        self.source, self.s3, self.sink = source, s3, sink
        self.continued: list[str] = []

    def prefix(self, number: int) -> str:
        return f"models/Stack/Row{number}/"

    def run_in_time(self, number: int, row: Row) -> Ended:
        """Run a row, on a thread of its own that is left behind if it does not end with its invocation."""
        ended: list[Ended] = []
        thread = threading.Thread(target=lambda: ended.append(self.run(number, row)), daemon=True)
        thread.start()
        thread.join(row.work_s + RESERVE_S + 1.0)
        return ended[0] if ended else Ended([], 0, None, math.inf)

    def run(self, number: int, row: Row) -> Ended:
        self.source.lies[number] = (row.about, row.lie)
        properties = {
            "ModelId": f"facebook/row-{number}", "Revision": REVISION, "DecoderDtype": "float32", "CodeBucket": "assets",
            "CodeKey": "bundle.zip", "ModelBucket": BUCKET, "KeyPrefix": self.prefix(number),
        }  # fmt: skip
        event = {
            "RequestType": "Create", "ResponseURL": self.sink.url, "StackId": "stack", "RequestId": f"row-{number}",
            "LogicalResourceId": f"Row{number}", "ResourceProperties": properties,
        }  # fmt: skip
        crash, began = None, time.monotonic()
        try:
            handler(event, Invocation(number, row.work_s))
        except Exception as error:
            crash = error
        seconds = time.monotonic() - began
        responses = [response for response in self.sink.responses if response["RequestId"] == event["RequestId"]]
        return Ended(responses, self.continued.count(f"row-{number}"), crash, seconds)

    def continue_in_new_invocation(self, function_arn: str, event: Mapping[str, Any]) -> None:
        """Record an event, in place of Lambda's API."""
        self.continued.append(event["RequestId"])

    def staged(self, number: int) -> dict[str, bytes]:
        """Return the objects under a row's prefix except its record."""
        prefix = f"{BUCKET}/{self.prefix(number)}"
        return {k: v for k, v in self.s3.objects.items() if k.startswith(prefix) and "/runs/" not in k}

    def uploads(self, number: int) -> int:
        prefix = f"{BUCKET}/{self.prefix(number)}"
        return sum(upload.key.startswith(prefix) for upload in self.s3.uploads.values())


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """A source, S3 and the response URL for all rows, with times scaled down."""
    certificates = make_certificates(tmp_path_factory.mktemp("certificates"))
    lock, resolve = threading.Lock(), socket.getaddrinfo
    create = stage_model.handler.s3_client.__wrapped__  # rows run in containers of their own

    def s3_client() -> Any:
        with lock:  # boto3's default session does not create clients on two threads at once
            return create()

    tls_context.cache_clear()

    def getaddrinfo(host: str, *more: Any, **named: Any) -> Any:
        if host == SLOW_NAME:
            time.sleep(30)
            raise socket.gaierror("unknown")
        return resolve(host, *more, **named)

    source = LyingSource(FILES, REVISION, WEIGHTS, certificates.server_context())
    with source, LoopbackS3() as s3, ResponseSink() as sink, pytest.MonkeyPatch.context() as patch:
        bench = Bench(source, s3, sink)
        s3.strict = False
        s3.objects["assets/bundle.zip"] = bundle({"inference.py": b"model_fn = None\n"})
        for name, value in {
            "HF_ENDPOINT": source.url, "AWS_ENDPOINT_URL": s3.url, "AWS_ACCESS_KEY_ID": "test", "AWS_REGION": "us-east-1",
            "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true",
            "SSL_CERT_FILE": str(certificates.authority),
        }.items():  # fmt: skip
            patch.setenv(name, value)
        patch.setattr(socket, "getaddrinfo", getaddrinfo)
        patch.setattr(stage_model.handler, "s3_client", s3_client)
        patch.setattr(stage_model.handler, "invoke_async", bench.continue_in_new_invocation)
        patch.setattr(stage_model.handler, "CONTINUATION_RESERVE_S", RESERVE_S)
        patch.setattr(stage_model.handler, "EXIT_RESERVE_S", EXIT_S)
        patch.setattr(stage_model.handler, "THREADS", 2)
        patch.setattr(stage_model.http.Connections.__init__, "__defaults__", (WAIT_S, None))
        patch.setattr(stage_model.http, "EXCHANGE_S", EXCHANGE_S)
        patch.setattr(stage_model.retry.RetryBudget.__init__, "__defaults__", (STALL_S, 0.02, 0.1, 3 * STALL_S))
        patch.setattr(stage_model.archive.staging_plan, "SizeLimits", lambda: SizeLimits(part_blocks=1))
        yield bench
    tls_context.cache_clear()


@pytest.fixture(scope="module")
def ended(bench: Bench, request: pytest.FixtureRequest) -> dict[int, Ended]:
    """How each selected row ended: they run at once, since most of their time is waiting."""
    items: list[Any] = [item for item in request.session.items if item.path == Path(__file__)]
    selected: list[int] = [item.callspec.params["number"] for item in items]
    with ThreadPoolExecutor(24) as pool:
        results = pool.map(bench.run_in_time, selected, [TABLE[number] for number in selected])
        return dict(zip(selected, results, strict=True))


@pytest.mark.parametrize("number", range(len(TABLE)), ids=map(name_of, TABLE))
def test_a_lie_ends_in_time_with_the_right_object_or_an_error_that_names_it(
    number: int, ended: dict[int, Ended], bench: Bench
) -> None:
    row, end = TABLE[number], ended[number]
    assert end.crash is None
    assert end.seconds <= row.work_s + RESERVE_S
    if row.outcome == CONTINUES:
        assert (end.continued, end.responses, bench.staged(number)) == (1, [], {})
        return
    assert not end.continued
    response = end.responses[0]
    assert all(other == response for other in end.responses)  # sent again where the answer to the first was late
    reason = response.get("Reason", "")
    assert "unexpected" not in reason, reason
    if row.outcome == STAGED:
        assert response["Status"] == "SUCCESS", reason
        assert holds_the_published_files(bench.staged(number), response["PhysicalResourceId"])
    else:
        assert response["Status"] == "FAILED"
        assert response["PhysicalResourceId"] == f"{bench.prefix(number)}unstaged"
        assert re.search(row.outcome, reason), reason
        assert bench.staged(number) == {} and reason.isascii() and reason.isprintable()
    assert bench.uploads(number) == 0


def holds_the_published_files(staged: dict[str, bytes], physical_id: str) -> bool:
    """Return whether the only object is this tarball, and holds the published files unchanged."""
    (data,) = (staged.pop(key) for key in (f"{BUCKET}/{physical_id}",) if not staged.keys() - {key})
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
        files = {info.name: file.read() for info in archive if (file := archive.extractfile(info))}
    return all(files.get(name) == content for name, content in FILES.items())
