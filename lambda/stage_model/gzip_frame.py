"""One gzip member of stored deflate blocks (RFC 1951 §3.2.4, RFC 1952), so that every offset is known in advance.

Payload byte `i` of a part lies at a fixed place of the framed part, so readers fill the framed buffer directly. A
single member is used because Java's GZIPInputStream may stop after the first of several and Python's `r|gz` refuses
them.
"""

import struct
from collections.abc import Iterator

BLOCK = 65535  # bytes: the longest stored block
_BLOCK_HEADER = 5  # bytes: final flag and type, length, its complement
_HEADER = bytes([0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 255])  # no name, no time, unknown system: equal inputs, equal bytes
_LAST_BLOCK = b"\x01\x00\x00\xff\xff"  # empty, marked final
_TRAILER = 8  # bytes: CRC-32 and length of the payload


class GzipFraming:
    """Turns parts of a payload into parts of a gzip member."""

    def framed_length(self, payload_length: int, first: bool, last: bool) -> int:
        """Return a part's length in bytes once framed; the `first` carries the header, the `last` the trailer."""
        blocks = -(-payload_length // BLOCK)
        ends = len(_HEADER) * first + (len(_LAST_BLOCK) + _TRAILER) * last
        return payload_length + _BLOCK_HEADER * blocks + ends

    def write_headers(self, frame: memoryview, payload_length: int, first: bool) -> None:
        """Write the gzip header (first part only) and the header of every stored block into `frame`."""
        base = len(_HEADER) if first else 0
        frame[:base] = _HEADER[:base]
        for start in range(0, payload_length, BLOCK):
            length = min(BLOCK, payload_length - start)
            at = base + start // BLOCK * (BLOCK + _BLOCK_HEADER)
            struct.pack_into("<BHH", frame, at, 0, length, length ^ 0xFFFF)

    def payload_views(self, frame: memoryview, start: int, length: int, first: bool) -> Iterator[memoryview]:
        """Yield where payload bytes [start, start + length) of the part lie in `frame`, in order."""
        base = len(_HEADER) if first else 0
        while length:
            block, within = divmod(start, BLOCK)
            taken = min(BLOCK - within, length)
            at = base + block * (BLOCK + _BLOCK_HEADER) + _BLOCK_HEADER + within
            yield frame[at : at + taken]
            start += taken
            length -= taken

    def blocks(self, frame: memoryview, payload_length: int, first: bool) -> Iterator[tuple[memoryview, memoryview]]:
        """Yield a part's blocks: what frames each one, and its payload."""
        at = 0
        for payload in self.payload_views(frame, 0, payload_length, first):
            start = at + _BLOCK_HEADER + len(_HEADER) * (first and not at)
            yield frame[at:start], payload
            at = start + len(payload)

    def trailer(self, payload_crc: int, payload_length: int) -> bytes:
        """Return what ends a member with this payload: the final empty block, the CRC-32 and the length modulo 2³²."""
        return _LAST_BLOCK + struct.pack("<II", payload_crc, payload_length & 0xFFFFFFFF)
