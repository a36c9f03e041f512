"""Bucket policies as the stack's buckets have them: who puts them, what S3 refuses, and whom they let in."""

import json
from typing import Any

import pytest

from conformance.behaviour import documented
from conformance.workspace import Workspace, allow, error_code, policy
from tests.conformance.credentials import client_with
from tests.conformance.identities import Identities, permitted

API = "https://docs.aws.amazon.com/AmazonS3/latest/API"
GUIDE = "https://docs.aws.amazon.com/AmazonS3/latest/userguide"
CROSS_ACCOUNT = (
    "https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic-cross-account.html"
)
OTHER_ACCOUNT = "111122223333"


@pytest.fixture
def identities(workspace: Workspace) -> Identities:
    """A bucket of the test's own, with the objects `in/a` and `out/a`."""
    return Identities(workspace)


def put(identities: Identities, *statements: dict[str, Any]) -> None:
    s3 = identities.workspace.client("s3")
    s3.put_bucket_policy(Bucket=identities.bucket, Policy=policy(list(statements)))


@documented(f"{API}/API_GetBucketPolicy.html")
def test_a_new_bucket_has_no_policy(identities: Identities) -> None:
    """NoSuchBucketPolicy: the bucket does not have a policy."""
    s3 = identities.workspace.client("s3")
    assert error_code(lambda: s3.get_bucket_policy(Bucket=identities.bucket))[0] == "NoSuchBucketPolicy"


@documented(f"{API}/API_PutBucketPolicy.html")
def test_a_policy_replaces_the_previous_one(identities: Identities) -> None:
    """PutBucketPolicy applies a policy to the bucket; GetBucketPolicy returns it."""
    s3 = identities.workspace.client("s3")
    for folder in ("in", "out"):
        statement = {**allow("s3:GetObject", resource=f"{identities.arn}/{folder}/*"), "Effect": "Deny"}
        put(identities, {**statement, "Principal": "*", "Sid": folder})
    found = json.loads(s3.get_bucket_policy(Bucket=identities.bucket)["Policy"])["Statement"]
    assert [statement["Sid"] for statement in found] == ["out"]
    client = identities.client("s3", identities.role(*identities.everything))
    assert [identities.reads(client, key) for key in ("in/a", "out/a")] == [True, False]


@documented(f"{API}/API_PutBucketPolicy.html")
def test_only_who_may_puts_a_policy(identities: Identities) -> None:
    """The calling identity must have the PutBucketPolicy permission on the bucket; else 403 Access Denied."""
    statement = {**allow("s3:GetObject", resource=f"{identities.arn}/*"), "Effect": "Deny", "Principal": "*"}
    given = {"Bucket": identities.bucket, "Policy": policy([statement])}
    for action, may in (("s3:GetBucketPolicy", False), ("s3:PutBucketPolicy", True)):
        client = client_with(identities.workspace, "s3", [allow(action, resource=identities.arn)])
        assert permitted(lambda client=client: client.put_bucket_policy(**given)) is may


@documented(f"{GUIDE}/example-bucket-policies.html")
def test_a_deny_is_for_the_objects_it_names(identities: Identities) -> None:
    """A statement about the objects' ARN does not apply to the bucket itself, whose ARN it must name to apply."""
    client = identities.client("s3", identities.role(*identities.everything))
    deny = {"Effect": "Deny", "Principal": "*", "Action": "s3:*"}
    put(identities, {**deny, "Resource": f"{identities.arn}/in/*"})
    assert (identities.reads(client, "in/a"), identities.reads(client, "out/a")) == (False, True)
    assert identities.lists(client)


@documented(CROSS_ACCOUNT)
def test_an_allow_for_another_account_is_for_no_one_else(identities: Identities) -> None:
    """The resource-based policy must specify the principal that will have access: naming another account allows it."""
    principal = {"AWS": f"arn:aws:iam::{OTHER_ACCOUNT}:root"}
    statement = {**allow("s3:GetObject", resource=f"{identities.arn}/*"), "Principal": principal}
    put(identities, statement)
    assert not identities.reads(identities.client("s3", identities.role()))


@documented(f"{API}/API_PutBucketPolicy.html")
@pytest.mark.parametrize("document", ["no JSON", "[]", "{}"])
def test_a_malformed_policy_is_refused(identities: Identities, document: str) -> None:
    """MalformedPolicy: the policy is not valid JSON with statements."""
    s3 = identities.workspace.client("s3")
    given = {"Bucket": identities.bucket, "Policy": document}
    assert error_code(lambda: s3.put_bucket_policy(**given))[0] == "MalformedPolicy"


@documented(f"{GUIDE}/bucket-policies.html")
@pytest.mark.parametrize("resource", ["arn:aws:s3:::another-bucket-than-this/*", "arn:aws:sns:us-east-1:1:t"])
def test_a_policy_is_about_its_bucket(identities: Identities, resource: str) -> None:
    """A bucket policy's Resource is the bucket, or objects of it, to which the policy is attached."""
    statement = {**allow("s3:GetObject", resource=resource), "Effect": "Deny", "Principal": "*"}
    assert error_code(lambda: put(identities, statement))[0] == "MalformedPolicy"


@documented(f"{GUIDE}/bucket-policies.html")
def test_a_policy_names_who_it_is_for(identities: Identities) -> None:
    """A bucket policy's statements have a Principal: the account or user who is allowed access."""
    statement = allow("s3:GetObject", resource=f"{identities.arn}/*")
    assert error_code(lambda: put(identities, statement))[0] == "MalformedPolicy"


@documented(f"{GUIDE}/using-iam-policies.html")
def test_a_policy_has_at_most_20_kb(identities: Identities) -> None:
    """Bucket policies are limited to 20 KB in size."""
    statement = {"Effect": "Deny", "Principal": "*", "Action": "s3:GetObject"}
    many = [f"{identities.arn}/{number:050}" for number in range(300)]
    assert error_code(lambda: put(identities, {**statement, "Resource": many}))[0] in (
        "PolicyTooLarge",
        "MalformedPolicy",
    )
