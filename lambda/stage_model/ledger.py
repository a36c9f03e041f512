"""SHA-256 of every file while its parts pass by in order; a wrong one ends the staging."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stage_model.errors import LossyCastError, StagingError
from stage_model.running_sha256 import OpensslSha256, RunningSha256, new_sha256
from stage_model.sources import Feed, Stream


@dataclass(frozen=True)
class Snapshot:
    """A ledger after some part: finished checksums by stream, and of unfinished streams [bytes so far, state].

    `lossy` are the tensors so far, by name, that float16 does not hold.
    """

    digests: Mapping[str, str] = field(default_factory=dict[str, str])
    unfinished: Mapping[str, tuple[int, str]] = field(default_factory=dict[str, tuple[int, str]])
    lossy: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        unfinished = {name: list(state) for name, state in self.unfinished.items()}
        return {"digests": dict(self.digests), "unfinished": unfinished, "lossy": list(self.lossy)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Snapshot":
        """Return what `to_json` wrote."""
        unfinished = {name: (int(length), str(state)) for name, (length, state) in value["unfinished"].items()}
        return cls(dict(value["digests"]), unfinished, tuple(map(str, value.get("lossy", ()))))


class Ledger:
    """Running hashes of streams. Feeds of a stream must arrive in its order, from one thread at a time."""

    def __init__(
        self, streams: Iterable[Stream], snapshot: Snapshot | None = None,
        new_hash: Callable[[], RunningSha256] = new_sha256,
    ) -> None:  # fmt: skip
        snapshot = snapshot or Snapshot()
        self._streams: Mapping[str, Stream] = {stream.name: stream for stream in streams}
        self._new_hash = new_hash
        self._digests = dict(snapshot.digests)
        self._lengths = {name: length for name, (length, _) in snapshot.unfinished.items()}
        self._hashes: dict[str, RunningSha256] = {
            name: OpensslSha256.restore(state) for name, (_, state) in snapshot.unfinished.items()
        }
        self._lossy = set(snapshot.lossy)
        for stream in self._streams.values():
            if stream.length == 0 and stream.name not in self._digests:
                self._finish(stream, new_hash())

    def take(self, feeds: Sequence[Feed]) -> None:
        """Continue the streams. Raises StagingError when a finished one has another SHA-256 than it must have."""
        self._lossy.update(feed.lossy for feed in feeds if feed.lossy is not None)
        for feed in feeds:
            if feed.views:
                self._continue(self._streams[feed.stream], feed)

    def _continue(self, stream: Stream, feed: Feed) -> None:
        name = stream.name
        if name not in self._hashes:
            self._hashes[name] = self._new_hash()
        running = self._hashes[name]
        for view in feed.views:
            running.update(view)
        self._lengths[name] = self._lengths.get(name, 0) + sum(map(len, feed.views))
        if self._lengths[name] == stream.length:
            self._finish(stream, running)

    def digest(self, name: str) -> str:
        """Return a finished stream's SHA-256 in hexadecimal. Raises StagingError if bytes are missing."""
        if name not in self._digests:
            got, want = self._lengths.get(name, 0), self._streams[name].length
            raise StagingError(f"{name} must be hashed whole, got {got} of {want} bytes")
        return self._digests[name]

    def require_all(self) -> None:
        """Raise StagingError unless every stream was hashed to its end, and twins are equal.

        Raises LossyCastError when casts were lossy. Only now: it names them all, so that one more beginning is enough.
        """
        for stream in self._streams.values():
            digest = self.digest(stream.name)
            if stream.twin is not None and digest != self.digest(stream.twin):
                raise StagingError(f"{stream.name} must read the same twice, got other bytes")
        if self._lossy:
            raise LossyCastError(sorted(self._lossy))

    def snapshot(self) -> Snapshot | None:
        """Return the present state, or None when an unfinished hash cannot be exported."""
        states = {name: running.export() for name, running in self._hashes.items()}
        exported = {name: (self._lengths[name], state) for name, state in states.items() if state is not None}
        if len(exported) < len(states):
            return None
        return Snapshot(dict(self._digests), exported, tuple(sorted(self._lossy)))

    def _finish(self, stream: Stream, running: RunningSha256) -> None:
        digest = running.hexdigest()
        if stream.sha256 is not None and digest != stream.sha256:
            raise StagingError(f"{stream.name} must have SHA-256 {stream.sha256}, got {digest}")
        self._digests[stream.name] = digest
        self._hashes.pop(stream.name, None)
        self._lengths.pop(stream.name, None)
