"""The Lambda's entry point: connects the service to AWS, the Hub and CloudFormation."""

import logging
import uuid
from collections.abc import Mapping
from contextlib import closing
from typing import Any, Protocol

from stage_model.answer import send_answer
from stage_model.bundle import read_bundle
from stage_model.clock import SystemClock
from stage_model.connections import Connections
from stage_model.errors import StagingError
from stage_model.gather import gather
from stage_model.lease import Lease
from stage_model.lifecycle import StageRequest
from stage_model.origin import open_repository
from stage_model.patience import Patience, persist
from stage_model.pipeline import ThreadPipeline
from stage_model.request import StagedModelRequest
from stage_model.s3_client import invoke_again, s3_client
from stage_model.s3_objects import S3Objects
from stage_model.s3_store import S3Store
from stage_model.service import Invocation, serve
from stage_model.stager import Means, Staged, stage
from stage_model.store import Store

logging.getLogger("stage_model").setLevel(logging.INFO)
THREADS = 8
# Kept at the end of an invocation, to write the journal and begin the next invocation: enough for two requests that
# reach their time-outs, the one under way at the deadline and one of these.
HAND_OVER_S = 60.0
LAST_S = 3.0


class Context(Protocol):
    """The part of Lambda's context object that is used."""

    invoked_function_arn: str

    def get_remaining_time_in_millis(self) -> int:
        """Return how long this invocation may go on, in milliseconds."""
        ...


def handler(event: Mapping[str, Any], context: Context) -> None:
    """Serve one request of `Custom::StagedModel`; the outcome goes to the event's ResponseURL."""
    clock = SystemClock()
    end = clock.now() + context.get_remaining_time_in_millis() / 1000
    work, patience = Patience(clock, end - HAND_OVER_S), Patience(clock, end - LAST_S)
    with closing(Connections()) as connections, closing(s3_client()) as client:

        def stage_in(store: Store, patience: Patience) -> StageRequest:
            def stage_request(request: StagedModelRequest, lease: Lease) -> Staged:
                bundle = _read_bundle(S3Objects(client, request.code_bucket), request, patience)
                materials = gather(request, open_repository(request, client, connections, patience), bundle)
                return stage(materials, Means(store, lease, patience, ThreadPipeline(THREADS)))

            return stage_request

        invocation = Invocation(
            owner=uuid.uuid4().hex,
            clock=clock,
            work=work,
            patience=patience,
            open_store=lambda bucket: S3Store(client, bucket, connections),
            stage=stage_in,
            send=lambda event, answer: send_answer(event, answer, connections, end - LAST_S),
            hand_over=lambda event: persist(patience, lambda: invoke_again(context.invoked_function_arn, event)),
        )
        serve(event, invocation)


def _read_bundle(code: S3Objects, request: StagedModelRequest, patience: Patience) -> Mapping[str, bytes]:
    found = persist(patience, lambda: code.read(request.code_key))
    if found is None:
        raise StagingError(f"the bundle s3://{request.code_bucket}/{request.code_key} must exist")
    return read_bundle(found.data)
