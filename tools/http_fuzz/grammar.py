"""Generate HTTP requests from a grammar: valid, almost valid and broken; each follows from a seed and its number."""

import json
import random
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

BROKEN = 0.04  # how often a part of a request is not as it should be
METHODS = ["HEAD", "PUT", "OPTIONS", "CONNECT", "get", "P\x00ST", "", "A" * 9000]
TARGETS = ["/", "*", "http://x/ping", "/ping?a", "/pi ng", "/\x7f", "/" * 9000, ""]
VERSIONS = ["HTTP/1.0", "HTTP/2.0", "HTTP/1.2", "http/1.1", "HTTP/1.1 ", "HTTP/11", ""]
HOSTS = [[], ["Host: x", "Host: y"], ["Host:"], ["Host : x"]]
LINE_ENDS = ["\n", "\r", "\r\r\n", "\n\r"]
LENGTHS = ["-1", "+5", "0x10", "1e3", "", "9" * 25, "9" * 5000, "5, 5", "1048577", "\x0b5", "\u0665", "5 5"]
CODINGS = ["CHUNKED", "gzip, chunked", "identity", "chunked, chunked", "x", "", "\x0bchunked"]
EXTRAS = [
    "Accept: audio/wav", "Accept: */*;q=0", "Accept: audio/wav;q=0, */*", "Accept: ,", "Accept: \xff", "Accept: a;q=x",
    "Connection: close", "Connection: keep-alive", "Connection: Upgrade", "Upgrade: h2c", "Expect: 100-continue",
    "Expect: tea", "Content-Type: text/plain", "Content-Type: application/octet-stream", "X-A: b\r\n c", "X-A: \x00",
    "X-A: \x1b[2J", "X-A:" + "b" * 9000, "X-A", ": b", "X A: b", "X-Amzn-SageMaker-Inference-Id: ../../x",
    "X-Amzn-SageMaker-Inference-Id: fuzz-1", "X-Amzn-SageMaker-Inference-Id: " + "a" * 99,
    "Trailer: X-A", "TE: trailers",
]  # fmt: skip
SIZES = [
    "%x",
    "%X",
    "0%x",
    "%x ",
    " %x",
    "0x%x",
    "%x;a=b",
    "%x;" + "e" * 300,
    "+%x",
    "-%x",
    "%xg",
    "%x\n",
    "f" * 17,
    "",
]
VALUES = [None, True, 0, -1, 1e400, 2**70, "", "a", "\ud800", "é" * 400, [], {}, ["a"], [["a"]], {"a": 1}]
FIELDS = ["max_new_tokens", "duration", "guidance_scale", "do_sample", "temperature", "top_k", "top_p", "seed", "other"]
OPTIONAL = [
    "unconditional_clips", "negative_prompt", "bucket_name", "return_tokens", "progress", "format", "normalization",
    "fade_in", "fade_out", "trim_tail", "tags", "other",
]  # fmt: skip
NASTY = [
    b"\x00",
    b"\r",
    b"\n",
    b"\r\n",
    b"\r\n\r\n",
    b" ",
    b"\t",
    b":",
    b",",
    b";",
    b"\xff",
    b"0\r\n\r\n",
    b"GET / HTTP/1.1",
]


@dataclass(frozen=True)
class Case:
    """What one client sends: packets, and then either the end of its side or nothing more."""

    packets: tuple[bytes, ...]
    requests: int
    half_close: bool

    @property
    def has_head_request(self) -> bool:
        return any(b"HEAD" in packet for packet in self.packets)


def generate(seed: int, number: int) -> Case:
    """Return case `number` of a seed: one to three requests on one connection."""
    rng = random.Random(f"{seed}/{number}")
    requests = [_request(rng) for _ in range(rng.choice([1, 1, 1, 2, 3]))]
    data = b"".join(requests)
    if rng.random() < 0.2:
        data = _mutated(rng, data)
    cuts = sorted(rng.randrange(len(data) + 1) for _ in range(rng.choice([0, 0, 0, 1, 3])))
    packets = tuple(data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True) if end > start)
    return Case(packets, len(requests), half_close=rng.random() > 0.02)


