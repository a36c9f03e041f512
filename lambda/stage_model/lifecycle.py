"""`Custom::StagedModel`: Create and Update stage, Delete removes. A replaced model goes by CloudFormation's Delete."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from stage_model.answer import Answer
from stage_model.discard import sweep
from stage_model.errors import StagingError
from stage_model.lease import Lease
from stage_model.patience import Patience
from stage_model.request import Place, StagedModelRequest, parse_place, parse_request
from stage_model.stager import Staged
from stage_model.store import Store
from stage_model.supersede import is_model, remove_model, remove_unheard

StageRequest = Callable[[StagedModelRequest, Lease], Staged]
UNSTAGED = "unstaged"


@dataclass(frozen=True)
class Lifecycle:
    """What each kind of request does; `stage` makes the objects."""

    stage: StageRequest
    store: Store
    patience: Patience

    def perform(self, event: Mapping[str, Any], lease: Lease) -> Answer:
        """Do what CloudFormation asks. Raises StagingError, OutOfTimeError or SupersededError."""
        if event.get("RequestType") == "Delete":
            return self._delete(str(event.get("PhysicalResourceId", "")), lease, place_of(event))
        return self._create(event, lease)

    def _create(self, event: Mapping[str, Any], lease: Lease) -> Answer:
        if event.get("RequestType") not in ("Create", "Update"):
            raise StagingError(f"RequestType must be Create, Update or Delete, got {event.get('RequestType')!r}")
        request = parse_request(properties_of(event))
        staged = self.stage(request, lease)
        if event.get("RequestType") == "Update":
            known = {staged.key, str(event.get("PhysicalResourceId", ""))}
            remove_unheard(self.store, request.key_prefix, lease, known, self.patience)
        data = {
            "ModelDataUrl": f"s3://{request.model_bucket}/{staged.key}",
            "Digest": staged.key.removeprefix(request.key_prefix).partition("/")[0],
            "Bytes": str(staged.size),
            "Revision": request.revision,
        }
        return Answer(staged.key, None, data)

    def _delete(self, physical_id: str, lease: Lease, place: Place) -> Answer:
        if is_model(place.key_prefix, physical_id):
            remove_model(self.store, place.key_prefix, physical_id, lease, self.patience)
            return Answer(physical_id)
        # CloudFormation knows of no model: whatever there is of this resource is left over.
        sweep(self.store, place.key_prefix, self.patience)
        remove_unheard(self.store, place.key_prefix, lease, (), self.patience)
        return Answer(physical_id)


def properties_of(event: Mapping[str, Any]) -> Mapping[str, object]:
    """Return the event's resource properties."""
    return cast(Mapping[str, object], event.get("ResourceProperties") or {})


def place_of(event: Mapping[str, Any]) -> Place:
    """Return where the event's resource may write. Raises StagingError."""
    return parse_place(properties_of(event))


def failure(event: Mapping[str, Any], reason: str) -> Answer:
    """Return the answer to a failed request: the old id, or for a Create one whose Delete removes only leftovers."""
    unstaged = f"{properties_of(event).get('KeyPrefix', '')}{UNSTAGED}"
    return Answer(str(event.get("PhysicalResourceId", unstaged)), reason)
