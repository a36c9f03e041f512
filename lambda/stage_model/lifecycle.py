"""`Custom::StagedModel`: Create and Update stage, Delete removes. A replaced model goes by CloudFormation's Delete."""

import re
from collections.abc import Callable, Mapping
from typing import Any, cast

from stage_model.answer import Answer
from stage_model.errors import StagingError
from stage_model.patience import Patience, persist
from stage_model.request import Place, StagedModelRequest, parse_place, parse_request
from stage_model.stager import Staged
from stage_model.store import Store

Stage = Callable[[StagedModelRequest], tuple[Staged, str]]
_STAGED = re.compile(r"[0-9a-f]{64}/model\.tar\.gz")
UNSTAGED = "unstaged"


class Lifecycle:
    """What each kind of request does. `stage` makes the object and returns it with its digest."""

    def __init__(self, stage: Stage, open_store: Callable[[str], Store], patience: Patience) -> None:
        self._stage = stage
        self._open_store = open_store
        self._patience = patience

    def handle(self, event: Mapping[str, Any]) -> Answer:
        """Do what CloudFormation asks and say how it ended. Raises OutOfTimeError; every other error is an answer."""
        properties = cast(Mapping[str, object], event.get("ResourceProperties") or {})
        kind = event.get("RequestType")
        try:
            if kind == "Delete":
                return self._delete(str(event.get("PhysicalResourceId", "")), properties)
            if kind in ("Create", "Update"):
                return self._create(properties)
            raise StagingError(f"RequestType must be Create, Update or Delete, got {kind!r}")
        except StagingError as error:
            return Answer(_id_after_failure(event, properties), str(error))

    def _create(self, properties: Mapping[str, object]) -> Answer:
        request = parse_request(properties)
        staged, digest = self._stage(request)
        data = {
            "ModelDataUrl": f"s3://{request.model_bucket}/{staged.key}",
            "Digest": digest,
            "Bytes": str(staged.size),
            "Revision": request.revision,
        }
        return Answer(staged.key, None, data)

    def _delete(self, physical_id: str, properties: Mapping[str, object]) -> Answer:
        try:
            place = parse_place(properties)
        except StagingError:
            return Answer(physical_id)  # without a place nothing was ever staged, and a stack must be able to go
        store = self._open_store(place.bucket)
        if _is_own(physical_id, place):
            persist(self._patience, lambda: store.delete(physical_id))
            self._abort_uploads(store, physical_id)
        elif physical_id == place.key_prefix + UNSTAGED:
            self._abort_uploads(store, place.key_prefix)
        return Answer(physical_id)

    def _abort_uploads(self, store: Store, prefix: str) -> None:
        for upload in persist(self._patience, lambda: store.unfinished_uploads(prefix)):
            persist(self._patience, lambda upload=upload: store.abort(upload))


def _is_own(physical_id: str, place: Place) -> bool:
    own = physical_id.startswith(place.key_prefix)
    return own and _STAGED.fullmatch(physical_id[len(place.key_prefix) :]) is not None


def _id_after_failure(event: Mapping[str, Any], properties: Mapping[str, object]) -> str:
    """Return the old id, or for a failed Create one under which a Delete finds only leftovers."""
    if "PhysicalResourceId" in event:
        return str(event["PhysicalResourceId"])
    return f"{properties.get('KeyPrefix', '')}{UNSTAGED}"