def _request(rng: random.Random) -> bytes:
    body = _body(rng)
    framing, body = _framed(rng, body)
    lines = [*_mostly(rng, ["Host: x"], HOSTS), *framing, *rng.sample(EXTRAS, rng.choice([0, 0, 1, 2]))]
    lines += _mostly(rng, ["Content-Type: application/json"], [[]])
    rng.shuffle(lines)
    method, target = rng.choice([("POST", "/invocations")] * 3 + [("GET", "/ping")])
    line = f"{_mostly(rng, method, METHODS)} {_mostly(rng, target, TARGETS)} {_mostly(rng, 'HTTP/1.1', VERSIONS)}"
    end = _mostly(rng, "\r\n", LINE_ENDS)
    head = "".join(part + rng.choice(["\r\n", end]) for part in [line, *lines, ""])
    return head.encode("utf-8" if rng.random() < BROKEN else "latin-1", "replace") + body


def _mostly(rng: random.Random, right: T, wrong: list[T]) -> T:
    return rng.choice(wrong) if rng.random() < BROKEN else right


def _framed(rng: random.Random, body: bytes) -> tuple[list[str], bytes]:
    """Return the headers that say where the body ends, mostly rightly, and the body as sent."""
    match rng.choices(["length", "chunks", "odd length", "wrong length", "none", "both"], [50, 35, 4, 4, 3, 4])[0]:
        case "length":
            return [f"Content-Length: {len(body)}"], body
        case "chunks":
            repeated = _mostly(rng, 1, [2])
            return [f"Transfer-Encoding: {_mostly(rng, 'chunked', CODINGS)}"] * repeated, _chunks(rng, body)
        case "odd length":
            return [f"Content-Length: {rng.choice(LENGTHS)}"], body
        case "wrong length":
            return [f"Content-Length: {len(body) + rng.choice([-1, 1, 10])}"] * rng.choice([1, 2]), body
        case "both":
            return ["Transfer-Encoding: chunked", f"Content-Length: {len(body)}"], _chunks(rng, body)
        case _:
            return [], body


def _chunks(rng: random.Random, body: bytes) -> bytes:
    sent, rest = b"", body
    while rest:
        size = rng.choice([1, 3, 16, 1000, len(rest)])
        piece, rest = rest[:size], rest[size:]
        form = rng.choice(SIZES) if rng.random() < 0.02 else "%x"
        head = form % len(piece) if "%" in form else form
        end = rng.choice(LINE_ENDS) if rng.random() < 0.02 else "\r\n"
        sent += head.encode() + end.encode() + piece + b"\r\n"
    trailers = _mostly(rng, b"", [b"X-A: b\r\n", b"X-A: b\n", b"X A\r\n", b"X-A: b\r\n" * 3000])
    return sent + _mostly(rng, b"0", [b"000", b"0;e", b"0 ", b""]) + b"\r\n" + trailers + b"\r\n"


def _body(rng: random.Random) -> bytes:
    kind = rng.random()
    if kind < 0.4:
        return json.dumps({"texts": ["a"] * rng.choice([1, 1, 2, 16])}).encode()
    if kind < 0.8:
        params = {rng.choice(FIELDS): rng.choice(VALUES) for _ in range(rng.choice([0, 1, 2]))}
        fields = {"texts": rng.choice([["a"], rng.choice(VALUES)]), "generation_params": params}
        if rng.random() < 0.3:
            fields[rng.choice(OPTIONAL)] = rng.choice(VALUES)
        return json.dumps(fields).encode()
    return rng.choice(
        [b"", b"{", b"[" * 3000, rng.randbytes(60), b'"\xff"', b"1" * 5000, b" " * 70_000, b"null", b"NaN"]
    )


def _mutated(rng: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 5])):
        at = rng.randrange(len(changed) + 1)
        match rng.randrange(4):
            case 0:
                changed[at:at] = rng.choice(NASTY)
            case 1:
                del changed[at : at + rng.choice([1, 2, 20])]
            case 2:
                changed[at : at + 1] = rng.randbytes(1)
            case _:
                changed[at:at] = changed[at : at + 30]
    return bytes(changed)
