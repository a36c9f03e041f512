"""Staging one plan: build, check, upload, and complete only when everything is right."""

from collections.abc import Sequence
from dataclasses import dataclass

from stage_model.checksums import combine, crc32
from stage_model.ledger import Ledger
from stage_model.manifest import Manifest
from stage_model.objects import Part, StagedObject, tarball
from stage_model.part_builder import BuiltPart, PartBuilder
from stage_model.patience import Patience, persist
from stage_model.pipeline import Pipeline
from stage_model.plan import Plan
from stage_model.sources import Feed, Stream
from stage_model.store import Store, StoredPart, Upload
from stage_model.tar_layout import Member
from stage_model.views import Views, scatter

THREADS = 8


@dataclass(frozen=True)
class Staged:
    """The staged object: key, length in bytes, and whether it was there already."""

    key: str
    size: int
    found: bool


class ManifestReader:
    """Makes `manifest.json` once everything before it is hashed."""

    def __init__(self, manifest: Manifest, ledger: Ledger) -> None:
        self._manifest = manifest
        self._ledger = ledger
        self.size = manifest.size
        self.streams: Sequence[Stream] = ()

    def fill(self, offset: int, views: Views) -> Sequence[Feed]:
        """Render the manifest; it is never cut, so `offset` is 0."""
        checksums = {note.path: self._ledger.digest(note.path) for note in self._manifest.files}
        scatter(self._manifest.render(checksums)[offset:], views)
        return ()


def stage(plan: Plan, key: str, store: Store, patience: Patience, threads: int = THREADS) -> Staged:
    """Make `key` from the plan, unless it exists.

    Raises StagingError or OutOfTimeError, and then leaves neither object nor upload.
    """
    members = [Member(file.path, file.reader.size) for file in plan.files]
    target = tarball(key, [*members, Member("manifest.json", plan.manifest.size)])
    size = persist(patience, lambda: store.size_of(key))
    if size is not None:
        return Staged(key, size, found=True)
    upload = persist(patience, lambda: store.create_upload(key))
    try:
        _Run(plan, target, upload, store, patience).run(threads)
    except BaseException:
        store.abort(upload)
        raise
    return Staged(key, target.size, found=False)


class _Run:
    """One upload from its first part to its completion."""

    def __init__(self, plan: Plan, target: StagedObject, upload: Upload, store: Store, patience: Patience) -> None:
        self._target, self._upload, self._store, self._patience = target, upload, store, patience
        self._ledger = Ledger(stream for file in plan.files for stream in file.reader.streams)
        self._manifest_member = len(plan.files)
        readers = [*(file.reader for file in plan.files), ManifestReader(plan.manifest, self._ledger)]
        self._builder = PartBuilder(target, readers)
        self._payloads: dict[int, tuple[int, int]] = {}  # by part number: CRC-32 and length in bytes
        self._stored: dict[int, StoredPart] = {}

    def run(self, threads: int) -> None:
        *parts, last = self._target.parts
        largest = max(self._target.framed_length(part) for part in self._target.parts)
        Pipeline(self._build, self._take, self._ship).run(parts, threads, largest)
        self._ship(last, self._build_last(last, memoryview(bytearray(largest))))
        self._ledger.require_all()
        self._complete()

    def _build(self, part: Part, buffer: memoryview) -> BuiltPart:
        self._patience.check_deadline()
        return self._builder.build(part, buffer, lambda member, feeds: None)

    def _take(self, part: Part, built: BuiltPart) -> None:
        self._ledger.take(built.feeds)
        self._payloads[part.number] = (built.payload_crc, built.payload_length)

    def _build_last(self, part: Part, buffer: memoryview) -> BuiltPart:
        def settle(member: int, feeds: list[Feed]) -> None:
            if member == self._manifest_member:  # it tells the checksums of everything before it
                self._ledger.take(feeds)
                feeds.clear()

        built = self._builder.build(part, buffer, settle)
        self._take(part, built)
        crc, length = self._payload_total()
        trailer = self._target.framing.trailer(crc, length)
        framed = len(built.frame) + len(trailer)
        buffer[len(built.frame) : framed] = trailer
        return BuiltPart(buffer[:framed], built.payload_crc, built.payload_length)

    def _payload_total(self) -> tuple[int, int]:
        total_crc, total_length = 0, 0
        for part in self._target.parts:
            crc, length = self._payloads[part.number]
            total_crc, total_length = combine(total_crc, crc, length), total_length + length
        return total_crc, total_length

    def _ship(self, part: Part, built: BuiltPart) -> None:
        crc = crc32([built.frame])
        self._stored[part.number] = persist(
            self._patience, lambda: self._store.put_part(self._upload, part.number, built.frame, crc)
        )

    def _complete(self) -> None:
        stored = [self._stored[part.number] for part in self._target.parts]
        crc = 0
        for part in stored:
            crc = combine(crc, part.crc, part.length)
        persist(self._patience, lambda: self._store.complete(self._upload, stored, crc, self._target.size))
