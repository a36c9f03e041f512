"""CRC-32 and SHA-256 of streams produced in pieces; the state of an unfinished hash passes to the next invocation."""

# pyright: reportUnknownMemberType=false
# isal's stubs leave its buffer types open.
import ctypes
import hashlib
import sys
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Protocol, Self

from isal import isal_zlib  # several times faster than zlib, and releases the GIL

from stage_model.errors import LossyCastError, StagingError
from stage_model.source.byte_source import HashUpdate, Stream

_SHA256_CTX = 112  # bytes; openssl/sha.h: h[8], Nl, Nh, data[16], num, md_len
_EXPORT_PREFIX = f"openssl-{sys.byteorder}:"


def crc32(chunks: Iterable[bytes | bytearray | memoryview], start: int = 0) -> int:
    """Return the CRC-32 of the chunks in order, continuing from `start`."""
    for chunk in chunks:
        start = isal_zlib.crc32(chunk, start)
    return start


def combine_crc32(first: int, second: int, second_length: int) -> int:
    """Return the CRC-32 of two adjacent pieces, given their CRC-32s and the second's length in bytes."""
    return isal_zlib.crc32_combine(first, second, second_length)


class Sha256(Protocol):
    """An incremental SHA-256: hashlib's, or one whose state can be exported."""

    def update(self, view: memoryview, /) -> None: ...

    def hexdigest(self) -> str: ...


class OpensslSha256:
    """A SHA-256 with exportable state, so that a new invocation need not hash a 10 GB file from its start.

    Calls `SHA256_Init/Update/Final` in the OpenSSL that hashlib links, on its public structure (unchanged since 0.9.8).
    """

    def __init__(self) -> None:
        self._openssl = _load_openssl()
        self._state = ctypes.create_string_buffer(_SHA256_CTX)
        self._openssl.SHA256_Init(self._state)

    @classmethod
    def restore(cls, exported: str) -> Self:
        """Return a hash that continues from an exported state. Raises ValueError for malformed text."""
        kind, _, text = exported.partition(":")
        state = b64decode(text, validate=True)
        if f"{kind}:" != _EXPORT_PREFIX or len(state) != _SHA256_CTX:
            raise ValueError(
                f"a state must begin with {_EXPORT_PREFIX} and be {_SHA256_CTX} bytes, got {exported[:40]!r}"
            )
        restored = cls()
        restored._state = ctypes.create_string_buffer(state, _SHA256_CTX)
        return restored

    def update(self, view: memoryview, /) -> None:
        """Hash more bytes; ctypes releases the GIL."""
        data = bytes(view) if view.readonly else (ctypes.c_char * len(view)).from_buffer(view)
        self._openssl.SHA256_Update(self._state, data, ctypes.c_size_t(len(view)))

    def hexdigest(self) -> str:
        state = ctypes.create_string_buffer(self._state.raw, _SHA256_CTX)  # SHA256_Final overwrites it
        digest = ctypes.create_string_buffer(32)
        self._openssl.SHA256_Final(digest, state)
        return digest.raw.hex()

    def export(self) -> str:
        return _EXPORT_PREFIX + b64encode(self._state.raw).decode()


@cache
def _load_openssl() -> ctypes.CDLL:
    import _hashlib  # the extension that links OpenSSL, through which its symbols resolve

    return ctypes.CDLL(_hashlib.__file__)


def _openssl_works() -> bool:
    """Hash in two halves with an export in between, and compare with hashlib."""
    try:
        first = OpensslSha256()
        first.update(memoryview(b"a" * 100))
        second = OpensslSha256.restore(first.export())
        second.update(memoryview(bytearray(b"b" * 100)))
        return second.hexdigest() == hashlib.sha256(b"a" * 100 + b"b" * 100).hexdigest()
    except (AttributeError, ImportError, OSError, ValueError):
        return False


EXPORTABLE = _openssl_works()  # otherwise runs still hash, but cannot resume hashing


def new_sha256() -> Sha256:
    """Return an empty hash, exportable where possible."""
    return OpensslSha256() if EXPORTABLE else hashlib.sha256()


