"""Send a request, look for its result and read it: every call to SageMaker Runtime, S3 and SQS about a job."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, IncompleteReadError

from musicgen_client.aws import Clients, code, raise_send_error, translate
from musicgen_client.errors import ContractError, MusicGenError, ServiceError
from musicgen_client.stack import Stack

CONTRACT = 1
MAX_INLINE_BYTES = 128_000
MAX_RESPONSE_BYTES = 64 * 1024 * 1024
_READ_ATTEMPTS = 5
JSON = "application/json"
_OUTCOMES = {400: "refused", 406: "refused", 409: "cancelled", 413: "refused", 415: "refused", 422: "refused"}
"""The container's answers that are no faults, by HTTP status (docs/api.md, Errors)."""


@dataclass(frozen=True)
class Sent:
    """Where a queued request's result or failure will be (s3:// URLs)."""

    output: str
    failure: str | None


@dataclass(frozen=True)
class Result:
    """How a request ended: "completed" with the response, or another status with the reason."""

    status: str  # completed, refused, failed, expired, cancelled
    response: dict[str, Any]
    error: str | None = None


@dataclass(frozen=True)
class Progress:
    """What the container last wrote about a running request."""

    stage: str
    percent: float


class Transport:
    """Calls AWS for one stack. Safe to use from several threads, as boto3's clients are."""

    def __init__(self, stack: Stack, clients: Clients, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self.stack = stack
        self._clients = clients
        self._sleep = sleep
        members = clients.runtime.meta.service_model.operation_model("InvokeEndpointAsync").input_shape.members
        self.inline = "Body" in members  # botocore 1.43.29 or newer
        self._names_output = "Filename" in members

    def expected_output(self, job: str) -> str | None:
        """Return where the result of a job will be, whether or not the call's answer arrives; None if unknown."""
        return f"s3://{self.stack.output_bucket}/out/{job}.out" if self._names_output else None

    def upload(self, job: str, body: bytes) -> str:
        """Put a request into the input bucket unless it is there; return its s3:// URL."""
        key = f"in/{job}.json"
        parameters: dict[str, Any] = {"Bucket": self.stack.input_bucket, "Key": key, "Body": body}
        members = self._clients.s3.meta.service_model.operation_model("PutObject").input_shape.members
        if "IfNoneMatch" in members:  # the id depends on the body, so what is there is the same
            parameters["IfNoneMatch"] = "*"
        try:
            self._clients.s3.put_object(**parameters, ContentType=JSON)
        except ClientError as error:
            if code(error) not in ("PreconditionFailed", "412"):
                raise translate(error, f"s3://{self.stack.input_bucket}/{key}") from error
        except BotoCoreError as error:
            raise translate(error, f"s3://{self.stack.input_bucket}/{key}") from error
        return f"s3://{self.stack.input_bucket}/{key}"

    def needs_upload(self, body: bytes) -> bool:
        """Whether a body has to go through the input bucket."""
        return not self.inline or len(body) > MAX_INLINE_BYTES

    def send(self, job: str, body: bytes, *, location: str | None, ttl: int, time_limit: int) -> Sent:
        """Queue a request once. `location` is what `upload` returned, None to send the body inline.

        Raises SendInDoubt if it may have been queued all the same; after any other MusicGenError it was not.
        """
        parameters: dict[str, Any] = {"InputLocation": location} if location else {"Body": body}
        if self._names_output:
            parameters["Filename"] = f"{job}.out"
        try:
            answer = self._clients.runtime.invoke_endpoint_async(
                EndpointName=self.stack.endpoint,
                ContentType=JSON,
                Accept=JSON,
                InferenceId=job,
                RequestTTLSeconds=ttl,
                InvocationTimeoutSeconds=time_limit,
                **parameters,
            )
        except (ClientError, BotoCoreError) as error:
            raise_send_error(error, self.stack.endpoint)
        return Sent(answer["OutputLocation"], answer.get("FailureLocation"))

    def look(self, output: str | None, failure: str | None) -> Result | None:
        """Return the result if there is one; None while the request waits or runs."""
        if output and (content := self.read(output, MAX_RESPONSE_BYTES)) is not None:
            return parse_response(content)
        if failure and (content := self.read(failure, MAX_RESPONSE_BYTES)) is not None:
            return parse_failure(content)
        return None

    def started(self, job: str) -> bool:
        """Whether the container has written anything for a job: progress or a clip."""
        try:
            found = self._clients.s3.list_objects_v2(Bucket=self.stack.output_bucket, Prefix=f"audio/{job}/", MaxKeys=1)
        except (ClientError, BotoCoreError) as error:
            raise translate(error, f"s3://{self.stack.output_bucket}/audio/") from error
        return bool(found.get("KeyCount", len(found.get("Contents", []))))

    def progress(self, job: str) -> Progress | None:
        """Return what the container last wrote to progress.json; None before, or if it cannot be understood."""
        content = self.read(f"s3://{self.stack.output_bucket}/audio/{job}/progress.json", 4096)
        try:
            value = json.loads(content or b"null")
            return Progress(str(value["stage"]), min(100.0, max(0.0, float(value["percent"]))))
        except (ValueError, KeyError, TypeError):
            return None

    def cancel(self, job: str) -> None:
        """Ask the container to end a job; it honours this within 2 s, if the job waits as soon as it is delivered."""
        key = f"cancel/{job}"
        try:
            self._clients.s3.put_object(Bucket=self.stack.output_bucket, Key=key, Body=b"")
        except (ClientError, BotoCoreError) as error:
            raise translate(error, f"s3://{self.stack.output_bucket}/{key}") from error

    def read(self, url: str, limit: int) -> bytes | None:
        """Return the object at an s3:// URL, None if there is none; repeats reads that S3 breaks off midway.

        Raises ServiceError if the object is larger than `limit` bytes or S3 keeps failing.
        """
        bucket, _, key = url.removeprefix("s3://").partition("/")
        problem: Exception | None = None
        for attempt in range(_READ_ATTEMPTS):
            if attempt:
                self._sleep(0.2 * 2**attempt)
            try:
                answer = self._clients.s3.get_object(Bucket=bucket, Key=key)
                if answer["ContentLength"] > limit:
                    raise ServiceError(f"{url} must be at most {limit} bytes, got {answer['ContentLength']}")
                return cast("bytes", answer["Body"].read())
            except ClientError as error:
                if code(error) in ("NoSuchKey", "404"):
                    return None
                raise translate(error, url) from error
            except (IncompleteReadError, HTTPClientError) as error:  # the body broke off, after botocore's own retries
                problem = error
            except BotoCoreError as error:
                raise translate(error, url) from error
        raise ServiceError(f"{url} could not be read in {_READ_ATTEMPTS} attempts: {problem}")

    def presign(self, url: str, seconds: int) -> str:
        """Return an HTTPS URL with which anyone can read an object, at most as long as the credentials live."""
        bucket, _, key = url.removeprefix("s3://").partition("/")
        return self._clients.s3.generate_presigned_url(
            "get_object", Params={"Bucket": bucket, "Key": key}, ExpiresIn=seconds
        )

    def receive(self, queue_url: str, seconds: int) -> dict[str, dict[str, Any]]:
        """Return the results that a queue reports within some seconds, by inference id, and delete the messages.

        The queue is subscribed to the stack's success and error topics, with or without raw delivery, and belongs to
        this client alone. SageMaker's test messages are deleted too.
        """
        try:
            answer = self._clients.sqs.receive_message(
                QueueUrl=queue_url, WaitTimeSeconds=min(20, seconds), MaxNumberOfMessages=10
            )
            found: dict[str, dict[str, Any]] = {}
            for message in answer.get("Messages", []):
                if event := parse_notification(message["Body"]):
                    found[event["inferenceId"]] = event
                self._clients.sqs.delete_message(QueueUrl=queue_url, ReceiptHandle=message["ReceiptHandle"])
        except (ClientError, BotoCoreError) as error:
            raise translate(error, queue_url) from error
        return found


def parse_response(content: bytes) -> Result:
    """Return a completed result; ContractError if the response is not one of this client's contract."""
    try:
        response = json.loads(content)
        contract = response["contract"]
    except (ValueError, KeyError, TypeError) as error:
        raise ContractError("the endpoint's response is not one of a MusicGen container") from error
    if contract != CONTRACT:
        older = "this client is older: upgrade musicgen-client" if contract > CONTRACT else "the endpoint is older"
        raise ContractError(f"the response must have contract {CONTRACT}, got {contract}; {older}")
    wanted = ("generated_outputs_s3", "seeds", "durations", "sampling_rate")
    if missing := [name for name in wanted if name not in response]:
        raise ContractError(f"the response has no {', '.join(missing)}")
    return Result("completed", {name: value for name, value in response.items() if name != "tokens"})


def parse_failure(content: bytes) -> Result:
    """Return how a request failed, with the container's message or SageMaker's reason."""
    try:
        value: Any = json.loads(content)
        message, identifier, status = str(value["error"])[:2000], value.get("error_id"), int(value["status"])
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):  # SageMaker's own reason
        text = content.decode(errors="replace").strip()[:2000]
        is_expired = "RequestTTLSeconds" in text or "expired" in text.lower()
        return Result("expired" if is_expired else "failed", {}, text or "no reason given")
    return Result(_OUTCOMES.get(status, "failed"), {}, f"{message} (error_id {identifier})" if identifier else message)


def parse_notification(body: str) -> dict[str, Any] | None:
    """Return the message of SageMaker in a queue's message if it reports a request; else None (docs/api.md)."""
    try:
        event: Any = json.loads(body)
        if isinstance(event, dict) and "Message" in event:
            event = json.loads(cast("str", event["Message"]))
    except (ValueError, TypeError):
        return None
    if not isinstance(event, dict):
        return None
    fields = cast("dict[str, Any]", event)
    return fields if fields.get("eventName") == "InferenceResult" and "inferenceId" in fields else None


def is_transient(error: MusicGenError) -> bool:
    """Whether the same call may succeed a little later."""
    return isinstance(error, ServiceError)
