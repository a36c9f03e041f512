"""SHA-256 of every file while its parts pass by in order; a wrong one ends the staging."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence

from stage_model.errors import StagingError
from stage_model.sources import Feed, Stream


class Ledger:
    """Running hashes of streams. Feeds of a stream must arrive in its order, from one thread at a time."""

    def __init__(self, streams: Iterable[Stream]) -> None:
        self._streams: Mapping[str, Stream] = {stream.name: stream for stream in streams}
        self._hashes = {name: hashlib.sha256() for name in self._streams}
        self._lengths = dict.fromkeys(self._streams, 0)
        self._digests: dict[str, str] = {}
        for stream in self._streams.values():
            self._finish_if_complete(stream)

    def take(self, feeds: Sequence[Feed]) -> None:
        """Continue the streams. Raises StagingError when a finished one has another SHA-256 than it must have."""
        for feed in feeds:
            running = self._hashes[feed.stream]
            for view in feed.views:
                running.update(view)
                self._lengths[feed.stream] += len(view)
            self._finish_if_complete(self._streams[feed.stream])

    def digest(self, name: str) -> str:
        """Return a finished stream's SHA-256 in hexadecimal. Raises StagingError if bytes are missing."""
        if name not in self._digests:
            got, want = self._lengths[name], self._streams[name].length
            raise StagingError(f"{name} must be hashed whole, got {got} of {want} bytes")
        return self._digests[name]

    def require_all(self) -> None:
        """Raise StagingError unless every stream was hashed to its end."""
        for name in self._streams:
            self.digest(name)

    def _finish_if_complete(self, stream: Stream) -> None:
        if self._lengths[stream.name] != stream.length or stream.name in self._digests:
            return
        digest = self._hashes[stream.name].hexdigest()
        if stream.sha256 is not None and digest != stream.sha256:
            raise StagingError(f"{stream.name} must have SHA-256 {stream.sha256}, got {digest}")
        self._digests[stream.name] = digest
