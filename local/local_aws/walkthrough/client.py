"""A client of the deployed endpoint: request clips, wait for the notifications, check the audio."""

import base64
import io
import json
import re
import time
import uuid
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import soundfile
from botocore.exceptions import ClientError

from local_aws.emulator.process import LocalAws
from local_aws.hub.melody.humming import draw_melody, hum
from local_aws.hub.melody.listening import notes_right, pitch_classes
from local_aws.hub.tune.listening import listen
from local_aws.hub.tune.music import SAMPLING_RATE
from local_aws.hub.tune.prompts import understand
from local_aws.walkthrough.report import StepFailed

FRAME_SECONDS = 1 / 50  # EnCodec at 32 kHz has 50 frames a second
_MAX_BODY = 128_000  # bytes that InvokeEndpointAsync takes
_HUMMED = 7  # the seed of the melody that clips follow, and of its performer
_ROLE = "walkthrough-client"
_NOTIFICATION_TIMEOUT = 180.0  # seconds; a clip of a few seconds takes about as long on one CPU thread


def stack_outputs(aws: LocalAws, stack: str) -> dict[str, str]:
    """Return the outputs of the deployed stack by name."""
    described = aws.client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]
    return {output["OutputKey"]: output["OutputValue"] for output in described["Outputs"]}


def failed_resource(aws: LocalAws, stack: str) -> str | None:
    """Return the resource at which the stack's last operation failed and the reason, in one line, or None."""
    cloudformation = aws.client("cloudformation")
    try:
        pages = cloudformation.get_paginator("describe_stack_events").paginate(StackName=stack)
        newest_first = [event for page in pages for event in page["StackEvents"]]
    except ClientError:  # there is no such stack (any more)
        return None
    found: str | None = None
    for event in newest_first:
        status, own = event["ResourceStatus"], event["PhysicalResourceId"] == event["StackId"]
        if own and event.get("ResourceStatusReason") == "User Initiated":
            break
        if status.endswith("_FAILED") and not own:
            reason = " ".join(event.get("ResourceStatusReason", "no reason given").split())
            found = f"{event['LogicalResourceId']} ({event['ResourceType']}) {status}: {reason}"
    return found


@dataclass(frozen=True)
class ClipRequest:
    """The prompt and length of a clip, from the command line; with `melody`, it follows one that is hummed."""

    prompt: str
    seconds: float
    melody: bool = False

    def body(self, seed: int) -> dict[str, Any]:
        body: dict[str, Any] = {
            "texts": [self.prompt], "generation_params": {"duration": self.seconds, "seed": seed}
        }  # fmt: skip
        if self.melody:
            wav = io.BytesIO()
            hummed = hum(draw_melody(_HUMMED, self.seconds), _HUMMED)
            soundfile.write(wav, hummed[0], SAMPLING_RATE, format="WAV")
            body["melody"] = {"audio": {"base64": base64.b64encode(wav.getvalue()).decode()}}
        return body

    @property
    def asked(self) -> str:
        """What a toy model understands of the request."""
        return "a hummed melody" if self.melody else str(understand(self.prompt))

    def heard(self, data: bytes) -> str:
        """Return what a wav plays of the melody, or else hear_clip's answer."""
        if not self.melody:
            return hear_clip(data)
        samples, rate = soundfile.read(io.BytesIO(data), always_2d=True, dtype="float32")
        right = notes_right(pitch_classes(samples[:, 0], rate), draw_melody(_HUMMED, self.seconds))
        return f"{sum(right)} of {len(right)} notes of the hummed melody"

    def piece(self, sections: int, seconds: float) -> dict[str, Any]:
        """Return a request for one clip in sections of so many seconds, each with a text of its own."""
        texts = [f"{self.prompt}, part {number}" for number in range(1, sections + 1)]
        return {"sections": [{"text": text, "duration": seconds} for text in texts], "generation_params": {"seed": 7}}


def shorten(request: dict[str, Any]) -> str:
    """Return a request as JSON, without audio in base64."""
    return re.sub(r'("base64": ")[^"]+', r"\1…", json.dumps(request))


@dataclass(frozen=True)
class Invocation:
    """An accepted request, and the S3 locations of its possible results."""

    inference_id: str
    output: str
    failure: str


