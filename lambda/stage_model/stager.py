"""Staging: uploads begun or found again, parts made and shipped, objects completed only when everything is right."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from stage_model.assembly import Assembly, Job
from stage_model.checksums import combine
from stage_model.discard import discard, drop_uploads, sweep
from stage_model.errors import ConflictError, LossyCastError, OutOfTimeError, StagingError, UploadGoneError
from stage_model.journal import Journal
from stage_model.lease import Lease
from stage_model.materials import Materials
from stage_model.objects import StagedObject
from stage_model.part_builder import BuiltPart
from stage_model.patience import Patience, persist
from stage_model.pipeline import Pipeline, Steps
from stage_model.plan import Plan
from stage_model.store import Store, Upload

_log = logging.getLogger(__name__)
_MAX_RESTARTS = 20  # each one casts fewer tensors, or follows uploads that somebody else dropped


@dataclass(frozen=True)
class Means:
    """What staging works with."""

    store: Store
    lease: Lease
    patience: Patience
    pipeline: Pipeline


@dataclass(frozen=True)
class Staged:
    """What is in the bucket: the key of the tarball, or the prefix of the files, and the length in bytes."""

    key: str
    size: int


def stage(materials: Materials, means: Means) -> Staged:
    """Make the model's objects, unless they exist; go on where an earlier run of the same request stopped.

    Raises StagingError, OutOfTimeError or SupersededError, and leaves the journal: to go on by, or to discard.
    """
    for _ in range(_MAX_RESTARTS):
        journal = Journal.from_json(means.lease.record.journal)
        plan = materials.plan(journal.kept)
        try:
            return _stage_plan(plan, journal, means)
        except LossyCastError as error:
            _log.info("starting again: %s", error)
            discard(means.store, means.lease.record, means.lease, means.patience)
            means.lease.save(journal=journal.anew(error.names).to_json())
        except (ConflictError, UploadGoneError) as error:
            _log.info("starting again: %s", error)
            means.lease.save(journal=journal.anew().to_json())  # ends here if another run is the reason
    raise StagingError(f"staging must end within {_MAX_RESTARTS} restarts")


def _stage_plan(plan: Plan, journal: Journal, means: Means) -> Staged:
    objects = plan.objects
    if persist(means.patience, lambda: means.store.size_of(objects[-1].key)) is not None:
        # Completed last, and only when all was right. Its size may not be the plan's, which does not know yet which
        # tensors keep float32.
        sweep(means.store, plan.key, means.patience)
        return Staged(plan.key, _size_in_store(plan.key, means))
    if journal.layout != plan.layout_id or not _still_there(journal, objects, means):
        drop_uploads(means.store, journal.uploads, means.patience)
        journal = _begin(plan, journal, means)
    _Run(plan, journal, means).run()
    sweep(means.store, plan.key, means.patience)
    return Staged(plan.key, sum(target.size for target in objects))


def _size_in_store(prefix: str, means: Means) -> int:
    keys = persist(means.patience, lambda: means.store.keys(prefix))
    sizes = [persist(means.patience, lambda key=key: means.store.size_of(key)) for key in keys]
    return sum(size or 0 for size in sizes)


def _begin(plan: Plan, journal: Journal, means: Means) -> Journal:
    uploads: list[Upload] = []
    try:
        for target in plan.objects:
            uploads.append(persist(means.patience, lambda key=target.key: means.store.create_upload(key)))
        journal = journal.begun(plan.key, plan.layout_id, uploads)
        means.lease.save(journal=journal.to_json())
    except Exception:
        drop_uploads(means.store, uploads, means.patience)  # nobody else knows of them
        raise
    return journal


def _still_there(journal: Journal, objects: Sequence[StagedObject], means: Means) -> bool:
    """Return whether the store still holds every part that the journal tells of."""
    done = iter(journal.resume.parts)
    for upload, target in zip(journal.uploads, objects, strict=True):
        parts = [part.stored for part in islice(done, len(target.parts))]
        try:
            found = persist(means.patience, lambda u=upload, p=parts: means.store.matching_parts(u, p))
        except UploadGoneError:
            if persist(means.patience, lambda key=target.key: means.store.size_of(key)) != target.size:
                return False
            continue  # completed already
        if len(found) < len(parts):
            return False
    return True


class _Run:
    """Uploads from the first missing part to their completion."""

    def __init__(self, plan: Plan, journal: Journal, means: Means) -> None:
        self._objects, self._journal, self._means = plan.objects, journal, means
        self._assembly = Assembly(plan, plan.objects, journal.resume)
        self._progress = self._assembly.progress

    def run(self) -> None:
        *jobs, last = self._assembly.jobs
        jobs = jobs[self._journal.resume.hashed :]
        steps = Steps(self._build, self._assembly.take, self._ship)
        try:
            self._means.pipeline.run(jobs, steps, self._assembly.buffer_size)
            self._ship(last, self._assembly.build_last(last))
        except OutOfTimeError:
            self._means.lease.save(journal=self._now())
            raise
        for index in range(len(self._objects)):
            self._complete(index)

    def _now(self) -> dict[str, object]:
        return self._journal.at(self._progress.resume()).to_json()

    def _build(self, job: Job, buffer: memoryview) -> BuiltPart:
        self._means.patience.check_deadline()
        return self._assembly.build(job, buffer)

    def _ship(self, job: Job, built: BuiltPart) -> None:
        if self._progress.is_shipped(job.index):
            return  # an earlier run did; it was made again for its checksum
        upload, number, crc = self._journal.uploads[job.target], job.part.number, built.frame_crc
        store = self._means.store
        stored = persist(self._means.patience, lambda: store.put_part(upload, number, built.frame, crc))
        self._progress.shipped(job.index, stored)
        self._means.lease.save_when_due(self._now)

    def _complete(self, index: int) -> None:
        target, upload, store = self._objects[index], self._journal.uploads[index], self._means.store
        parts = [self._progress.stored(job.index) for job in self._assembly.jobs if job.target == index]
        crc = 0
        for part in parts:
            crc = combine(crc, part.crc, part.length)

        def complete() -> None:
            try:
                # Listed anew: a part sent twice may have another ETag by now, though never other bytes.
                held = store.matching_parts(upload, parts)
                store.complete(upload, [held.get(part.number, part) for part in parts], crc, target.size)
            except (ConflictError, UploadGoneError):
                # An attempt whose answer was lost, or another run, may have completed the same bytes.
                if store.size_of(target.key) != target.size:
                    raise
                store.abort(upload)

        persist(self._means.patience, complete)
