"""What a deleted stack left is told from what users created."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from local_aws.emulator.leftovers import find_leftovers
from local_aws.emulator.process import LocalAws

OWN = "sagemaker-us-east-1-123456789012"  # the default bucket of SageMaker's Python SDK


@pytest.fixture
def users_resources(aws: LocalAws) -> Iterator[list[str]]:
    """A bucket with an object, a queue and a role that no stack created, as leftovers name them."""
    s3, sqs, iam = aws.client("s3"), aws.client("sqs"), aws.client("iam")
    s3.create_bucket(Bucket=OWN)
    s3.put_object(Bucket=OWN, Key="k", Body=b"x")
    queue = sqs.create_queue(QueueName="mine")["QueueUrl"]
    iam.create_role(RoleName="mine", AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": []}))
    yield [f"bucket: {OWN}", f"object: s3://{OWN}/k", f"queue: {queue}", "role: mine"]
    iam.delete_role(RoleName="mine")
    sqs.delete_queue(QueueUrl=queue)
    s3.delete_object(Bucket=OWN, Key="k")
    s3.delete_bucket(Bucket=OWN)


def test_tells_what_a_stack_left_from_what_users_created(
    aws: LocalAws, stack: Any, function_resources: Any, users_resources: list[str]
) -> None:
    retained = {"Type": "AWS::S3::Bucket", "DeletionPolicy": "Retain"}
    topic = {"Type": "AWS::SNS::Topic", "DeletionPolicy": "Retain"}
    resources = {"Bucket": retained, "Topic": topic, **function_resources("def handler(event, context): return 1")}
    assert stack.deploy(resources) == "CREATE_COMPLETE"
    assert set(users_resources) <= set(find_leftovers(aws, stack.name).of_users)
    bucket, topic_arn, function = (stack.physical_id(name) for name in ("Bucket", "Topic", "Function"))
    s3, group = aws.client("s3"), f"/aws/lambda/{function}"
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    upload = s3.create_multipart_upload(Bucket=bucket, Key="part")["UploadId"]
    aws.client("logs").create_log_group(logGroupName=group)
    assert f"stack: {stack.name}" in find_leftovers(aws, stack.name).of_stacks
    assert stack.delete() == "DELETE_COMPLETE"
    found = find_leftovers(aws, stack.name)
    assert found.of_stacks == [
        f"bucket: {bucket}",
        f"log group: {group}",
        f"object: s3://{bucket}/k",
        f"topic: {topic_arn}",
        f"unfinished upload: s3://{bucket}/part",
    ]
    assert set(users_resources) <= set(found.of_users)
    # Another stack's leftovers count as a user's, unless all stacks are asked about.
    assert f"bucket: {bucket}" in find_leftovers(aws, "another").of_users
    assert f"bucket: {bucket}" in find_leftovers(aws).of_stacks
    s3.abort_multipart_upload(Bucket=bucket, Key="part", UploadId=upload)
    s3.delete_object(Bucket=bucket, Key="k")
    s3.delete_bucket(Bucket=bucket)
    aws.client("sns").delete_topic(TopicArn=topic_arn)
    aws.client("logs").delete_log_group(logGroupName=group)
    assert find_leftovers(aws, stack.name).of_stacks == []
