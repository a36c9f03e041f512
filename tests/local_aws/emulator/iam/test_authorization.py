"""IAM at the API: a role's session may do exactly what the deployed policies allow."""
# pyright: reportTypedDictNotRequiredAccess=false
# (errors and listings always carry what is read here)

import json
import ssl
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from local_aws.emulator.account import ROOT_ACCESS_KEY_ID
from local_aws.emulator.process import LocalAws

ROLE_TRUST: dict[str, Any] = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"AWS": "123456789012"}, "Action": "sts:AssumeRole"}],
}


class Deployed:
    """Deploy a bucket, a topic, a log group and a role with the given statements; `client` uses the role's session."""

    def __init__(self, stack: Any, *statements: dict[str, Any], bucket_policy: list[dict[str, Any]] | None = None):
        policy = {"Version": "2012-10-17", "Statement": list(statements)}
        role: dict[str, Any] = {"AssumeRolePolicyDocument": ROLE_TRUST}
        if statements:
            role["Policies"] = [{"PolicyName": "permissions", "PolicyDocument": policy}]
        resources: dict[str, Any] = {
            "Bucket": {"Type": "AWS::S3::Bucket"},
            "Topic": {"Type": "AWS::SNS::Topic"},
            "Logs": {"Type": "AWS::Logs::LogGroup"},
            "Role": {"Type": "AWS::IAM::Role", "Properties": role},
        }
        if bucket_policy is not None:
            document = {"Version": "2012-10-17", "Statement": bucket_policy}
            properties = {"Bucket": {"Ref": "Bucket"}, "PolicyDocument": document}
            resources["Policy"] = {"Type": "AWS::S3::BucketPolicy", "Properties": properties}
        assert stack.deploy(resources) == "CREATE_COMPLETE"
        self.aws: LocalAws = stack.aws
        self.bucket, self.topic = stack.physical_id("Bucket"), stack.physical_id("Topic")
        self.logs = stack.physical_id("Logs")
        arn = f"arn:aws:iam::123456789012:role/{stack.physical_id('Role')}"
        self.credentials = stack.aws.client("sts").assume_role(RoleArn=arn, RoleSessionName="test")["Credentials"]

    def client(self, service: str) -> Any:
        keys = (self.credentials[name] for name in ("AccessKeyId", "SecretAccessKey", "SessionToken"))
        return self.aws.client_as(service, *keys)

    def put(self, *keys: str) -> None:
        for key in keys:
            self.aws.client("s3").put_object(Bucket=self.bucket, Key=key, Body=b"x")

    def empty(self) -> None:
        s3 = self.aws.client("s3")
        for item in s3.list_objects_v2(Bucket=self.bucket).get("Contents", []):
            s3.delete_object(Bucket=self.bucket, Key=item["Key"])


def allow(action: str | list[str], resource: Any, **rest: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource, **rest}


IN_BUCKET = {"Fn::Sub": "${Bucket.Arn}"}


def in_bucket(prefix: str) -> dict[str, str]:
    return {"Fn::Sub": "${Bucket.Arn}/" + prefix}


def code(error: pytest.ExceptionInfo[ClientError]) -> str:
    return error.value.response["Error"]["Code"]


def test_session_reads_only_under_its_prefix(stack: Any) -> None:
    role = Deployed(stack, allow("s3:GetObject", in_bucket("in/*")))
    role.put("in/a", "out/a")
    assert role.client("s3").get_object(Bucket=role.bucket, Key="in/a")["Body"].read() == b"x"
    with pytest.raises(ClientError) as error:
        role.client("s3").get_object(Bucket=role.bucket, Key="out/a")
    assert code(error) == "AccessDenied"
    role.empty()


@pytest.mark.parametrize(("may_list", "status"), [(False, 403), (True, 404)])
def test_absent_key_is_hidden_without_permission_to_list(stack: Any, may_list: bool, status: int) -> None:
    listing = allow("s3:ListBucket", IN_BUCKET, Condition={"StringLike": {"s3:prefix": "in/*"}})
    role = Deployed(stack, allow("s3:GetObject", in_bucket("in/*")), *([listing] if may_list else []))
    for call in (role.client("s3").get_object, role.client("s3").head_object):
        with pytest.raises(ClientError) as error:
            call(Bucket=role.bucket, Key="in/absent")
        assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == status