@dataclass(frozen=True)
class HasherState:
    """A `StreamHasher` after some part: digests of finished streams, and (bytes so far, state) of unfinished ones.

    The first `lossy_count` of `found_lossy` are the tensors so far that float16 cannot represent exactly. There is a
    state per part, and up to 100,000 such tensors, so the states share the list, to which the hasher only appends.
    """

    digests: Mapping[str, str] = field(default_factory=dict[str, str])
    unfinished: Mapping[str, tuple[int, str]] = field(default_factory=dict[str, tuple[int, str]])
    found_lossy: Sequence[str] = ()
    lossy_count: int = 0

    @property
    def lossy(self) -> tuple[str, ...]:
        return tuple(self.found_lossy[: self.lossy_count])

    def to_json(self) -> dict[str, Any]:
        unfinished = {name: list(state) for name, state in self.unfinished.items()}
        return {"digests": dict(self.digests), "unfinished": unfinished, "lossy": list(self.lossy)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "HasherState":
        unfinished = {name: (int(length), str(state)) for name, (length, state) in value["unfinished"].items()}
        lossy = tuple(map(str, value.get("lossy", ())))
        return cls(dict(value["digests"]), unfinished, lossy, len(lossy))


class StreamHasher:
    """Hashes streams and compares them with their published checksums.

    Updates of a stream must arrive in its order, from one thread at a time.
    """

    def __init__(self, streams: Iterable[Stream], state: HasherState | None = None) -> None:
        state = state or HasherState()
        self._streams: Mapping[str, Stream] = {stream.name: stream for stream in streams}
        self._digests = dict(state.digests)
        self._lengths = {name: length for name, (length, _) in state.unfinished.items()}
        self._hashes: dict[str, Sha256] = {
            name: OpensslSha256.restore(exported) for name, (_, exported) in state.unfinished.items()
        }
        self._lossy = set(state.lossy)
        self._found_lossy = list(state.lossy)
        for stream in self._streams.values():
            if stream.length == 0 and stream.name not in self._digests:
                self._finish(stream, new_sha256())

    def update(self, updates: Sequence[HashUpdate]) -> None:
        """Hash more bytes. Raises StagingError when a finished stream has the wrong SHA-256."""
        for update in updates:
            if update.lossy is not None and update.lossy not in self._lossy:  # once for each part that holds some of it
                self._lossy.add(update.lossy)
                self._found_lossy.append(update.lossy)
            if not update.views:
                continue
            stream = self._streams[update.stream]
            if stream.name not in self._hashes:
                self._hashes[stream.name] = new_sha256()
            sha256 = self._hashes[stream.name]
            for view in update.views:
                sha256.update(view)
                self._lengths[stream.name] = self._lengths.get(stream.name, 0) + len(view)
            if self._lengths[stream.name] == stream.length:
                self._finish(stream, sha256)

    def digest(self, name: str) -> str:
        """Return a finished stream's SHA-256 in hexadecimal. Raises StagingError if bytes are missing."""
        if name not in self._digests:
            got, want = self._lengths.get(name, 0), self._streams[name].length
            raise StagingError(f"{name} must be hashed whole, got {got} of {want} bytes")
        return self._digests[name]

    def require_all(self) -> None:
        """Raise StagingError unless all streams are complete and twins are equal.

        Raises LossyCastError for lossy casts, at the end, so that one restart covers all tensors.
        """
        for stream in self._streams.values():
            digest = self.digest(stream.name)
            if stream.twin is not None and digest != self.digest(stream.twin):
                raise StagingError(
                    f"{stream.name} differs from the first reading: the source gave other bytes when read twice"
                )
        if self._lossy:
            raise LossyCastError(sorted(self._lossy))

    def state(self) -> HasherState | None:
        """Return the current state, or None if an unfinished hash cannot be exported."""
        unfinished: dict[str, tuple[int, str]] = {}
        for name, sha256 in self._hashes.items():
            if not isinstance(sha256, OpensslSha256):
                return None
            unfinished[name] = self._lengths[name], sha256.export()
        return HasherState(dict(self._digests), unfinished, self._found_lossy, len(self._found_lossy))

    def _finish(self, stream: Stream, sha256: Sha256) -> None:
        digest = sha256.hexdigest()
        if stream.sha256 is not None and digest != stream.sha256:
            raise StagingError(f"{stream.name} must have SHA-256 {stream.sha256}, got {digest}")
        self._digests[stream.name] = digest
        self._hashes.pop(stream.name, None)
        self._lengths.pop(stream.name, None)