class Client:
    """Invoke the endpoint under a role that has only the stack's client policy."""

    def __init__(self, aws: LocalAws, outputs: dict[str, str]) -> None:
        self._iam, self._policy = aws.client("iam"), outputs["ClientPolicyArn"]
        self._endpoint, self._inputs = outputs["EndpointName"], outputs["InputBucketName"]
        principal = {"AWS": f"arn:aws:iam::{aws.account_id}:root"}
        trust = {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
        role = self._iam.create_role(RoleName=_ROLE, AssumeRolePolicyDocument=document)["Role"]
        self._iam.attach_role_policy(RoleName=_ROLE, PolicyArn=self._policy)
        session = aws.client("sts").assume_role(RoleArn=role["Arn"], RoleSessionName="walkthrough")["Credentials"]
        keys = session["AccessKeyId"], session["SecretAccessKey"], session["SessionToken"]
        self._runtime, self._s3 = aws.client_as("sagemaker-runtime", *keys), aws.client_as("s3", *keys)

    def invoke(self, request: dict[str, Any]) -> Invocation:
        """Send a request, through the input bucket if it is too large to be sent itself."""
        inference_id, body = str(uuid.uuid4()), json.dumps(request).encode()
        given: dict[str, Any] = {"Body": body}
        if len(body) > _MAX_BODY:
            key = f"in/{inference_id}.json"
            self._s3.put_object(Bucket=self._inputs, Key=key, Body=body)
            given = {"InputLocation": f"s3://{self._inputs}/{key}"}
        response = self._runtime.invoke_endpoint_async(
            **given,
            EndpointName=self._endpoint,
            ContentType="application/json",
            Accept="application/json",
            InferenceId=inference_id,
        )
        return Invocation(inference_id, response["OutputLocation"], response["FailureLocation"])

    def download(self, url: str) -> bytes:
        """Return the object at an `s3://` URL."""
        place = urlsplit(url)
        return self._s3.get_object(Bucket=place.netloc, Key=place.path.lstrip("/"))["Body"].read()

    def close(self) -> None:
        """Delete the role, so that the stack can delete its policy."""
        self._iam.detach_role_policy(RoleName=_ROLE, PolicyArn=self._policy)
        self._iam.delete_role(RoleName=_ROLE)


def let_sns_send(sqs: Any, queue_url: str) -> str:
    """Allow SNS to send the account's topics' messages to a queue, without which none arrives; return its ARN."""
    arn: str = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": arn,
        "Condition": {"StringEquals": {"aws:SourceAccount": arn.split(":")[4]}},
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    sqs.set_queue_attributes(QueueUrl=queue_url, Attributes={"Policy": policy})
    return arn


class NotificationQueue:
    """A queue subscribed to the success and error topics."""

    def __init__(self, aws: LocalAws, outputs: dict[str, str]) -> None:
        self._received: dict[str, dict[str, Any]] = {}
        self._sqs, self._sns = aws.client("sqs"), aws.client("sns")
        self._url = self._sqs.create_queue(QueueName="walkthrough-listener")["QueueUrl"]
        arn = let_sns_send(self._sqs, self._url)
        answers = [
            self._sns.subscribe(TopicArn=outputs[name], Protocol="sqs", Endpoint=arn, ReturnSubscriptionArn=True)
            for name in ("SuccessTopicArn", "ErrorTopicArn")
        ]
        self._subscriptions = [answer["SubscriptionArn"] for answer in answers]

    def wait(self, invocation: Invocation, expected_status: str) -> dict[str, Any]:
        """Return the notification about one invocation; keep others for later calls.

        Raise StepFailed if it does not arrive in time or has another status.
        """
        deadline = time.monotonic() + _NOTIFICATION_TIMEOUT
        while invocation.inference_id not in self._received:
            if time.monotonic() > deadline:
                raise StepFailed(
                    f"no notification about request {invocation.inference_id} within {_NOTIFICATION_TIMEOUT:.0f} s"
                )
            messages = self._sqs.receive_message(QueueUrl=self._url, WaitTimeSeconds=1, MaxNumberOfMessages=10)
            for message in messages.get("Messages", []):
                self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=message["ReceiptHandle"])
                received = json.loads(json.loads(message["Body"])["Message"])
                if received.get("eventName") == "InferenceResult":  # not SageMaker's TestNotification
                    self._received[received["inferenceId"]] = received
        notification = self._received.pop(invocation.inference_id)
        if notification["invocationStatus"] != expected_status:
            raise StepFailed(f"the notification must say {expected_status}, got {json.dumps(notification)}")
        return notification

    def close(self) -> None:
        for subscription in self._subscriptions:
            self._sns.unsubscribe(SubscriptionArn=subscription)
        self._sqs.delete_queue(QueueUrl=self._url)


def check_clip(data: bytes, expected_seconds: float) -> str:
    """Decode a wav, check its length to one EnCodec frame, and describe it.

    Raise StepFailed if it is not audio, is silent, contains NaN or infinity, or has another length.
    """
    try:
        samples, rate = soundfile.read(io.BytesIO(data), always_2d=True, dtype="float32")
    except soundfile.LibsndfileError as error:
        raise StepFailed(f"the result is not audio: {error}") from error
    seconds, peak = len(samples) / rate, float(np.abs(samples).max(initial=0))
    if not np.isfinite(samples).all() or peak == 0:
        raise StepFailed(f"the clip must contain sound, got a peak of {peak}")
    if abs(seconds - expected_seconds) > FRAME_SECONDS:
        raise StepFailed(f"the clip must last {expected_seconds:.2f} s, got {seconds:.2f} s")
    return f"{seconds:.2f} s, {rate} Hz, {samples.shape[1]} channel"


def hear_sections(data: bytes, sections: int) -> list[str]:
    """Return what each section of a wav plays. Raise StepFailed if one is no clear tune."""
    samples, rate = soundfile.read(io.BytesIO(data), always_2d=True, dtype="float32")
    heard = [listen(part, rate) for part in np.split(samples[:, 0], sections)]
    for number, one in enumerate(heard, 1):
        if not one.clarity.clear:
            raise StepFailed(f"section {number} of {sections} must play a tune, got {one.clarity}")
    return [str(one) for one in heard]


def hear_clip(data: bytes) -> str:
    """Return what a wav's first channel plays, such as "D minor, fast (notes of 0.12 s), with drums"."""
    samples, rate = soundfile.read(io.BytesIO(data), always_2d=True, dtype="float32")
    return str(listen(samples[:, 0], rate))
