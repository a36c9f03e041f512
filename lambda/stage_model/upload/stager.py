"""Staging: start or resume multipart uploads, produce the parts, complete the objects once everything is verified."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, TypeVar

from stage_model.archive.staging_plan import Plan, StagingInputs
from stage_model.errors import ConflictError, LossyCastError, OutOfTimeError, StagingError, UploadGoneError
from stage_model.retry import RetryBudget, retry
from stage_model.s3 import Store, Upload
from stage_model.upload.hashing import combine_crc32
from stage_model.upload.journal import Journal, RunLease
from stage_model.upload.pipeline import BuiltPart, PartProducer, PartTask, Pipeline, PipelineSteps
from stage_model.weights.file_selection import MANIFEST

T = TypeVar("T")
_log = logging.getLogger(__name__)
_MAX_RESTARTS = 20  # each one casts fewer tensors, or replaces uploads that were aborted by others


@dataclass(frozen=True)
class StagingContext:
    """What a run works with: the bucket, the lease on its request, and the retry budget."""

    store: Store
    lease: RunLease
    budget: RetryBudget

    def retry(self, operation: Callable[[], T]) -> T:
        return retry(self.budget, operation)

    def abort_uploads(self, uploads: Sequence[Upload]) -> None:
        """Abort these uploads if they exist."""
        for upload in uploads:
            self.retry(lambda upload=upload: self.store.abort(upload))

    def abort_uploads_under(self, prefix: str) -> None:
        """Abort all unfinished uploads under a prefix, including those whose id was lost with a reply."""
        self.abort_uploads(self.retry(lambda: self.store.unfinished_uploads(prefix)))

    def delete_model(self, target: str) -> None:
        """Delete a tarball by key, or files by prefix, finished or not."""
        self.abort_uploads_under(target)
        keys = self.retry(lambda: self.store.keys(target)) if target.endswith("/") else [target]
        # The manifest first: without it a partly deleted model counts as incomplete, and is staged again or deleted.
        for key in sorted(keys, key=lambda key: not key.endswith(f"/{MANIFEST}")):
            self.retry(lambda key=key: self.lease.delete(key))

    def cleanup(self, journal: Mapping[str, Any] | None) -> None:
        """Delete what the run with this journal was building."""
        if target := Journal.from_json(journal).target:
            self.delete_model(target)


@dataclass(frozen=True)
class StagedModel:
    """The staged model: the tarball's key or the files' prefix, and the total size in bytes."""

    key: str
    size: int


def stage(inputs: StagingInputs, context: StagingContext, pipeline: Pipeline) -> StagedModel:
    """Create the model's objects unless they exist, resuming an earlier run of the same request from its journal.

    Raises StagingError, OutOfTimeError or SupersededError and keeps the journal, to resume from or to clean up.
    """
    for _ in range(_MAX_RESTARTS):
        journal = Journal.from_json(context.lease.journal)
        plan = inputs.plan(journal.kept_float32)
        try:
            return _stage_plan(plan, journal, context, pipeline)
        except LossyCastError as error:
            _log.info("starting again: %s", error)
            context.cleanup(context.lease.journal)
            context.lease.save(journal=journal.restarted(error.names).to_json())
        except (ConflictError, UploadGoneError) as error:
            _log.info("starting again: %s", error)
            context.lease.save(journal=journal.restarted().to_json())  # raises if another run is the reason
    raise StagingError(f"staging gave up after {_MAX_RESTARTS} restarts")


def _stage_plan(plan: Plan, journal: Journal, context: StagingContext, pipeline: Pipeline) -> StagedModel:
    store = context.store
    if context.retry(lambda: store.size_of(plan.objects[-1].key)) is not None:
        # The last object is completed last, after all checks. Its size may differ from the plan's, which does not know
        # yet which tensors keep float32.
        context.abort_uploads_under(plan.key)
        keys = context.retry(lambda: store.keys(plan.key))
        sizes = [context.retry(lambda key=key: store.size_of(key)) for key in keys]
        return StagedModel(plan.key, sum(size or 0 for size in sizes))
    if journal.layout != plan.layout_id or not _can_resume(journal, plan, context):
        context.abort_uploads(journal.uploads)
        journal = _start_uploads(plan, journal, context)
    _Run(plan, journal, context).run(pipeline)
    context.abort_uploads_under(plan.key)
    return StagedModel(plan.key, sum(target.size for target in plan.objects))


def _start_uploads(plan: Plan, journal: Journal, context: StagingContext) -> Journal:
    uploads: list[Upload] = []
    try:
        for target in plan.objects:
            uploads.append(context.retry(lambda key=target.key: context.store.create_upload(key)))
        journal = Journal(plan.key, plan.layout_id, journal.kept_float32, tuple(uploads))
        context.lease.save(journal=journal.to_json())
    except Exception:
        context.abort_uploads(uploads)  # no journal names them
        raise
    return journal


def _can_resume(journal: Journal, plan: Plan, context: StagingContext) -> bool:
    """Return whether the store still holds all parts in the journal."""
    store, done = context.store, iter(journal.resume.parts)
    for upload, target in zip(journal.uploads, plan.objects, strict=True):
        parts = [part.stored for part in islice(done, len(target.parts))]
        try:
            found = context.retry(lambda u=upload, p=parts: store.matching_parts(u, p))
        except UploadGoneError:
            if context.retry(lambda key=target.key: store.size_of(key)) != target.size:
                return False
            continue  # completed already
        if len(found) < len(parts):
            return False
    return True


class _Run:
    """Produces the parts from the first missing one on, and completes the objects."""

    def __init__(self, plan: Plan, journal: Journal, context: StagingContext) -> None:
        self._objects, self._journal, self._context = plan.objects, journal, context
        self._producer = PartProducer(plan, journal.resume)
        self._progress = self._producer.progress

    def run(self, pipeline: Pipeline) -> None:
        *tasks, last = self._producer.tasks
        tasks = tasks[self._journal.resume.hashed :]
        steps = PipelineSteps(self._build, self._producer.hash, self._upload)
        try:
            pipeline.run(tasks, steps, self._producer.buffer_size)
            self._upload(last, self._producer.build_last(last))
        except OutOfTimeError:
            self._context.lease.save(journal=self._current_journal())
            raise
        for index in range(len(self._objects)):
            self._complete(index)

    def _current_journal(self) -> dict[str, Any]:
        return replace(self._journal, resume=self._progress.resume_point()).to_json()

    def _build(self, task: PartTask, buffer: memoryview) -> BuiltPart:
        self._context.budget.check_deadline()
        return self._producer.build(task, buffer)

    def _upload(self, task: PartTask, built: BuiltPart) -> None:
        if task.index in self._progress.stored:
            return  # by an earlier run; it was built again to be hashed
        upload, number, crc = self._journal.uploads[task.target], task.part.number, built.frame_crc
        store = self._context.store
        stored = self._context.retry(lambda: store.put_part(upload, number, built.frame, crc))
        self._progress.uploaded(task.index, stored)
        self._context.lease.save_when_due(self._current_journal)

    def _complete(self, index: int) -> None:
        target, upload, store = self._objects[index], self._journal.uploads[index], self._context.store
        parts = [self._progress.stored[task.index] for task in self._producer.tasks if task.target == index]
        crc = 0
        for part in parts:
            crc = combine_crc32(crc, part.crc, part.length)

        def complete() -> None:
            try:
                # Listed again: a part sent twice may have another ETag by now, though never other bytes.
                found = store.matching_parts(upload, parts)
                store.complete(upload, [found.get(part.number, part) for part in parts], crc, target.size)
            except (ConflictError, UploadGoneError):
                # An attempt whose reply was lost, or another run, may have completed the same bytes.
                if store.size_of(target.key) != target.size:
                    raise
                store.abort(upload)

        self._context.retry(complete)
