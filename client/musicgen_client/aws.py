"""boto3 clients with the right retries, and AWS's errors as exceptions that say what to do."""

import re
from dataclasses import dataclass
from typing import Any, NoReturn

import boto3
from botocore import exceptions as botocore_errors
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from musicgen_client.errors import (
    AccessError,
    EndpointError,
    MusicGenError,
    PermissionMissing,
    SendInDoubt,
    ServiceError,
)

AnyClient = Any  # boto3's clients have no static types
# Reading again is harmless. Sending is not: botocore's default repeats a call whose answer was lost, and SageMaker
# would then queue, generate and bill the request twice.
_READ = Config(retries={"mode": "standard", "total_max_attempts": 5}, connect_timeout=10, read_timeout=60)
_SEND = Config(retries={"total_max_attempts": 1}, connect_timeout=10, read_timeout=60)
_ACTIONS = {
    "DescribeStacks": "cloudformation:DescribeStacks",
    "InvokeEndpointAsync": "sagemaker:InvokeEndpointAsync",
    "DescribeEndpoint": "sagemaker:DescribeEndpoint",
    "DescribeEndpointConfig": "sagemaker:DescribeEndpointConfig",
    "UpdateEndpointWeightsAndCapacities": "sagemaker:UpdateEndpointWeightsAndCapacities",
    "GetMetricData": "cloudwatch:GetMetricData",
    "GetObject": "s3:GetObject",
    "HeadObject": "s3:GetObject",
    "PutObject": "s3:PutObject",
    "ListObjectsV2": "s3:ListBucket",
    "ReceiveMessage": "sqs:ReceiveMessage",
    "DeleteMessage": "sqs:DeleteMessage",
}
_DENIED = (
    "AccessDenied",
    "AccessDeniedException",
    "Forbidden",
    "403",
    "UnauthorizedOperation",
    "AccessDenied.Exception",
)
_SKEWED = ("RequestTimeTooSkewed", "RequestExpired", "RequestInTheFuture")
_BAD_CREDENTIALS = (
    "ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "UnrecognizedClientException",
    "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "IncompleteSignature", "InvalidSignatureException",
)  # fmt: skip
_THROTTLED = ("Throttling", "ThrottlingException", "ThrottledException", "TooManyRequestsException", "SlowDown")
_NEVER_SENT = (
    botocore_errors.EndpointConnectionError,
    botocore_errors.ConnectTimeoutError,
    botocore_errors.ProxyConnectionError,
    botocore_errors.NoCredentialsError,
    botocore_errors.PartialCredentialsError,
    botocore_errors.ParamValidationError,
    botocore_errors.NoRegionError,
)


@dataclass(frozen=True)
class Clients:
    """The boto3 clients that the package uses. `runtime` must not retry on its own."""

    cloudformation: AnyClient
    runtime: AnyClient
    sagemaker: AnyClient
    cloudwatch: AnyClient
    s3: AnyClient
    sqs: AnyClient


class Throttled(ServiceError):
    """AWS asks for fewer calls; the call had no effect."""


def connect(region: str | None = None, session: Any = None) -> Clients:
    """Create the clients; AccessError if there are no credentials or no region."""
    try:
        session = session or boto3.Session(region_name=region)

        def client(service: str, config: Config = _READ) -> AnyClient:
            return session.client(service, region_name=region, config=config)

        clients = Clients(
            cloudformation=client("cloudformation"),
            runtime=client("sagemaker-runtime", _SEND),
            sagemaker=client("sagemaker"),
            cloudwatch=client("cloudwatch"),
            s3=client("s3"),
            sqs=client("sqs"),
        )
    except BotoCoreError as error:
        raise translate(error, "") from error
    return clients


def code(error: ClientError) -> str:
    """Return the error's code, such as "NoSuchKey"."""
    answer: dict[str, Any] = dict(error.response.get("Error", {}))
    return str(answer.get("Code", ""))


def _status(error: ClientError) -> int:
    answer: Any = error.response
    return int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def translate(error: ClientError | BotoCoreError, what: str) -> MusicGenError:
    """Return the exception for an error of a call about `what` (an endpoint, stack or object)."""
    if isinstance(error, ClientError):
        return _translate_answer(error, what)
    if isinstance(error, botocore_errors.NoCredentialsError | botocore_errors.PartialCredentialsError):
        return AccessError("there are no AWS credentials; set AWS_PROFILE, or run `aws configure` or `aws sso login`")
    if isinstance(error, botocore_errors.NoRegionError):
        return AccessError("there is no AWS region; use --region, or set AWS_REGION or AWS_DEFAULT_REGION")
    if isinstance(error, botocore_errors.SSOError | botocore_errors.TokenRetrievalError):
        return AccessError(f"the sign-in has expired; run `aws sso login` ({error})")
    if isinstance(error, botocore_errors.ProfileNotFound):
        return AccessError(f"{error}; `aws configure list-profiles` shows the profiles")
    return ServiceError(f"AWS could not be reached: {error}")


def _translate_answer(error: ClientError, what: str) -> MusicGenError:
    answer: dict[str, Any] = dict(error.response.get("Error", {}))
    name, message = code(error), str(answer.get("Message", ""))
    if name in _SKEWED or "Signature expired" in message or "Signature not yet current" in message:
        return AccessError(f"this machine's clock is wrong, so AWS refuses its signatures; set it by NTP ({message})")
    if name in _DENIED or "not authorized to perform" in message:
        action = _action(error, message)
        policy = "attach the policy of the stack's output ClientPolicyArn"
        also = " or s3:ListBucket, without which S3 also refuses keys that do not exist yet" * (
            action == "s3:GetObject"
        )
        return PermissionMissing(f"permission {action}{also} is missing for {what}; {policy} or allow it", action)
    if name in _BAD_CREDENTIALS:
        return AccessError(f"AWS does not accept the credentials: {name}: {message}")
    if name in _THROTTLED or _status(error) == 429:
        return Throttled(f"AWS throttles {error.operation_name}; try again with a lower rate ({message})")
    if error.operation_name.endswith("InvokeEndpointAsync") and _status(error) < 500:
        return EndpointError(f"endpoint {what} did not take the request: {message}")
    return ServiceError(f"{error.operation_name} on {what} failed: {name}: {message}")


def _action(error: ClientError, message: str) -> str:
    named = re.search(r"not authorized to perform: ([a-z0-9-]+:[A-Za-z*]+)", message)
    return named[1] if named else _ACTIONS.get(error.operation_name, error.operation_name)


def raise_send_error(error: ClientError | BotoCoreError, endpoint: str) -> NoReturn:
    """Raise SendInDoubt if the call may have queued the request, else the exception that says why it did not.

    A 4xx answer, or a connection that was never made, proves that nothing was queued. A 5xx answer, a lost connection
    or a timeout of the answer prove nothing.
    """
    if isinstance(error, ClientError):
        in_doubt = not 400 <= _status(error) < 500 and code(error) not in _THROTTLED
    else:
        never = isinstance(error, _NEVER_SENT) or "CERTIFICATE_VERIFY_FAILED" in str(error)
        broken = isinstance(error, botocore_errors.HTTPClientError | botocore_errors.ConnectionError)
        in_doubt = broken and not never
    if in_doubt:
        raise SendInDoubt(f"the answer to the call was lost, so the request may be queued ({error})") from error
    raise translate(error, endpoint) from error
