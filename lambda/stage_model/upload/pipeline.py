"""Parts on several threads: built and uploaded in any order, hashed in sequence.

Threads suffice, since TLS, hashing and socket I/O release the GIL.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from stage_model.archive.object_layout import Part
from stage_model.archive.staging_plan import Plan
from stage_model.errors import StagingError, SupersededError
from stage_model.source.byte_source import HashUpdate, scatter
from stage_model.upload.hashing import StreamHasher, combine_crc32, crc32
from stage_model.upload.journal import Progress, ResumePoint

Task = TypeVar("Task")
Result = TypeVar("Result")


@dataclass(frozen=True)
class PipelineSteps(Generic[Task, Result]):
    """The three steps of each task."""

    build: Callable[[Task, memoryview], Result]
    hash: Callable[[Task, Result], None]
    upload: Callable[[Task, Result], None]


class Pipeline(Protocol):
    """Runs tasks in three steps: `build` (concurrent), `hash` (one at a time, in task order), `upload` (concurrent)."""

    def run(self, tasks: Sequence[Task], steps: PipelineSteps[Task, Result], buffer_size: int) -> None:
        """Run all tasks; each has a buffer of `buffer_size` bytes until it is uploaded.

        Raises the most severe error once nothing runs any more.
        """
        ...


class ThreadPipeline:
    """A pipeline with one buffer per thread, so memory is bounded by threads times the largest part."""

    def __init__(self, threads: int) -> None:
        self._threads = threads

    def run(self, tasks: Sequence[Task], steps: PipelineSteps[Task, Result], buffer_size: int) -> None:
        shared = _SharedRun(tasks, steps)
        workers = min(self._threads, len(tasks))
        with ThreadPoolExecutor(max(1, workers), thread_name_prefix="stage") as pool:
            for _ in range(workers):
                pool.submit(shared.work, buffer_size)
        raise_most_severe(shared.errors)


def raise_most_severe(errors: Sequence[BaseException]) -> None:
    """Raise the error that decides how the run ends: a lost lease, then a final error, then the first of the others."""
    severe = [error for kind in (SupersededError, StagingError) for error in errors if isinstance(error, kind)]
    if errors:
        raise [*severe, *errors][0]


class _SharedRun(Generic[Task, Result]):
    """One run of a pipeline, shared by its threads."""

    def __init__(self, tasks: Sequence[Task], steps: PipelineSteps[Task, Result]) -> None:
        self._steps = steps
        self._numbered_tasks = enumerate(tasks)  # shared by threads: `next` is atomic under the interpreter lock
        self._changed = threading.Condition()
        self._hashed = 0
        self.errors: list[BaseException] = []

    def work(self, buffer_size: int) -> None:
        """Run tasks until none is left or one fails."""
        try:
            buffer = memoryview(bytearray(buffer_size))
            for index, task in self._numbered_tasks:
                if self.errors:
                    return
                result = self._steps.build(task, buffer)
                with self._changed:
                    self._changed.wait_for(lambda index=index: self.errors or self._hashed == index)
                    if self.errors:
                        return
                self._steps.hash(task, result)
                with self._changed:
                    self._hashed = index + 1
                    self._changed.notify_all()
                self._steps.upload(task, result)
        except BaseException as error:  # raised in the caller's thread
            with self._changed:
                self.errors.append(error)
                self._changed.notify_all()


@dataclass(frozen=True)
class PartTask:
    """A part to produce: its index among all parts from 0, the index of its object, and the part."""

    index: int
    target: int
    part: Part


@dataclass
class BuiltPart:
    """A part in its buffer: framed bytes, CRC-32 of these and of the payload, and what remains to be hashed."""

    frame: memoryview
    frame_crc: int
    payload_crc: int
    payload_length: int
    updates: list[HashUpdate] = field(default_factory=list[HashUpdate])


class PartProducer:
    """Builds and hashes the parts of a plan. The last task holds the manifest and takes `build_last`."""

    def __init__(self, plan: Plan, resume: ResumePoint) -> None:
        self._plan, objects = plan, plan.objects
        self.progress = Progress(resume)
        self.hasher = StreamHasher(plan.streams, resume.hasher)
        parts = [(target, part) for target, obj in enumerate(objects) for part in obj.parts]
        self.tasks = [PartTask(index, target, part) for index, (target, part) in enumerate(parts)]
        self.buffer_size = max(objects[task.target].framed_length(task.part) for task in self.tasks)

    def build(self, task: PartTask, buffer: memoryview) -> BuiltPart:
        """Fill `buffer` with a part, except for its object's trailer."""
        target, part = self._plan.objects[task.target], task.part
        framing, length = target.framing, part.stop - part.start
        frame = buffer[: framing.framed_length(length, part.first, last=False)]
        framing.write_headers(frame, length, part.first)
        updates: list[HashUpdate] = []
        for segment in target.layout.segments(part.start, part.stop):
            views = list(framing.payload_views(frame, segment.start - part.start, segment.length, part.first))
            if segment.literal is not None:
                scatter(segment.literal, views)
            elif segment.member < len(self._plan.files):
                updates += self._plan.files[segment.member].reader.fill(segment.offset, views)
            else:  # the manifest, in the last part only: it holds the checksums of all that precede it
                self.hasher.update(updates)
                updates.clear()
                manifest = self._plan.manifest
                scatter(
                    manifest.render({entry.path: self.hasher.digest(entry.path) for entry in manifest.files}), views
                )
        frame_crc = payload_crc = 0
        for header, payload in framing.blocks(frame, length, part.first):  # the second pass finds a block in the cache
            frame_crc = crc32((header, payload), frame_crc)
            payload_crc = crc32((payload,), payload_crc)
        return BuiltPart(frame, frame_crc, payload_crc, length, updates)

    def hash(self, task: PartTask, built: BuiltPart) -> None:
        """Hash a part, after all earlier ones. Raises StagingError."""
        known = self.progress.payloads.get(task.index)
        if known is not None and known != (built.payload_crc, built.payload_length):
            raise StagingError("the source gave other bytes than in an earlier run")
        self.hasher.update(built.updates)
        built.updates.clear()  # frees buffers that were read only to be hashed
        self.progress.hashed(task.index, built.payload_crc, built.payload_length, self.hasher.state())

    def build_last(self, task: PartTask) -> BuiltPart:
        """Return the last part, with the manifest and its object's trailer, once all other parts are hashed.

        Raises StagingError or LossyCastError if any stream is incomplete, wrong or lossy.
        """
        buffer = memoryview(bytearray(self.buffer_size))
        built = self.build(task, buffer)
        self.hasher.update(built.updates)
        self.hasher.require_all()
        # Without the hasher's state: a retry builds this part again, from the state before it.
        self.progress.hashed(task.index, built.payload_crc, built.payload_length, None)
        crc, length = 0, 0
        for other in self.tasks:
            known = self.progress.payloads.get(other.index)
            if other.target == task.target and known is not None:
                crc, length = combine_crc32(crc, *known), length + known[1]
        trailer = self._plan.objects[task.target].framing.trailer(crc, length)
        framed = len(built.frame) + len(trailer)
        buffer[len(built.frame) : framed] = trailer
        frame_crc = crc32([trailer], built.frame_crc)
        return BuiltPart(buffer[:framed], frame_crc, built.payload_crc, built.payload_length)