def test_listing_is_restricted_to_its_prefix(stack: Any) -> None:
    condition = {"StringLike": {"s3:prefix": "in/*"}}
    role = Deployed(stack, allow("s3:ListBucket", IN_BUCKET, Condition=condition))
    role.put("in/a", "out/a")
    found = role.client("s3").list_objects_v2(Bucket=role.bucket, Prefix="in/")["Contents"]
    assert [item["Key"] for item in found] == ["in/a"]
    with pytest.raises(ClientError, match="AccessDenied"):
        role.client("s3").list_objects_v2(Bucket=role.bucket)
    role.empty()


def test_actions_have_the_services_iam_prefix_and_not_its_signing_name(stack: Any) -> None:
    groups = {"Fn::Sub": "arn:aws:logs:${AWS::Region}:${AWS::AccountId}:log-group:*"}
    role = Deployed(stack, allow("cloudwatch:DescribeAlarms", "*"), allow("logs:DescribeLogGroups", groups))
    assert "MetricAlarms" in role.client("cloudwatch").describe_alarms()
    assert role.client("logs").describe_log_groups()["logGroups"]


def test_bulk_deletion_is_authorised_per_key(stack: Any) -> None:
    role = Deployed(stack, allow("s3:DeleteObject", in_bucket("in/*")))
    role.put("in/a", "out/a")
    answer = role.client("s3").delete_objects(
        Bucket=role.bucket, Delete={"Objects": [{"Key": "in/a"}, {"Key": "out/a"}]}
    )
    assert [item["Key"] for item in answer["Deleted"]] == ["in/a"]
    assert [(item["Key"], item["Code"]) for item in answer["Errors"]] == [("out/a", "AccessDenied")]
    role.empty()


def test_multipart_upload_needs_put_object_and_aborting_needs_abort(stack: Any) -> None:
    role = Deployed(stack, allow("s3:PutObject", in_bucket("audio/*")))
    s3, place = role.client("s3"), {"Bucket": role.bucket, "Key": "audio/a"}
    upload = s3.create_multipart_upload(**place)["UploadId"]
    s3.upload_part(**place, UploadId=upload, PartNumber=1, Body=b"x")
    with pytest.raises(ClientError, match="AccessDenied"):
        s3.abort_multipart_upload(**place, UploadId=upload)
    role.aws.client("s3").abort_multipart_upload(**place, UploadId=upload)


def test_bucket_policy_alone_can_allow_a_role_and_deny_overrides(stack: Any) -> None:
    principal = {"AWS": {"Fn::GetAtt": ["Role", "Arn"]}}
    role = Deployed(
        stack,
        bucket_policy=[
            allow("s3:GetObject", in_bucket("*"), Principal=principal),
            {**allow("s3:GetObject", in_bucket("secret/*"), Principal="*"), "Effect": "Deny"},
        ],
    )
    role.put("open", "secret/a")
    assert role.client("s3").get_object(Bucket=role.bucket, Key="open")["Body"].read() == b"x"
    with pytest.raises(ClientError, match="AccessDenied"):
        role.client("s3").get_object(Bucket=role.bucket, Key="secret/a")
    role.empty()


