"""Evaluation of IAM policies, conditions and S3 actions."""

import json
from typing import Any

import pytest

from local_aws.emulator.iam.actions import s3_bucket_action, s3_object_action
from local_aws.emulator.iam.conditions import UnsupportedConditionError, conditions_hold, matches
from local_aws.emulator.iam.policies import Access, Caller, Verdict, identity_verdict, resource_verdict

ROLE = "arn:aws:iam::123456789012:role/Reader"
CALLER = Caller(("arn:aws:sts::123456789012:assumed-role/Reader/session", ROLE), "123456789012")


def document(*statements: dict[str, Any]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def allow(action: object, resource: object, **rest: object) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource, **rest}


def identity(access: Access, *statements: dict[str, Any]) -> Verdict:
    return identity_verdict([json.dumps(document(*statements))], access)


@pytest.mark.parametrize(
    ("pattern", "value", "fits"),
    [
        ("arn:aws:s3:::b/in/*", "arn:aws:s3:::b/in/x/y", True),
        ("arn:aws:s3:::b/in/*", "arn:aws:s3:::b/out/x", False),
        ("a.c", "abc", False),
        ("a?c", "abc", True),
        ("*", "anything\nat all", True),
    ],
)
def test_pattern_supports_only_star_and_question_mark(pattern: str, value: str, fits: bool) -> None:
    assert matches(pattern, value) is fits


def test_actions_ignore_case_and_resources_do_not() -> None:
    statement = allow("s3:getobject", "arn:aws:s3:::Bucket/*")
    assert identity(Access("s3:GetObject", "arn:aws:s3:::Bucket/k"), statement) is Verdict.ALLOWED
    assert identity(Access("s3:GetObject", "arn:aws:s3:::bucket/k"), statement) is Verdict.SILENT


def test_deny_overrides_allow() -> None:
    deny = {"Effect": "Deny", "Action": "s3:DeleteObject", "Resource": "*"}
    access = Access("s3:DeleteObject", "arn:aws:s3:::b/k")
    assert identity(access, allow("s3:*", "*"), deny) is Verdict.DENIED


