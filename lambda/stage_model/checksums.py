"""CRC-32 of long streams made in pieces (isal: several times faster than zlib, and releases the GIL)."""

# pyright: reportUnknownMemberType=false
# isal's stubs leave its buffer types open.
import base64
import struct
from collections.abc import Iterable

from isal import isal_zlib

Bytes = bytes | bytearray | memoryview


def crc32(chunks: Iterable[Bytes], start: int = 0) -> int:
    """Return the CRC-32 of the chunks in order, continuing from `start`."""
    for chunk in chunks:
        start = isal_zlib.crc32(chunk, start)
    return start


def combine(first: int, second: int, second_length: int) -> int:
    """Return the CRC-32 of two adjacent pieces from theirs; `second_length` is in bytes."""
    return isal_zlib.crc32_combine(first, second, second_length)


def s3_checksum(crc: int) -> str:
    """Return a CRC-32 as S3 writes it: base64 of the four bytes, big-endian."""
    return base64.b64encode(struct.pack(">I", crc)).decode()