def test_tls_only_bucket_accepts_tls(stack: Any) -> None:
    tls_only = {
        **allow("s3:*", [IN_BUCKET, in_bucket("*")], Principal="*"),
        "Effect": "Deny",
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
    role = Deployed(stack, allow("s3:PutObject", in_bucket("*")), bucket_policy=[tls_only])
    role.client("s3").put_object(Bucket=role.bucket, Key="k", Body=b"x")
    role.empty()


def test_session_publishes_only_to_its_topic(stack: Any) -> None:
    role = Deployed(stack, allow("sns:Publish", {"Ref": "Topic"}))
    assert role.client("sns").publish(TopicArn=role.topic, Message="m")["MessageId"]
    other = role.aws.client("sns").create_topic(Name=f"{stack.name}-other")["TopicArn"]
    with pytest.raises(ClientError) as error:
        role.client("sns").publish(TopicArn=other, Message="m")
    assert code(error) == "AccessDenied"
    role.aws.client("sns").delete_topic(TopicArn=other)


def test_session_writes_to_its_log_group_and_creates_no_other(stack: Any) -> None:
    role = Deployed(stack, allow(["logs:CreateLogStream", "logs:PutLogEvents"], {"Fn::GetAtt": ["Logs", "Arn"]}))
    logs, place = role.client("logs"), {"logGroupName": role.logs, "logStreamName": "s"}
    logs.create_log_stream(**place)
    logs.put_log_events(**place, logEvents=[{"timestamp": 1_700_000_000_000, "message": "m"}])
    with pytest.raises(ClientError) as error:
        logs.create_log_group(logGroupName=f"/{stack.name}/other")
    assert code(error) == "AccessDeniedException"


def test_service_without_a_statement_is_denied(stack: Any) -> None:
    role = Deployed(stack, allow("s3:*", "*"))
    with pytest.raises(ClientError) as error:
        role.client("iam").list_roles()
    assert code(error) == "AccessDenied"
    assert role.client("sts").get_caller_identity()["Arn"].endswith("/test")


def test_wrong_secret_key_fails_the_signature(stack: Any) -> None:
    role = Deployed(stack, allow("s3:*", "*"))
    keys = (role.credentials["AccessKeyId"], "wrong", role.credentials["SessionToken"])
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        role.aws.client_as("s3", *keys).list_buckets()


def test_unsigned_request_for_an_object_is_denied(stack: Any) -> None:
    role = Deployed(stack, allow("s3:*", "*"))
    role.put("k")
    context = ssl.create_default_context(cafile=str(role.aws.ca_bundle))
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(f"{role.aws.endpoint_url}/{role.bucket}/k", context=context)
    assert error.value.code == 403
    error.value.close()
    role.empty()


@pytest.mark.parametrize(("prefix", "tampered", "status"), [("in", False, 200), ("in", True, 403), ("out", False, 403)])
def test_presigned_url_has_the_permissions_of_its_signer(stack: Any, prefix: str, tampered: bool, status: int) -> None:
    role = Deployed(stack, allow("s3:PutObject", in_bucket("in/*")))
    url = _v4(role).generate_presigned_url("put_object", Params={"Bucket": role.bucket, "Key": f"{prefix}/ä b"})
    url = url.replace("X-Amz-Expires=3600", "X-Amz-Expires=3601") if tampered else url
    context = ssl.create_default_context(cafile=str(role.aws.ca_bundle))
    request = urllib.request.Request(url, data=b"x", method="PUT", headers={"Content-Type": ""})
    try:
        with urllib.request.urlopen(request, context=context) as response:
            found = response.status
    except urllib.error.HTTPError as error:
        found = error.code
        error.close()
    assert found == status
    role.empty()


def _v4(role: Deployed) -> Any:
    session: Any = boto3.session.Session()
    return session.client(
        "s3",
        region_name="us-east-1",
        endpoint_url=role.aws.endpoint_url,
        aws_access_key_id=role.credentials["AccessKeyId"],
        aws_secret_access_key=role.credentials["SecretAccessKey"],
        aws_session_token=role.credentials["SessionToken"],
        config=Config(signature_version="s3v4"),
    )


def test_session_loses_permissions_that_its_role_loses(stack: Any) -> None:
    role = Deployed(stack, allow("s3:PutObject", in_bucket("*")))
    role.client("s3").put_object(Bucket=role.bucket, Key="k", Body=b"x")
    role.aws.client("iam").put_role_policy(
        RoleName=stack.physical_id("Role"),
        PolicyName="permissions",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [allow("s3:GetObject", "*")]}),
    )
    with pytest.raises(ClientError, match="AccessDenied"):
        role.client("s3").put_object(Bucket=role.bucket, Key="k", Body=b"x")
    role.empty()