def test_not_action_excludes_its_actions() -> None:
    statement = {"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}
    assert identity(Access("s3:GetObject", "r"), statement) is Verdict.ALLOWED
    assert identity(Access("iam:PassRole", "r"), statement) is Verdict.SILENT


def test_deny_of_plain_http_does_not_apply_to_tls() -> None:
    policy = document(
        {
            "Effect": "Deny",
            "Principal": {"AWS": "*"},
            "Action": "s3:*",
            "Resource": "*",
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        }
    )
    plain, secure = (
        Access("s3:GetObject", "arn:aws:s3:::b/k", {"aws:securetransport": value}) for value in ("false", "true")
    )
    assert resource_verdict(policy, plain, CALLER) is Verdict.DENIED
    assert resource_verdict(policy, secure, CALLER) is Verdict.SILENT


@pytest.mark.parametrize("principal", ["*", {"AWS": "*"}, {"AWS": ROLE}, {"AWS": [ROLE]}])
def test_resource_policy_allows_the_principals_it_names(principal: object) -> None:
    policy = document(allow("s3:GetObject", "*", Principal=principal))
    assert resource_verdict(policy, Access("s3:GetObject", "arn:aws:s3:::b/k"), CALLER) is Verdict.ALLOWED


@pytest.mark.parametrize(
    "principal",
    [
        {"AWS": "arn:aws:iam::123456789012:root"},
        {"AWS": "arn:aws:iam::123456789012:role/Other"},
        {"Service": "s3.amazonaws.com"},
    ],
)
def test_allow_for_the_account_only_delegates(principal: object) -> None:
    policy = document(allow("s3:GetObject", "*", Principal=principal))
    assert resource_verdict(policy, Access("s3:GetObject", "arn:aws:s3:::b/k"), CALLER) is Verdict.SILENT


@pytest.mark.parametrize(
    ("source", "verdict"),
    [("arn:aws:sagemaker:us-east-1:123456789012:endpoint/e", Verdict.ALLOWED), ("arn:aws:s3:::b", Verdict.SILENT)],
)
def test_trust_policy_applies_its_conditions_to_a_service(source: str, verdict: Verdict) -> None:
    trust = document(
        {
            "Effect": "Allow",
            "Principal": {"Service": "sagemaker.amazonaws.com"},
            "Action": "sts:AssumeRole",
            "Condition": {"ArnLike": {"aws:SourceArn": "arn:aws:sagemaker:us-east-1:123456789012:*"}},
        }
    )
    caller = Caller(("sagemaker.amazonaws.com",), "123456789012", is_service=True)
    assert resource_verdict(trust, Access("sts:AssumeRole", ROLE, {"aws:sourcearn": source}), caller) is verdict


@pytest.mark.parametrize(
    ("block", "holds"),
    [
        ({"StringEquals": {"s3:prefix": ["a", "b"]}}, True),
        ({"StringNotEquals": {"s3:prefix": ["a", "b"]}}, False),
        ({"StringLike": {"s3:prefix": "b*"}}, True),
        ({"StringEquals": {"aws:SourceVpc": "a"}}, False),
        ({"StringNotEquals": {"aws:SourceVpc": "a"}}, True),
        ({"StringEqualsIfExists": {"aws:SourceVpc": "a"}}, True),
        ({"Null": {"aws:SourceVpc": "true"}}, True),
        ({"Null": {"s3:prefix": "true"}}, False),
        ({"ForAllValues:StringEquals": {"aws:SourceVpc": "a"}}, True),
        ({"ForAnyValue:StringEquals": {"aws:SourceVpc": "a"}}, False),
        ({"ForAnyValue:StringNotEquals": {"aws:SourceVpc": "a"}}, False),
        ({"ForAllValues:StringEquals": {"aws:TagKeys": ["x", "y", "z"]}}, True),
        ({"ForAllValues:StringEquals": {"aws:TagKeys": ["x"]}}, False),
        ({"ForAnyValue:StringEquals": {"aws:TagKeys": ["x"]}}, True),
        ({"ForAnyValue:StringEquals": {"aws:TagKeys": ["z"]}}, False),
        ({"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::1:role/*"}}, True),
        ({"ArnLike": {"aws:PrincipalArn": "arn:*"}}, False),
        ({"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}}, True),
        ({"NotIpAddress": {"aws:SourceIp": "127.0.0.0/8"}}, False),
        ({"DateLessThan": {"aws:CurrentTime": "2030-01-01T00:00:00Z"}}, True),
        ({"DateLessThan": {"aws:CurrentTime": "1999-01-01T00:00:00Z"}}, False),
        ({"NumericLessThanEquals": {"s3:max-keys": 5}}, True),
        ({"NumericGreaterThan": {"s3:max-keys": "5"}}, False),
        ({"StringEquals": {"S3:Prefix": "b"}, "Null": {"aws:SourceVpc": True}}, True),
    ],
)
def test_conditions_follow_the_iam_documentation(block: dict[str, dict[str, Any]], holds: bool) -> None:
    context = {
        "s3:prefix": "b",
        "s3:max-keys": "5",
        "aws:tagkeys": ("x", "y"),
        "aws:principalarn": "arn:aws:iam::1:role/r",
        "aws:sourceip": "127.0.0.1",
        "aws:currenttime": "2026-05-01T00:00:00Z",
    }
    assert conditions_hold(block, context) is holds


@pytest.mark.parametrize(
    "block",
    [
        {"BinaryEquals": {"aws:SourceIp": "eA=="}},
        {"StringNotEquals": {"ec2:InstanceType": "t2.micro"}},  # AWS may supply it; this emulator never does
        {"StringEquals": {"aws:TagKeys": "x"}},  # a multivalued key needs a set operator
    ],
)
def test_unsupported_condition_raises(block: dict[str, dict[str, Any]]) -> None:
    with pytest.raises(UnsupportedConditionError, match="is not supported"):
        conditions_hold(block, {"aws:tagkeys": ("x", "y"), "aws:sourceip": "127.0.0.1"})


@pytest.mark.parametrize(
    ("method", "query", "action"),
    [
        ("GET", {"list-type": ["2"]}, "s3:ListBucket"),
        ("HEAD", {}, "s3:ListBucket"),
        ("GET", {"versions": [""]}, "s3:ListBucketVersions"),
        ("GET", {"uploads": [""]}, "s3:ListBucketMultipartUploads"),
        ("GET", {"encryption": [""]}, "s3:GetEncryptionConfiguration"),
        ("DELETE", {"lifecycle": [""]}, "s3:PutLifecycleConfiguration"),
        ("DELETE", {"policy": [""]}, "s3:DeleteBucketPolicy"),
        ("DELETE", {}, "s3:DeleteBucket"),
        ("PUT", {}, "s3:CreateBucket"),
    ],
)
def test_bucket_request_maps_to_its_action(method: str, query: dict[str, Any], action: str) -> None:
    assert s3_bucket_action(method, query) == action


@pytest.mark.parametrize(
    ("method", "query", "action"),
    [
        ("HEAD", {}, "s3:GetObject"),
        ("GET", {"versionId": ["1"]}, "s3:GetObjectVersion"),
        ("POST", {"uploads": [""]}, "s3:PutObject"),
        ("POST", {"uploadId": ["u"]}, "s3:PutObject"),
        ("PUT", {"uploadId": ["u"], "partNumber": ["1"]}, "s3:PutObject"),
        ("GET", {"uploadId": ["u"]}, "s3:ListMultipartUploadParts"),
        ("DELETE", {"uploadId": ["u"]}, "s3:AbortMultipartUpload"),
        ("DELETE", {"tagging": [""]}, "s3:DeleteObjectTagging"),
        ("GET", {"acl": [""]}, "s3:GetObjectAcl"),
    ],
)
def test_object_request_maps_to_its_action(method: str, query: dict[str, Any], action: str) -> None:
    assert s3_object_action(method, query) == action
