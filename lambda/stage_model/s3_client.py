# pyright: reportUnknownMemberType=false
# boto3.client is overloaded for every service, most of them without installed stubs.
"""boto3, set up for the Lambda, and its errors told apart: worth another attempt, or final."""

import json
import os
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from stage_model.errors import ConflictError, StagingError, TransientError, UploadGoneError

if TYPE_CHECKING:  # the stubs are a development tool; the Lambda has none
    from mypy_boto3_s3 import S3Client

T = TypeVar("T")
ABSENT = frozenset({"404", "NoSuchKey", "NotFound"})
# ConditionalRequestConflict: another conditional write was under way, and S3 asks to try again.
RETRYABLE = frozenset({
    "SlowDown", "InternalError", "RequestTimeout", "ConditionalRequestConflict", "OperationAborted", "InvalidPart",
    "Throttling", "ThrottlingException", "RequestLimitExceeded",  # with status 400: KMS behind S3, Secrets Manager
})  # fmt: skip
CONNECT_S, READ_S = 5, 20  # seconds, before the next attempt


def config() -> Config:
    """Return what every client is made with: bounded waits, and one attempt, since `patience` decides on more."""
    retries = {"mode": "standard", "total_max_attempts": 1}
    return Config(retries=retries, connect_timeout=CONNECT_S, read_timeout=READ_S)  # pyright: ignore[reportArgumentType] - the stub asks for its own TypedDict


def s3_client() -> "S3Client":
    """Return the client of the function's own region and role; `AWS_ENDPOINT_URL` and `AWS_CA_BUNDLE` are honoured."""
    signed = config().merge(Config(signature_version="s3v4"))  # S3 alone: Lambda refuses it for an ARN in the path
    return boto3.client("s3", region_name=os.environ.get("AWS_REGION"), config=signed)


def invoke_again(function_arn: str, event: Mapping[str, Any]) -> None:
    """Begin a fresh invocation of a function with the same event, without waiting for it.

    Raises TransientError or StagingError.
    """
    with closing(boto3.client("lambda", region_name=os.environ.get("AWS_REGION"), config=config())) as client:
        payload = json.dumps(dict(event)).encode()
        translated(
            "handing over",
            lambda: client.invoke(FunctionName=function_arn, InvocationType="Event", Payload=payload),
        )


def translated(what: str, call: Callable[[], T]) -> T:
    """Run one request; `what` begins the message of its error.

    Raises TransientError, ConflictError, UploadGoneError or StagingError in place of botocore's errors.
    """
    try:
        return call()
    except ClientError as error:
        raise _translate(what, error) from error
    except (BotoCoreError, OSError) as error:
        raise TransientError(f"{what} failed: {error}") from error


def code_of(error: ClientError) -> str:
    """Return the service's name for an error."""
    return error.response.get("Error", {}).get("Code", "")


def _translate(what: str, error: ClientError) -> Exception:
    status, code = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0), code_of(error)
    message = f"{what} failed: {code}: {error.response.get('Error', {}).get('Message', '')}"
    if status >= 500 or status == 429 or code in RETRYABLE:
        return TransientError(message)
    if code == "NoSuchUpload":
        return UploadGoneError(message)
    return ConflictError(message) if status == 412 else StagingError(message)
