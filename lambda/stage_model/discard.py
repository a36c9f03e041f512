"""Leaving nothing of a run that failed or was ended."""

from collections.abc import Sequence

from stage_model.journal import Journal
from stage_model.lease import Lease
from stage_model.manifest import MANIFEST
from stage_model.patience import Patience, persist
from stage_model.run_record import RunRecord
from stage_model.store import Store, Upload


def discard(store: Store, record: RunRecord, lease: Lease, patience: Patience) -> None:
    """Remove what a run was making: it began because there was none. `lease` is the caller's own."""
    target = Journal.from_json(record.journal).target
    if target:
        remove(store, target, lease, patience)


def remove(store: Store, target: str, lease: Lease, patience: Patience) -> None:
    """Remove a tarball by its key, or files by their prefix, finished or not."""
    sweep(store, target, patience)
    keys = persist(patience, lambda: store.keys(target)) if target.endswith("/") else [target]
    # The manifest alone says that a model is whole: without it, what an end half-way leaves is staged anew, or removed.
    for key in sorted(keys, key=lambda key: not key.endswith(f"/{MANIFEST}")):
        persist(patience, lambda key=key: lease.delete(key))


def sweep(store: Store, prefix: str, patience: Patience) -> None:
    """Abort every unfinished upload under a prefix: also those that nobody knows of, for a lost answer has no id."""
    drop_uploads(store, persist(patience, lambda: store.unfinished_uploads(prefix)), patience)


def drop_uploads(store: Store, uploads: Sequence[Upload], patience: Patience) -> None:
    """Abort uploads, those that no longer exist included."""
    for upload in uploads:
        persist(patience, lambda upload=upload: store.abort(upload))
