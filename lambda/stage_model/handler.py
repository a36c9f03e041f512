"""The Lambda's entry point: connects the parts to AWS, and answers CloudFormation once."""

import logging
import os
import time
from collections.abc import Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any, Protocol

from stage_model.answer import Answer, send_answer
from stage_model.bundle import MAX_ZIP, read_bundle
from stage_model.clock import SystemClock
from stage_model.connections import Connections
from stage_model.errors import OutOfTimeError
from stage_model.hub import HubRepository
from stage_model.lifecycle import UNSTAGED, Lifecycle
from stage_model.patience import Patience, persist
from stage_model.plan import make_plan
from stage_model.request import StagedModelRequest
from stage_model.s3_store import S3Store, read_object, s3_client
from stage_model.stager import Staged, stage

if TYPE_CHECKING:  # the stubs are a development tool; the Lambda has none
    from mypy_boto3_s3 import S3Client

_log = logging.getLogger(__name__)
_log.setLevel(logging.INFO)
_ANSWER_S = 20.0  # kept for the answer at the end of an invocation


class Context(Protocol):
    """The part of Lambda's context object that is used."""

    def get_remaining_time_in_millis(self) -> int:
        """Return how long this invocation may go on, in milliseconds."""
        ...


def handler(event: Mapping[str, Any], context: Context) -> None:
    """Serve one request of `Custom::StagedModel`; the outcome goes to the event's ResponseURL."""
    deadline = time.time() + context.get_remaining_time_in_millis() / 1000
    with closing(Connections()) as connections, closing(s3_client()) as client:
        answer = _answer(event, client, connections, deadline - _ANSWER_S)
        _log.info("%s of %s: %s", event.get("RequestType"), answer.physical_id, answer.reason or "done")
        send_answer(event, answer, connections, deadline - 1)


def _answer(event: Mapping[str, Any], client: "S3Client", connections: Connections, deadline: float) -> Answer:
    patience = Patience(SystemClock(), deadline)

    def stage_request(request: StagedModelRequest) -> tuple[Staged, str]:
        bundle = read_bundle(
            persist(patience, lambda: read_object(client, request.code_bucket, request.code_key, MAX_ZIP))
        )
        endpoint = os.environ["HF_ENDPOINT"]
        repository = HubRepository(endpoint, request.model_id, request.revision, connections, patience)
        plan = make_plan(request, repository, bundle)
        key = f"{request.key_prefix}{plan.digest}/model.tar.gz"
        return stage(plan, key, S3Store(client, request.model_bucket, connections), patience), plan.digest

    def open_store(bucket: str) -> S3Store:
        return S3Store(client, bucket, connections)

    try:
        return Lifecycle(stage_request, open_store, patience).handle(event)
    except OutOfTimeError as error:
        return _unforeseen(event, f"staging did not finish in time: {error}")
    except Exception as error:  # CloudFormation would wait an hour for an answer that never comes
        _log.exception("unforeseen error")
        return _unforeseen(event, f"unforeseen {type(error).__name__}; the function's log has the details")


def _unforeseen(event: Mapping[str, Any], reason: str) -> Answer:
    prefix = event.get("ResourceProperties", {}).get("KeyPrefix", "")
    return Answer(str(event.get("PhysicalResourceId", f"{prefix}{UNSTAGED}")), reason)
