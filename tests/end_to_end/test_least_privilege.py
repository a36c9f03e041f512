"""Every permission of the deployed roles is needed, and everything else is denied."""

import json
from collections.abc import Generator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.end_to_end.rights.access_denials import AccessDenials
from tests.end_to_end.rights.deployed_permissions import Permission
from tests.end_to_end.rights.probed_stack import (
    CLIENT,
    EMPTIER,
    FAILED_START,
    SERVING,
    STAGING,
    ProbedStack,
    probed_stack,
    tools_on_path,
)

pytestmark = pytest.mark.timeout(900)

_IMAGE = "arn:aws:ecr:us-east-1:763104351884:repository/huggingface-pytorch-inference"
_PULL = "the containers are processes here; no image is pulled"
_ROLLBACK = "needed only while a creation is rolled back, which test_failed_start.py does"
_PARTS = "needed only when a multipart upload fails, and clips this short are uploaded in one part"
# Permissions that nothing on one machine needs, each with the reason.
EXEMPT = {
    Permission(SERVING, "ecr:GetAuthorizationToken", "*"): _PULL,
    Permission(SERVING, "ecr:BatchCheckLayerAvailability", _IMAGE): _PULL,
    Permission(SERVING, "ecr:BatchGetImage", _IMAGE): _PULL,
    Permission(SERVING, "ecr:GetDownloadUrlForLayer", _IMAGE): _PULL,
    Permission(SERVING, "cloudwatch:PutMetricData", "*"): "SageMaker's agent, absent here, publishes host metrics",
    Permission(SERVING, "logs:DescribeLogStreams", "<AsyncEndpointLogs>:*"): "SageMaker's agent, absent here, needs it",
    Permission(FAILED_START, "logs:DescribeLogStreams", "<AsyncEndpointLogs>:*"): _ROLLBACK,
    Permission(FAILED_START, "logs:GetLogEvents", "<AsyncEndpointLogs>:*"): _ROLLBACK,
    Permission(SERVING, "s3:AbortMultipartUpload", "<StorageOutputBucket>/audio/*"): _PARTS,
    Permission(SERVING, "s3:AbortMultipartUpload", "<StorageOutputBucket>/failures/*"): _PARTS,
    Permission(SERVING, "s3:AbortMultipartUpload", "<StorageOutputBucket>/out/*"): _PARTS,
}
DENIED_CODES = frozenset({"AccessDenied", "AccessDeniedException"})

