"""The walkthrough's client: a role that holds the stack's managed policy and nothing else, and what it does with it."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from local_aws.emulator.process import LocalAws
from local_aws.walkthrough.report import StepFailed

_ROLE = "walkthrough-client"


@dataclass(frozen=True)
class StackOutputs:
    """The outputs of the deployed stack, by their names."""

    values: dict[str, str]

    @classmethod
    def read(cls, aws: LocalAws, stack: str) -> StackOutputs:
        """Ask CloudFormation for the outputs of `stack`."""
        described = aws.client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]
        return cls({output["OutputKey"]: output["OutputValue"] for output in described["Outputs"]})

    def __getitem__(self, name: str) -> str:
        return self.values[name]


class Listener:
    """A queue subscribed to both topics, as somebody who waits for results would have one."""

    def __init__(self, aws: LocalAws, topics: list[str]) -> None:
        self._heard: dict[str, dict[str, Any]] = {}
        self._sqs, self._sns = aws.client("sqs"), aws.client("sns")
        self._url = self._sqs.create_queue(QueueName="walkthrough-listener")["QueueUrl"]
        arn = self._sqs.get_queue_attributes(QueueUrl=self._url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        self._subscriptions = [
            self._sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, ReturnSubscriptionArn=True)[
                "SubscriptionArn"
            ]
            for topic in topics
        ]

    def wait(self, inference_id: str, timeout: float) -> dict[str, Any]:
        """The notification about one request; those about others are kept until they are waited for.

        Raises:
            StepFailed: when none came within `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        while inference_id not in self._heard:
            if time.monotonic() > deadline:
                raise StepFailed(f"no notification about request {inference_id} within {timeout:.0f} s")
            self._listen()
        return self._heard.pop(inference_id)

    def _listen(self) -> None:
        received = self._sqs.receive_message(QueueUrl=self._url, WaitTimeSeconds=1, MaxNumberOfMessages=10)
        for message in received.get("Messages", []):
            self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=message["ReceiptHandle"])
            notification = json.loads(json.loads(message["Body"])["Message"])
            self._heard[notification["inferenceId"]] = notification

    def close(self) -> None:
        """Unsubscribe and delete the queue."""
        for subscription in self._subscriptions:
            self._sns.unsubscribe(SubscriptionArn=subscription)
        self._sqs.delete_queue(QueueUrl=self._url)


class Client:
    """Calls the endpoint under a role of its own, as a notebook would."""

    def __init__(self, aws: LocalAws, outputs: StackOutputs) -> None:
        self._iam, self._policy = aws.client("iam"), outputs["ClientPolicyArn"]
        self._endpoint = outputs["EndpointName"]
        trust = {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Principal": {"AWS": f"arn:aws:iam::{aws.account_id}:root"},
                    "Action": "sts:AssumeRole",
                }
            ],
        }
        role = self._iam.create_role(RoleName=_ROLE, AssumeRolePolicyDocument=json.dumps(trust))["Role"]
        self._iam.attach_role_policy(RoleName=_ROLE, PolicyArn=self._policy)
        held = aws.client("sts").assume_role(RoleArn=role["Arn"], RoleSessionName="walkthrough")["Credentials"]
        keys = held["AccessKeyId"], held["SecretAccessKey"], held["SessionToken"]
        self._runtime, self._s3 = aws.client_as("sagemaker-runtime", *keys), aws.client_as("s3", *keys)

    def invoke(self, inference_id: str, request: dict[str, Any]) -> dict[str, str]:
        """Send a request inline; returns where the output and the failure will be."""
        answer = self._runtime.invoke_endpoint_async(
            EndpointName=self._endpoint,
            Body=json.dumps(request),
            ContentType="application/json",
            Accept="application/json",
            InferenceId=inference_id,
        )
        return {"output": answer["OutputLocation"], "failure": answer["FailureLocation"]}

    def download(self, url: str) -> bytes:
        """The bytes at an `s3://` location."""
        place = urlsplit(url)
        return self._s3.get_object(Bucket=place.netloc, Key=place.path.lstrip("/"))["Body"].read()

    def close(self) -> None:
        """Delete the role, so that the stack's policy can go."""
        self._iam.detach_role_policy(RoleName=_ROLE, PolicyArn=self._policy)
        self._iam.delete_role(RoleName=_ROLE)
