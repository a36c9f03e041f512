"""What a test may create: names of its own, clients, waiting, and clean-up of everything at the end."""

import itertools
import json
import secrets
import sys
import time
from collections.abc import Callable
from typing import Any

from botocore.exceptions import ClientError

from conformance.targets import Target

TAG = "musicgen-conformance"  # on everything that can have tags, with the run's prefix as its value
_POLL_SECONDS = {"embedded": 0.05, "moto": 0.05, "account": 2.0}


class Workspace:
    """A part of the target for one group of tests; `close` removes what they created, last first."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.prefix = f"mgc-{secrets.token_hex(4)}"  # also the prefix of bucket names: lower case
        self._numbers = itertools.count(1)
        self._removals: list[tuple[str, Callable[[], Any]]] = []
        self._clients: dict[str, Any] = {}

    @property
    def tags(self) -> list[dict[str, str]]:
        """The tags of everything that this run creates."""
        return [{"Key": TAG, "Value": self.prefix}]

    def client(self, service: str, **arguments: Any) -> Any:
        """Return a client with the administrator's credentials, or with others given as boto3's arguments."""
        if arguments:
            return self.target.client(service, **arguments)
        return self._clients.setdefault(service, self.target.client(service))

    def name(self, kind: str = "x") -> str:
        """Return a name that nothing has yet, and that is part of no other: at most 40 letters, digits and hyphens."""
        return f"{self.prefix}-{kind}-{next(self._numbers):05}"[:40]

    def later(self, what: str, remove: Callable[[], Any]) -> None:
        """Call `remove` at the end; `what` names the resource if that fails."""
        self._removals.append((what, remove))

    def wait(self, condition: Callable[[], Any], what: str, seconds: float = 20.0) -> Any:
        """Return the condition's first true value; AssertionError after `seconds` times the target's patience."""
        limit = seconds * self.target.patience
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            if value := condition():
                return value
            time.sleep(_POLL_SECONDS[self.target.name])
        raise AssertionError(f"{what}: not within {limit:g} s")

    def close(self) -> None:
        """Remove everything; report each failure, then raise AssertionError if there was any."""
        failed: list[str] = []
        while self._removals:
            what, remove = self._removals.pop()
            try:
                remove()
            except ClientError as error:
                if not _is_gone(error):
                    failed.append(f"{what}: {error}")
        for line in failed:
            print(f"not removed: {line}", file=sys.stderr)
        # moto lacks operations that only clean up; it is thrown away anyway.
        assert not failed or self.target.name == "moto", failed

    # ---- what most tests need ------------------------------------------------------------------------------

    def bucket(self, **arguments: Any) -> str:
        """Create a bucket; return its name. It is emptied and deleted at the end."""
        s3, name = self.client("s3"), self.name("bucket")
        if self.target.region != "us-east-1":
            arguments.setdefault("CreateBucketConfiguration", {"LocationConstraint": self.target.region})
        s3.create_bucket(Bucket=name, **arguments)
        self.later(f"bucket {name}", lambda: _delete_bucket(s3, name))
        s3.put_bucket_tagging(Bucket=name, Tagging={"TagSet": self.tags})
        return name

    def role(self, service: str, statements: list[dict[str, Any]], **arguments: Any) -> str:
        """Create a role that `<service>.amazonaws.com` may assume, with these statements; return its ARN."""
        trust = {"Effect": "Allow", "Principal": {"Service": f"{service}.amazonaws.com"}, "Action": "sts:AssumeRole"}
        return self.role_trusting(trust, statements, **arguments)

    def role_trusting(self, trust: dict[str, Any], statements: list[dict[str, Any]], **arguments: Any) -> str:
        """Create a role with this trust statement; return its ARN."""
        iam, name = self.client("iam"), self.name("role")
        role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=policy([trust]), Tags=self.tags, **arguments)
        self.later(f"role {name}", lambda: _delete_role(iam, name))
        if statements:
            iam.put_role_policy(RoleName=name, PolicyName="statements", PolicyDocument=policy(statements))
        if self.target.name == "account":
            time.sleep(10)  # IAM is eventually consistent: services refuse a role that is seconds old
        return role["Role"]["Arn"]

    def topic_with_queue(self) -> tuple[str, str]:
        """Create a topic whose messages arrive in a new queue; return the topic's ARN and the queue's URL."""
        sns, sqs, name = self.client("sns"), self.client("sqs"), self.name("topic")
        topic = sns.create_topic(Name=name, Tags=self.tags)["TopicArn"]
        self.later(f"topic {name}", lambda: sns.delete_topic(TopicArn=topic))
        queue = sqs.create_queue(QueueName=name, tags={TAG: self.prefix})["QueueUrl"]
        self.later(f"queue {name}", lambda: sqs.delete_queue(QueueUrl=queue))
        arn = f"arn:aws:sqs:{self.target.region}:{self.target.account_id}:{name}"
        allow = {
            "Effect": "Allow",
            "Principal": {"Service": "sns.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": arn,
            "Condition": {"ArnEquals": {"aws:SourceArn": topic}},
        }
        sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": policy([allow])})
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
        return topic, queue

    def messages(self, queue: str) -> list[dict[str, Any]]:
        """Receive and delete up to ten messages that SNS put into the queue; return SNS's envelopes."""
        sqs = self.client("sqs")
        found = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=0).get("Messages", [])
        for message in found:
            sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
        return [json.loads(message["Body"]) for message in found]


def policy(statements: list[dict[str, Any]]) -> str:
    """Return a policy document with these statements, as JSON."""
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


def allow(*actions: str, resource: str | list[str]) -> dict[str, Any]:
    """Return a statement that allows these actions."""
    return {"Effect": "Allow", "Action": list(actions), "Resource": resource}


def error_code(call: Callable[[], Any]) -> tuple[str, str]:
    """Call; return the code and the message of the ClientError that it raises. AssertionError if it raises none."""
    try:
        answer = call()
    except ClientError as error:
        answer = error.response.get("Error", {})
        return answer.get("Code", ""), answer.get("Message", "")
    raise AssertionError(f"the call was not refused: {answer}")


def _is_gone(error: ClientError) -> bool:
    """Return whether a removal failed because the test had removed the resource itself."""
    text = str(error).lower()
    return any(
        words in text
        for words in ("not exist", "not found", "objectnotfound", "could not find", "nosuch", "non-existent", "404")
    )


def _delete_bucket(s3: Any, name: str) -> None:
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=name):
        for item in [*page.get("Versions", []), *page.get("DeleteMarkers", [])]:
            s3.delete_object(Bucket=name, Key=item["Key"], VersionId=item["VersionId"])
    for upload in s3.list_multipart_uploads(Bucket=name).get("Uploads", []):
        s3.abort_multipart_upload(Bucket=name, Key=upload["Key"], UploadId=upload["UploadId"])
    s3.delete_bucket(Bucket=name)


def _delete_role(iam: Any, name: str) -> None:
    for inline in iam.list_role_policies(RoleName=name)["PolicyNames"]:
        iam.delete_role_policy(RoleName=name, PolicyName=inline)
    for attached in iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]:
        iam.detach_role_policy(RoleName=name, PolicyArn=attached["PolicyArn"])
    iam.delete_role(RoleName=name)
