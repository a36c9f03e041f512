"""The Lambda's entry point: connects the custom resource to AWS, the Hub and CloudFormation."""

import logging
import os
import uuid
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from stage_model.archive.object_layout import PARTS_IN_FLIGHT
from stage_model.archive.staging_plan import collect_inputs
from stage_model.custom_resource.lifecycle import Invocation, Response, send_response, serve
from stage_model.errors import StagingError
from stage_model.http import Connections
from stage_model.request import Commit, StagedModelRequest, check_response_url
from stage_model.retry import RetryBudget, SystemClock, retry
from stage_model.s3 import S3Store, invoke_async, read_object, s3_client
from stage_model.source.hub import HubRepository, read_token
from stage_model.source.repository_listing import Repository, read_bundle
from stage_model.source.s3_mirror import S3Mirror
from stage_model.upload.pipeline import ThreadPipeline
from stage_model.upload.stager import StagedModel, StagingContext, stage

if TYPE_CHECKING:  # the stubs are a development dependency
    from mypy_boto3_s3 import S3Client

logging.getLogger("stage_model").setLevel(logging.INFO)
_log = logging.getLogger(__name__)
THREADS = PARTS_IN_FLIGHT
# Reserved at the end of an invocation to save the journal and start the next one: enough for two requests that time
# out, one in progress at the deadline and one of these.
CONTINUATION_RESERVE_S = 60.0
EXIT_RESERVE_S = 3.0


class Context(Protocol):
    """The part of Lambda's context object that is used."""

    invoked_function_arn: str

    def get_remaining_time_in_millis(self) -> int: ...


def handler(event: Mapping[str, Any], context: Context) -> None:
    """Serve one request of `Custom::StagedModel`; the response goes to the event's ResponseURL."""
    try:
        check_response_url(event)
    except StagingError as error:
        _log.error("the event is ignored, since no response can be sent: %s", error)
        return
    clock = SystemClock()
    end = clock.now() + context.get_remaining_time_in_millis() / 1000
    work, budget = RetryBudget(clock, end - CONTINUATION_RESERVE_S), RetryBudget(clock, end - EXIT_RESERVE_S)
    with closing(Connections()) as connections, closing(s3_client()) as client:
        environment = AwsEnvironment(context.invoked_function_arn, client, connections, work, budget)
        serve(event, Invocation(uuid.uuid4().hex, work, budget, environment))


@dataclass(frozen=True)
class AwsEnvironment:
    """The services that the Lambda uses, see `Environment`, until the deadlines of `work` and of `budget`."""

    function_arn: str
    client: "S3Client"
    connections: Connections
    work: RetryBudget
    budget: RetryBudget

    def open_store(self, bucket: str) -> S3Store:
        return S3Store(self.client, bucket, self.connections, self.work)

    def stage(self, request: StagedModelRequest, context: StagingContext) -> StagedModel:
        found = context.retry(lambda: read_object(self.client, request.code_bucket, request.code_key))
        if found is None:
            raise StagingError(f"the bundle s3://{request.code_bucket}/{request.code_key} must exist")
        commit = Commit(request.model_id, request.revision)
        repository, companion = self._open_repository(commit, request, context.budget), None
        if request.custom:
            companion = self._open_repository(request.custom.companion, request, context.budget)
        inputs = collect_inputs(request, repository, read_bundle(found.data), companion=companion)
        return stage(inputs, context, ThreadPipeline(THREADS))

    def respond(self, event: Mapping[str, Any], response: Response) -> None:
        send_response(event, response, self.connections, self.budget.deadline)

    def continue_in_new_invocation(self, event: Mapping[str, Any]) -> None:
        retry(self.budget, lambda: invoke_async(self.function_arn, event))

    def _open_repository(self, commit: Commit, request: StagedModelRequest, budget: RetryBudget) -> Repository:
        """Return a commit at `HF_ENDPOINT`: an https URL, or `s3://<bucket>/<prefix>` of a mirror."""
        endpoint, model_id, revision = os.environ["HF_ENDPOINT"], commit.model_id, commit.revision
        if endpoint.startswith("s3://"):
            return S3Mirror(endpoint, model_id, revision, self.client, self.connections, budget)
        arn = request.token_secret_arn
        token = None if arn is None else retry(budget, lambda: read_token(arn))
        return HubRepository(endpoint, model_id, revision, self.connections, budget, token)