_ARTIFACT, _MODEL = {"Bucket": "<StorageArtifactBucket>"}, "models/MusicGen-dev/StagedModel/x"
_INPUT, _OUTPUT = {"Bucket": "<StorageInputBucket>"}, {"Bucket": "<StorageOutputBucket>"}
_ENDPOINT = {"EndpointName": "musicgen-dev"}
_BODY = {"Body": b"x"}
_ADMIN = "arn:aws:iam::aws:policy/AdministratorAccess"
_OTHER_LOGS = {"logGroupName": "/aws/lambda/other", "logStreamName": "x"}
DENIED: list[tuple[str, str, str, dict[str, Any]]] = [
    (STAGING, "s3", "put_object", {**_ARTIFACT, **_BODY, "Key": "models/Other/StagedModel/x"}),
    (STAGING, "s3", "get_object", {**_ARTIFACT, "Key": "models/Other/StagedModel/x"}),
    (STAGING, "s3", "delete_object", {**_ARTIFACT, "Key": "elsewhere"}),
    (STAGING, "s3", "list_objects_v2", {**_ARTIFACT}),
    (STAGING, "s3", "list_objects_v2", {**_ARTIFACT, "Prefix": "models/Other/"}),
    (STAGING, "s3", "get_object", {**_INPUT, "Key": "in/x"}),
    (STAGING, "s3", "put_object", {**_OUTPUT, **_BODY, "Key": "audio/x"}),
    (STAGING, "s3", "delete_object", {**_OUTPUT, "Key": "audio/x"}),
    (STAGING, "s3", "put_bucket_policy", {**_ARTIFACT, "Policy": "{}"}),
    (STAGING, "s3", "list_buckets", {}),
    (STAGING, "sns", "publish", {"TopicArn": "<NotificationsSuccessTopic>", "Message": "x"}),
    (STAGING, "sagemaker", "delete_endpoint", _ENDPOINT),
    (STAGING, "logs", "create_log_group", {"logGroupName": "/aws/lambda/other"}),
    (STAGING, "logs", "create_log_stream", _OTHER_LOGS),
    (STAGING, "iam", "attach_role_policy", {"RoleName": "<StagedModelRole>", "PolicyArn": _ADMIN}),
    (STAGING, "lambda", "update_function_code", {"FunctionName": "<StagedModelFunction>", "ZipFile": b"x"}),
    (SERVING, "s3", "get_object", {**_ARTIFACT, "Key": "models/Other/StagedModel/x"}),
    (SERVING, "s3", "list_objects_v2", {**_ARTIFACT, "Prefix": "models/"}),
    (SERVING, "s3", "put_object", {**_ARTIFACT, **_BODY, "Key": _MODEL}),
    (SERVING, "s3", "delete_object", {**_ARTIFACT, "Key": _MODEL}),
    (SERVING, "s3", "put_object", {**_INPUT, **_BODY, "Key": "in/x"}),
    (SERVING, "s3", "get_object", {**_INPUT, "Key": "elsewhere/x"}),
    (SERVING, "s3", "get_object", {**_OUTPUT, "Key": "out/x"}),
    (SERVING, "s3", "put_object", {**_OUTPUT, **_BODY, "Key": "elsewhere/x"}),
    (SERVING, "s3", "put_object", {**_OUTPUT, **_BODY, "Key": "cancel/x"}),
    (SERVING, "s3", "delete_object", {**_OUTPUT, "Key": "cancel/x"}),
    (SERVING, "s3", "list_objects_v2", {**_OUTPUT, "Prefix": "cancel/"}),
    (SERVING, "s3", "delete_object", {**_OUTPUT, "Key": "out/x"}),
    (SERVING, "s3", "list_objects_v2", {**_OUTPUT}),
    (SERVING, "sns", "publish", {"TopicArn": "<NotificationsAlarmTopic>", "Message": "x"}),
    (SERVING, "sns", "subscribe", {"TopicArn": "<NotificationsErrorTopic>", "Protocol": "sqs", "Endpoint": "x"}),
    (SERVING, "logs", "create_log_group", {"logGroupName": "/aws/sagemaker/Endpoints/musicgen-dev"}),
    (SERVING, "logs", "create_log_stream", {**_OTHER_LOGS, "logGroupName": "/aws/sagemaker/Endpoints/other"}),
    (SERVING, "cloudwatch", "put_metric_data", {"Namespace": "Other", "MetricData": [{"MetricName": "x"}]}),
    (SERVING, "sagemaker-runtime", "invoke_endpoint_async", {**_ENDPOINT, **_BODY}),
    (SERVING, "lambda", "invoke", {"FunctionName": "<StagedModelFunction>", "Payload": b"{}"}),
    (SERVING, "iam", "create_user", {"UserName": "x"}),
    (
        SERVING,
        "sts",
        "assume_role",
        {"RoleArn": "arn:aws:iam::123456789012:role/probe-client", "RoleSessionName": "other"},
    ),
    (CLIENT, "s3", "get_object", {**_ARTIFACT, "Key": _MODEL}),
    (CLIENT, "s3", "get_object", {**_INPUT, "Key": "in/probe"}),
    (CLIENT, "s3", "put_object", {**_INPUT, **_BODY, "Key": "elsewhere/x"}),
    (CLIENT, "s3", "delete_object", {**_INPUT, "Key": "in/probe"}),
    (CLIENT, "s3", "list_objects_v2", {**_INPUT}),
    (CLIENT, "s3", "put_object", {**_OUTPUT, **_BODY, "Key": "audio/x"}),
    (CLIENT, "s3", "get_object", {**_OUTPUT, "Key": "cancel/probe"}),
    (CLIENT, "s3", "delete_object", {**_OUTPUT, "Key": "cancel/probe"}),
    (CLIENT, "s3", "list_objects_v2", {**_OUTPUT, "Prefix": "cancel/"}),
    (CLIENT, "s3", "delete_object", {**_OUTPUT, "Key": "out/probe"}),
    (CLIENT, "s3", "list_objects_v2", {**_OUTPUT}),
    (CLIENT, "s3", "list_objects_v2", {**_OUTPUT, "Prefix": "elsewhere/"}),
    (CLIENT, "sagemaker-runtime", "invoke_endpoint_async", {**_BODY, "EndpointName": "other"}),
    (CLIENT, "sagemaker", "delete_endpoint", _ENDPOINT),
    (CLIENT, "sagemaker", "update_endpoint", {**_ENDPOINT, "EndpointConfigName": "x"}),
    (CLIENT, "sns", "publish", {"TopicArn": "<NotificationsSuccessTopic>", "Message": "x"}),
    (CLIENT, "lambda", "invoke", {"FunctionName": "<StagedModelFunction>", "Payload": b"{}"}),
    (CLIENT, "iam", "list_roles", {}),
    (EMPTIER, "s3", "get_object", {**_OUTPUT, "Key": "out/probe"}),
    (EMPTIER, "s3", "put_object", {**_OUTPUT, **_BODY, "Key": "out/x"}),
    (EMPTIER, "s3", "delete_bucket", {**_OUTPUT}),
    (EMPTIER, "logs", "create_log_group", {"logGroupName": "/aws/lambda/other"}),
]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Generator[ProbedStack]:
    """One deployment for all tests in this module; each test restores it."""
    with tools_on_path(), probed_stack(tmp_path_factory.mktemp("least-privilege")) as deployed:
        yield deployed