@pytest.mark.parametrize(
    ("principal", "may_assume", "enters"),
    [
        ({"AWS": "123456789012"}, True, True),
        ({"AWS": "123456789012"}, False, False),
        ({"AWS": {"Fn::GetAtt": ["Role", "Arn"]}}, False, True),
        ({"Service": "lambda.amazonaws.com"}, True, False),
    ],
)
def test_session_assumes_only_roles_that_trust_it(
    aws: LocalAws, stack: Any, principal: dict[str, Any], may_assume: bool, enters: bool
) -> None:
    rights = allow("sts:AssumeRole" if may_assume else "s3:GetObject", "*")
    policy = {"PolicyName": "permissions", "PolicyDocument": {"Version": "2012-10-17", "Statement": [rights]}}
    trust = {"Version": "2012-10-17", "Statement": [{**ROLE_TRUST["Statement"][0], "Principal": principal}]}
    role = {"AssumeRolePolicyDocument": ROLE_TRUST, "Policies": [policy]}
    stack.deploy(
        {
            "Role": {"Type": "AWS::IAM::Role", "Properties": role},
            "Other": {"Type": "AWS::IAM::Role", "Properties": {"AssumeRolePolicyDocument": trust}},
        }
    )
    first, other = (f"arn:aws:iam::123456789012:role/{stack.physical_id(name)}" for name in ("Role", "Other"))
    keys = aws.client("sts").assume_role(RoleArn=first, RoleSessionName="test")["Credentials"]
    sts = aws.client_as("sts", keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"])
    if enters:
        assert sts.assume_role(RoleArn=other, RoleSessionName="next")["Credentials"]
    else:
        with pytest.raises(ClientError, match="AccessDenied"):
            sts.assume_role(RoleArn=other, RoleSessionName="next")


def test_secrets_parameters_and_functions_are_authorised_by_name(stack: Any) -> None:
    secrets = stack.aws.client("secretsmanager")
    mine, other = (secrets.create_secret(Name=f"{stack.name}-{name}", SecretString="s") for name in ("mine", "other"))
    account = "arn:aws:{}:us-east-1:123456789012:{}"
    role = Deployed(
        stack,
        allow("secretsmanager:GetSecretValue", mine["ARN"]),
        allow("ssm:PutParameter", account.format("ssm", f"parameter/{stack.name}/mine")),
        allow("lambda:InvokeFunction", account.format("lambda", "function:mine")),
    )
    assert role.client("secretsmanager").get_secret_value(SecretId=mine["Name"])["SecretString"] == "s"
    role.client("ssm").put_parameter(Name=f"/{stack.name}/mine", Value="v", Type="String")
    for name in ("mine", account.format("lambda", "function:mine")):
        with pytest.raises(ClientError, match="ResourceNotFoundException"):
            role.client("lambda").invoke(FunctionName=name)  # allowed, but there is none
    for refused in (
        lambda: role.client("secretsmanager").get_secret_value(SecretId=other["ARN"]),
        lambda: role.client("ssm").put_parameter(Name=f"/{stack.name}/other", Value="v", Type="String"),
        lambda: role.client("lambda").invoke(FunctionName="other"),
    ):
        with pytest.raises(ClientError) as error:
            refused()
        assert code(error) == "AccessDeniedException"
    for secret in (mine, other):
        secrets.delete_secret(SecretId=secret["ARN"], ForceDeleteWithoutRecovery=True)
    stack.aws.client("ssm").delete_parameter(Name=f"/{stack.name}/mine")


def test_stack_of_a_request_is_named_by_its_arn(stack: Any) -> None:
    role = Deployed(stack, allow("cloudformation:DescribeStacks", {"Ref": "AWS::StackId"}))
    client = role.client("cloudformation")
    (described,) = client.describe_stacks(StackName=stack.id)["Stacks"]
    assert described["StackName"] == stack.name
    with pytest.raises(ClientError, match="is not authorized to perform: cloudformation:DescribeStacks"):
        client.describe_stacks(StackName="Other")


@pytest.mark.parametrize("credential", ["X-Amz-Credential=AKIA/20260101/us-east-1/s3/aws4_request&X-Amz-Expires=0"])
def test_a_presigned_url_in_a_body_is_no_signature(stack: Any, function_resources: Any, credential: str) -> None:
    """CloudFormation's events carry one; moto takes a body's parameters for the URL's."""
    assert stack.deploy(function_resources("def handler(event, context): return event['ResponseURL']")) == (
        "CREATE_COMPLETE"
    )
    payload = json.dumps({"ResponseURL": f"https://127.0.0.1/bucket/key?{credential}"})
    answer = stack.aws.client("lambda").invoke(FunctionName=stack.physical_id("Function"), Payload=payload.encode())
    assert json.loads(answer["Payload"].read()).endswith(credential)


@pytest.mark.parametrize("name", ["X-Amz-Credential", "AWSAccessKeyId"])
def test_the_administrators_key_in_a_body_gives_no_rights(aws: LocalAws, name: str) -> None:
    value = f"{ROOT_ACCESS_KEY_ID}/20260101/us-east-1/sns/aws4_request" if name.startswith("X") else ROOT_ACCESS_KEY_ID
    body = urllib.parse.urlencode({"Action": "ListTopics", "Version": "2010-03-31", name: value}).encode()
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Host": "sns.us-east-1.amazonaws.com"}
    request = urllib.request.Request(aws.endpoint_url, data=body, headers=headers)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, context=ssl.create_default_context(cafile=str(aws.ca_bundle)))
    assert refused.value.code == 403
    refused.value.close()
