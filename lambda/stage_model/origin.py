"""Which repository a request reads from: the Hub, a mirror that speaks its API, or a copy in S3."""

import os
from typing import TYPE_CHECKING

from stage_model.connections import Connections
from stage_model.hub import HubRepository
from stage_model.mirror import S3Mirror
from stage_model.patience import Patience, persist
from stage_model.repository import Repository
from stage_model.request import StagedModelRequest
from stage_model.secret import read_token

if TYPE_CHECKING:  # the stubs are a development tool; the Lambda has none
    from mypy_boto3_s3 import S3Client


def open_repository(
    request: StagedModelRequest, client: "S3Client", connections: Connections, patience: Patience
) -> Repository:
    """Return the commit at `HF_ENDPOINT`: an https address, or `s3://<bucket>/<prefix>` of a mirror.

    Raises StagingError when the token's secret cannot be read.
    """
    endpoint, model_id, revision = os.environ["HF_ENDPOINT"], request.model_id, request.revision
    if endpoint.startswith("s3://"):
        return S3Mirror(endpoint, model_id, revision, client, connections, patience)
    token = None
    if request.token_secret_arn is not None:
        arn = request.token_secret_arn
        token = persist(patience, lambda: read_token(arn))
    return HubRepository(endpoint, model_id, revision, connections, patience, token)
