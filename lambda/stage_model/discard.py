"""Leaving nothing of a run that failed."""

from collections.abc import Sequence

from stage_model.journal import Journal
from stage_model.lease import Lease
from stage_model.patience import Patience, persist
from stage_model.store import Store, Upload


def discard(store: Store, lease: Lease, patience: Patience) -> None:
    """Drop the journal's uploads, and objects completed from them: the run began without any of these keys."""
    uploads = Journal.from_json(lease.record.journal).uploads
    drop_uploads(store, uploads, patience)
    for upload in uploads:
        persist(patience, lambda key=upload.key: lease.delete(key))


def drop_uploads(store: Store, uploads: Sequence[Upload], patience: Patience) -> None:
    """Abort uploads, those that no longer exist included."""
    for upload in uploads:
        persist(patience, lambda upload=upload: store.abort(upload))
