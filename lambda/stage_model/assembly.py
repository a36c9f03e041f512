"""Making the parts of all objects of a plan: the steps that the pipeline runs, and the final part."""

from collections.abc import Sequence
from dataclasses import dataclass

from stage_model.checksums import combine, crc32
from stage_model.errors import StagingError
from stage_model.ledger import Ledger
from stage_model.manifest import Manifest
from stage_model.objects import Part, StagedObject
from stage_model.part_builder import BuiltPart, PartBuilder
from stage_model.plan import Plan
from stage_model.progress import Progress, Resume
from stage_model.sources import Feed, Stream
from stage_model.views import Views, scatter


@dataclass(frozen=True)
class Job:
    """A part to make: its place among all parts from 0, the object it belongs to, and the part."""

    index: int
    target: int
    part: Part


class ManifestReader:
    """Makes `musicgen-manifest.json` once everything before it is hashed."""

    def __init__(self, manifest: Manifest, ledger: Ledger) -> None:
        self._manifest = manifest
        self._ledger = ledger
        self.size = manifest.size
        self.streams: Sequence[Stream] = ()

    def fill(self, offset: int, views: Views) -> Sequence[Feed]:
        """Render the manifest. It is never cut, so `offset` is 0."""
        checksums = {note.path: self._ledger.digest(note.path) for note in self._manifest.files}
        scatter(self._manifest.render(checksums)[offset:], views)
        return ()


class Assembly:
    """Builds parts and hashes them in order. The last job of all holds the manifest and is made by `build_last`."""

    def __init__(self, plan: Plan, objects: Sequence[StagedObject], resume: Resume) -> None:
        self._objects = objects
        self.progress = Progress(resume)
        self.ledger = Ledger(plan.streams, resume.snapshot)
        self._manifest_member = len(plan.files)
        readers = [*(file.reader for file in plan.files), ManifestReader(plan.manifest, self.ledger)]
        self._builders = [PartBuilder(target, readers) for target in objects]
        parts = [(target, part) for target, made in enumerate(objects) for part in made.parts]
        self.jobs = [Job(index, target, part) for index, (target, part) in enumerate(parts)]
        self.buffer_size = max(objects[job.target].framed_length(job.part) for job in self.jobs)

    def build(self, job: Job, buffer: memoryview) -> BuiltPart:
        """Fill the buffer with a part."""
        return self._builders[job.target].build(job.part, buffer, lambda member, feeds: None)

    def take(self, job: Job, built: BuiltPart) -> None:
        """Hash a part after all earlier ones. Raises StagingError."""
        known = self.progress.known_payload(job.index)
        if known is not None and known != (built.payload_crc, built.payload_length):
            raise StagingError("the source must read the same twice, got other bytes than an earlier run")
        self.ledger.take(built.feeds)
        built.feeds.clear()  # frees what was read only to be hashed
        self.progress.taken(job.index, built.payload_crc, built.payload_length, self.ledger.snapshot())

    def build_last(self, job: Job) -> BuiltPart:
        """Make the last part of all, with the manifest and its object's trailer, when every other part is taken.

        Raises StagingError or LossyCastError unless everything before it is right.
        """

        def settle(member: int, feeds: list[Feed]) -> None:
            if member == self._manifest_member:  # it tells the checksums of everything before it
                self.ledger.take(feeds)
                feeds.clear()

        buffer = memoryview(bytearray(self.buffer_size))
        built = self._builders[job.target].build(job.part, buffer, settle)
        self.ledger.take(built.feeds)
        self.ledger.require_all()
        # No snapshot: a run that goes on after this part makes it again, from what the ledger was before.
        self.progress.taken(job.index, built.payload_crc, built.payload_length, None)
        trailer = self._objects[job.target].framing.trailer(*self._payload_total(job.target))
        framed = len(built.frame) + len(trailer)
        buffer[len(built.frame) : framed] = trailer
        frame_crc = crc32([trailer], built.frame_crc)
        return BuiltPart(buffer[:framed], frame_crc, built.payload_crc, built.payload_length)

    def _payload_total(self, target: int) -> tuple[int, int]:
        total_crc, total_length = 0, 0
        for job in self.jobs:
            known = self.progress.known_payload(job.index)
            if job.target == target and known is not None:
                total_crc, total_length = combine(total_crc, *known), total_length + known[1]
        return total_crc, total_length
