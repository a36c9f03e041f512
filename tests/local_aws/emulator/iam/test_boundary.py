"""Permissions boundaries limit what a role's policies allow, and grant nothing."""

from typing import Any

import pytest
from botocore.exceptions import ClientError

TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"AWS": "123456789012"}, "Action": "sts:AssumeRole"}],
}


def policy(action: str) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": action, "Resource": "*"}]}


def session_within(stack: Any, boundary: Any) -> Any:
    """Return an S3 client of a role that may do anything in S3 within the boundary."""
    role = {
        "AssumeRolePolicyDocument": TRUST,
        "Policies": [{"PolicyName": "everything", "PolicyDocument": policy("s3:*")}],
        **({"PermissionsBoundary": boundary} if boundary else {}),
    }
    listing = {"PolicyDocument": policy("s3:List*"), "Description": "a boundary"}
    resources = {
        "Bucket": {"Type": "AWS::S3::Bucket"},
        "Boundary": {"Type": "AWS::IAM::ManagedPolicy", "Properties": listing},
        "Role": {"Type": "AWS::IAM::Role", "Properties": role},
    }
    assert stack.deploy(resources) == "CREATE_COMPLETE"
    arn = f"arn:aws:iam::123456789012:role/{stack.physical_id('Role')}"
    held = stack.aws.client("sts").assume_role(RoleArn=arn, RoleSessionName="test")["Credentials"]
    return stack.aws.client_as("s3", held["AccessKeyId"], held["SecretAccessKey"], held["SessionToken"])


def test_role_without_a_boundary_may_do_what_its_policies_allow(stack: Any) -> None:
    s3 = session_within(stack, None)
    assert s3.list_objects_v2(Bucket=stack.physical_id("Bucket"))["KeyCount"] == 0
    assert "LocationConstraint" in s3.get_bucket_location(Bucket=stack.physical_id("Bucket"))


def test_role_may_do_only_what_its_boundary_also_allows(stack: Any) -> None:
    s3 = session_within(stack, {"Ref": "Boundary"})
    assert s3.list_objects_v2(Bucket=stack.physical_id("Bucket"))["KeyCount"] == 0
    with pytest.raises(ClientError, match="AccessDenied"):
        s3.get_bucket_location(Bucket=stack.physical_id("Bucket"))


def test_missing_boundary_policy_denies_everything(stack: Any) -> None:
    s3 = session_within(stack, "arn:aws:iam::123456789012:policy/absent")
    with pytest.raises(ClientError, match="AccessDenied"):
        s3.list_objects_v2(Bucket=stack.physical_id("Bucket"))
