"""SHA-256 whose state can be written down, so that a hand-over need not hash a 10 GB file from its start again.

`hashlib` hides the state. The same OpenSSL that it links has had `SHA256_Init/Update/Final` on an open structure of 112
bytes (openssl/sha.h: h[8], Nl, Nh, data[16], num, md_len) since 0.9.8. Where that is not to be had, or does not pass
the check below, hashing works all the same and only `export` has nothing to give.
"""

import ctypes
import hashlib
import sys
from base64 import b64decode, b64encode
from typing import Protocol, Self

_STATE = 112  # bytes
_KIND = f"openssl-{sys.byteorder}:"


class RunningSha256(Protocol):
    """A SHA-256 in the making."""

    def update(self, view: memoryview) -> None:
        """Continue with these bytes."""
        ...

    def hexdigest(self) -> str:
        """Return the checksum of the bytes so far."""
        ...

    def export(self) -> str | None:
        """Return the state as text, or None where it cannot be had."""
        ...


class PlainSha256:
    """hashlib's; it cannot be exported."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def update(self, view: memoryview) -> None:
        """Continue with these bytes."""
        self._hash.update(view)

    def hexdigest(self) -> str:
        """Return the checksum of the bytes so far."""
        return self._hash.hexdigest()

    def export(self) -> str | None:
        """Return None: hashlib keeps its state to itself."""
        return None


class OpensslSha256:
    """OpenSSL's, on a state of our own."""

    _library: ctypes.CDLL | None = None

    def __init__(self) -> None:
        self._openssl = self._load()
        self._state = ctypes.create_string_buffer(_STATE)
        self._openssl.SHA256_Init(self._state)

    @classmethod
    def restore(cls, exported: str) -> Self:
        """Return a hash that goes on from an exported state. Raises ValueError for text that is not one."""
        kind, _, text = exported.partition(":")
        state = b64decode(text, validate=True)
        if f"{kind}:" != _KIND or len(state) != _STATE:
            raise ValueError(f"a state must begin with {_KIND} and be {_STATE} bytes, got {exported[:40]!r}")
        running = cls()
        running._state = ctypes.create_string_buffer(state, _STATE)
        return running

    def update(self, view: memoryview) -> None:
        """Continue with these bytes; the interpreter lock is released meanwhile."""
        data = bytes(view) if view.readonly else (ctypes.c_char * len(view)).from_buffer(view)
        self._openssl.SHA256_Update(self._state, data, ctypes.c_size_t(len(view)))

    def hexdigest(self) -> str:
        """Return the checksum of the bytes so far."""
        state = ctypes.create_string_buffer(self._state.raw, _STATE)  # SHA256_Final spoils it
        digest = ctypes.create_string_buffer(32)
        self._openssl.SHA256_Final(digest, state)
        return digest.raw.hex()

    def export(self) -> str | None:
        """Return the state as text."""
        return _KIND + b64encode(self._state.raw).decode()

    @classmethod
    def _load(cls) -> ctypes.CDLL:
        if cls._library is None:
            import _hashlib  # the extension that links OpenSSL; its symbols are found through it

            cls._library = ctypes.CDLL(_hashlib.__file__)
        return cls._library


def _openssl_works() -> bool:
    """Hash in two halves with an export between them, and compare with hashlib."""
    try:
        first = OpensslSha256()
        first.update(memoryview(b"a" * 100))
        second = OpensslSha256.restore(first.export() or "")
        second.update(memoryview(bytearray(b"b" * 100)))
        return second.hexdigest() == hashlib.sha256(b"a" * 100 + b"b" * 100).hexdigest()
    except (AttributeError, ImportError, OSError, ValueError):
        return False


EXPORTABLE = _openssl_works()


def new_sha256() -> RunningSha256:
    """Return an empty hash, exportable where that is possible."""
    return OpensslSha256() if EXPORTABLE else PlainSha256()
