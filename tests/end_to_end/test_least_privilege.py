"""Every right of the deployed roles is needed: without it something fails. What they must not do is refused."""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.end_to_end.rights.deployed_rights import Right
from tests.end_to_end.rights.probe_refusals import Refusals
from tests.end_to_end.rights.probed_stack import (
    CLIENT,
    EMPTIER,
    SERVING,
    STAGING,
    ProbedStack,
    probed_stack,
    tools_on_path,
)

pytestmark = pytest.mark.timeout(900)

_IMAGE = "arn:aws:ecr:us-east-1:763104351884:repository/huggingface-pytorch-inference"
_PULL = "the containers here are processes: no image is pulled"
_PARTS = "needed only when an upload in parts fails, and clips this short are uploaded whole"
# Rights that nothing on one machine can need, each with the reason.
EXEMPT = {
    Right(SERVING, "ecr:GetAuthorizationToken", "*"): _PULL,
    Right(SERVING, "ecr:BatchCheckLayerAvailability", _IMAGE): _PULL,
    Right(SERVING, "ecr:BatchGetImage", _IMAGE): _PULL,
    Right(SERVING, "ecr:GetDownloadUrlForLayer", _IMAGE): _PULL,
    Right(SERVING, "cloudwatch:PutMetricData", "*"): "SageMaker's agent, which is not here, sends the host's metrics",
    Right(SERVING, "logs:DescribeLogStreams", "<AsyncEndpointLogs>:*"): "SageMaker's agent, which is not here, looks",
    Right(SERVING, "s3:AbortMultipartUpload", "<StorageOutputBucket>/audio/*"): _PARTS,
    Right(SERVING, "s3:AbortMultipartUpload", "<StorageOutputBucket>/failures/*"): _PARTS,
    Right(SERVING, "s3:AbortMultipartUpload", "<StorageOutputBucket>/out/*"): _PARTS,
}
REFUSED = frozenset({"AccessDenied", "AccessDeniedException"})

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
    (SERVING, "s3", "get_object", {**_OUTPUT, "Key": "audio/x"}),
    (SERVING, "s3", "put_object", {**_OUTPUT, **_BODY, "Key": "elsewhere/x"}),
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
    """One deployment for all tests here; each leaves it as it was."""
    with tools_on_path(), probed_stack(tmp_path_factory.mktemp("least-privilege")) as deployed:
        yield deployed


def test_everybody_who_holds_rights_is_probed(stack: ProbedStack) -> None:
    assert {right.holder for right in stack.rights.all()} == set(stack.probes)


@pytest.mark.parametrize("holder", [STAGING, SERVING, CLIENT, EMPTIER])
def test_without_any_one_right_something_fails(stack: ProbedStack, holder: str) -> None:
    rights = sorted((r for r in stack.rights.all() - set(EXEMPT) if r.holder == holder), key=str)
    needless = [right for right in rights if stack.why_needed(right) is None]
    assert rights
    assert needless == []


@pytest.mark.parametrize("holder", [STAGING, SERVING, CLIENT, EMPTIER])
def test_without_all_exempt_rights_everything_works(stack: ProbedStack, holder: str) -> None:
    assert set(EXEMPT) <= stack.rights.all()
    special = [probe for (whose, _), probe in stack.special.items() if whose == holder]
    # A second instance, of the special probes, shows as well as another endpoint that one starts.
    probes = [probe for probe in stack.probes[holder] if probe != stack.serving.starts] + special
    with stack.rights.without(set(EXEMPT)):
        assert stack.first_failure(holder, probes) is None
        if stack.serving.opens_log in probes:
            stack.serving.rest()


@pytest.mark.parametrize(("holder", "failure"), [(STAGING, "cannot assume"), (SERVING, "Could not assume role")])
def test_without_its_trust_policy_a_role_is_of_no_use(stack: ProbedStack, holder: str, failure: str) -> None:
    iam, role = stack.aws.client("iam"), stack.role(holder)
    trust = iam.get_role(RoleName=role)["Role"]["AssumeRolePolicyDocument"]
    (statement,) = trust["Statement"]
    closed = json.dumps({**trust, "Statement": [{**statement, "Principal": {"Service": "ec2.amazonaws.com"}}]})
    iam.update_assume_role_policy(RoleName=role, PolicyDocument=closed)
    try:
        with pytest.raises(Exception, match=failure):
            stack.probes[holder][-1](Refusals(stack.aws, role))
    finally:
        iam.update_assume_role_policy(RoleName=role, PolicyDocument=json.dumps(trust))


def test_bucket_emptier_does_nothing_without_the_buckets_own_policy(stack: ProbedStack) -> None:
    s3, bucket = stack.aws.client("s3"), stack.rights.physical("StorageInputBucket")
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
    ("holder", "service", "operation", "parameters"),
    DENIED,
    ids=[f"{holder}-{operation}-{number}" for number, (holder, _, operation, _) in enumerate(DENIED)],
)
def test_what_a_role_must_not_do_is_refused(
    stack: ProbedStack, holder: str, service: str, operation: str, parameters: dict[str, Any]
) -> None:
    named = {
        key: stack.rights.physical(value[1:-1]) if str(value).startswith("<") else value
        for key, value in parameters.items()
    }
    client = stack.aws.client_as(service, *stack.keys(holder))
    with pytest.raises(ClientError) as refusal:
        getattr(client, operation)(**named)
    assert refusal.value.response.get("Error", {}).get("Code") in REFUSED