def test_every_principal_is_probed(stack: ProbedStack) -> None:
    assert {permission.principal for permission in stack.permissions.all()} == set(stack.probes)


@pytest.mark.parametrize("principal", [STAGING, SERVING, CLIENT, EMPTIER, FAILED_START])
def test_removing_any_permission_breaks_something(stack: ProbedStack, principal: str) -> None:
    permissions = sorted((r for r in stack.permissions.all() - set(EXEMPT) if r.principal == principal), key=str)
    unneeded = [permission for permission in permissions if stack.failure_without(permission) is None]
    assert permissions
    assert unneeded == []


@pytest.mark.parametrize("principal", [STAGING, SERVING, CLIENT, EMPTIER, FAILED_START])
def test_everything_works_without_the_exempt_permissions(stack: ProbedStack, principal: str) -> None:
    assert set(EXEMPT) <= stack.permissions.all()
    special = [probe for (owner, _), probe in stack.special.items() if owner == principal]
    # The special probe starts a second instance, which covers starting another endpoint.
    probes = [probe for probe in stack.probes[principal] if probe != stack.serving.starts_another_endpoint] + special
    with stack.permissions.without(set(EXEMPT)):
        assert stack.first_failure(principal, probes) is None
        if stack.serving.opens_log_stream in probes:
            stack.serving.scale_back()


@pytest.mark.parametrize(("principal", "failure"), [(STAGING, "cannot assume"), (SERVING, "Could not assume role")])
def test_role_cannot_be_assumed_without_its_trust_policy(stack: ProbedStack, principal: str, failure: str) -> None:
    iam, role = stack.aws.client("iam"), stack.role(principal)
    trust = iam.get_role(RoleName=role)["Role"]["AssumeRolePolicyDocument"]
    (statement,) = trust["Statement"]
    closed = json.dumps({**trust, "Statement": [{**statement, "Principal": {"Service": "ec2.amazonaws.com"}}]})
    iam.update_assume_role_policy(RoleName=role, PolicyDocument=closed)
    try:
        with pytest.raises(Exception, match=failure):
            stack.probes[principal][-1](AccessDenials(stack.aws, role))
    finally:
        iam.update_assume_role_policy(RoleName=role, PolicyDocument=json.dumps(trust))


def test_bucket_emptier_needs_the_bucket_policy(stack: ProbedStack) -> None:
    s3, bucket = stack.aws.client("s3"), stack.permissions.physical("StorageInputBucket")
    policy = s3.get_bucket_policy(Bucket=bucket)["Policy"]
    content = json.loads(policy)
    denying = [statement for statement in content["Statement"] if statement["Effect"] == "Deny"]
    assert len(denying) < len(content["Statement"])
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps({**content, "Statement": denying}))
    try:
        failure = stack.first_failure(EMPTIER, stack.probes[EMPTIER])
    finally:
        s3.put_bucket_policy(Bucket=bucket, Policy=policy)
    assert failure is not None


@pytest.mark.parametrize(
    ("principal", "service", "operation", "parameters"),
    DENIED,
    ids=[f"{principal}-{operation}-{number}" for number, (principal, _, operation, _) in enumerate(DENIED)],
)
def test_other_actions_are_denied(
    stack: ProbedStack, principal: str, service: str, operation: str, parameters: dict[str, Any]
) -> None:
    named = {
        key: stack.permissions.physical(value[1:-1]) if str(value).startswith("<") else value
        for key, value in parameters.items()
    }
    client = stack.aws.client_as(service, *stack.keys(principal))
    with pytest.raises(ClientError) as error:
        getattr(client, operation)(**named)
    assert error.value.response.get("Error", {}).get("Code") in DENIED_CODES
