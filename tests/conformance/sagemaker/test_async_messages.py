"""What an asynchronous request leaves behind: objects in the bucket, messages on the topics."""

import json
from collections import Counter
from datetime import UTC, datetime
from typing import Any

from conformance.behaviour import documented
from tests.conformance.endpoints import AsyncEndpoint

GUIDE = "https://docs.aws.amazon.com/sagemaker/latest/dg/async-inference.html"
RESULTS = "https://docs.aws.amazon.com/sagemaker/latest/dg/async-inference-check-predictions.html"
CREATE = "https://docs.aws.amazon.com/sagemaker/latest/dg/async-inference-create-endpoint.html"
API = "https://docs.aws.amazon.com/sagemaker/latest/APIReference/"
INVOKE = API + "API_runtime_InvokeEndpointAsync.html"
NOTIFICATION = API + "API_AsyncInferenceNotificationConfig.html"
OUTPUT = API + "API_AsyncInferenceOutputConfig.html"
FORM = "AWS documents no form of these messages; here it is that of real endpoints' logs"


def message_of(endpoint: AsyncEndpoint, kind: str, wanted: dict[str, Any], **parameters: Any) -> dict[str, Any]:
    answer = endpoint.invoke(wanted, **parameters)
    return {**endpoint.await_message(kind, answer["InferenceId"]), "answer": answer}


def location(endpoint: AsyncEndpoint, url: str) -> dict[str, Any]:
    """Wait for an object; return the answer of HeadObject."""
    endpoint.await_object(url)
    bucket, _, key = url.removeprefix("s3://").partition("/")
    return endpoint.s3.head_object(Bucket=bucket, Key=key)


@documented(NOTIFICATION)
def test_a_success_is_announced_on_the_success_topic(endpoint: AsyncEndpoint) -> None:
    """SuccessTopic: the topic to post a notification to when inference completes successfully."""
    message = message_of(endpoint, "success", {})
    assert message["responseParameters"]["outputLocation"] == message["answer"]["OutputLocation"]


@documented(NOTIFICATION)
def test_a_failure_is_announced_on_the_error_topic(endpoint: AsyncEndpoint) -> None:
    """ErrorTopic: the topic to post a notification to when inference fails."""
    message = message_of(endpoint, "error", {"status": 500})
    assert message["responseParameters"]["failureLocation"] == message["answer"]["FailureLocation"]


@documented(GUIDE)
def test_mixed_requests_are_each_announced_once(endpoint: AsyncEndpoint) -> None:
    """Upon processing, SageMaker places the result in Amazon S3, and sends success or error notifications."""
    answers = [endpoint.invoke({"status": 400} if number % 3 == 0 else {}) for number in range(12)]
    wanted = Counter(
        {answer["InferenceId"]: "error" if number % 3 == 0 else "success" for number, answer in enumerate(answers)}
    )
    seen: list[tuple[str, str]] = []

    def all_arrived() -> bool:
        for kind, queue in endpoint.queues.items():
            for envelope in endpoint.workspace.messages(queue):
                seen.append((json.loads(envelope["Message"]).get("inferenceId", ""), kind))
        return wanted.keys() <= {identifier for identifier, _ in seen}

    endpoint.workspace.wait(all_arrived, "a message about each request", 30)
    mine = [entry for entry in seen if entry[0] in wanted]
    assert Counter(mine) == Counter(list(wanted.items()))
    for number, answer in enumerate(answers):
        assert endpoint.object(answer["FailureLocation" if number % 3 == 0 else "OutputLocation"]) is not None
        assert endpoint.object(answer["OutputLocation" if number % 3 == 0 else "FailureLocation"]) is None


@documented(RESULTS, unknown=FORM)
def test_a_success_message_names_the_request(endpoint: AsyncEndpoint) -> None:
    """Asynchronous Inference posts notifications: requestParameters of a success."""
    message = message_of(endpoint, "success", {}, Accept="application/json")
    assert message["requestParameters"] == {
        "accept": "application/json",
        "contentType": "application/json",
        "endpointName": endpoint.name,
    }


@documented(RESULTS, unknown=FORM)
def test_a_message_names_the_input_location(endpoint: AsyncEndpoint) -> None:
    """Asynchronous Inference posts notifications: requestParameters of a request from S3."""
    answer = endpoint.invoke_location("in/named.json", b"{}", ContentType="application/json")
    message = endpoint.await_message("success", answer["InferenceId"])
    assert message["requestParameters"]["inputLocation"] == f"s3://{endpoint.bucket}/in/named.json"


@documented(RESULTS, unknown=FORM)
def test_a_success_message_says_completed(endpoint: AsyncEndpoint) -> None:
    """Asynchronous Inference posts notifications: status, event and response of a success."""
    message = message_of(endpoint, "success", {})
    answer = message.pop("answer")
    assert message["invocationStatus"] == "Completed"
    assert message["responseParameters"] == {
        "contentType": "application/json",
        "outputLocation": answer["OutputLocation"],
    }
    assert {name: message[name] for name in ("awsRegion", "eventVersion", "eventSource", "eventName")} == {
        "awsRegion": endpoint.workspace.target.region,
        "eventVersion": "1.0",
        "eventSource": "aws:sagemaker",
        "eventName": "InferenceResult",
    }
    assert "failureReason" not in message


@documented(RESULTS, unknown=FORM)
def test_a_message_has_its_times(endpoint: AsyncEndpoint) -> None:
    """Asynchronous Inference posts notifications: receivedTime and eventTime are UTC with milliseconds."""
    before = datetime.now(UTC)
    message = message_of(endpoint, "success", {"sleep": 0.5})
    received, event = (
        datetime.strptime(message[name], "%Y-%m-%dT%H:%M:%S.%f%z") for name in ("receivedTime", "eventTime")
    )
    assert abs((received - before).total_seconds()) < 30
    assert (event - received).total_seconds() >= 0.5


@documented(RESULTS, unknown=FORM)
def test_an_error_message_says_failed_with_the_reason(endpoint: AsyncEndpoint) -> None:
    """Asynchronous Inference posts notifications: status and reason of a failure."""
    message = message_of(endpoint, "error", {"status": 422})
    assert message["invocationStatus"] == "Failed"
    assert message["failureReason"] == (
        "ClientError: Received client error (422) from model. "
        "See the SageMaker Endpoint logs in your account for more information."
    )


@documented(INVOKE)
def test_a_request_that_takes_too_long_is_expired(endpoint: AsyncEndpoint) -> None:
    """InvocationTimeoutSeconds is how long a request can be processed before it is marked as expired."""
    message = message_of(endpoint, "error", {"sleep": 4}, InvocationTimeoutSeconds=1)
    assert message["invocationStatus"] == "Expired"


@documented(CREATE)
def test_both_topics_are_tested(endpoint: AsyncEndpoint) -> None:
    """When you call CreateEndpoint, Asynchronous Inference sends a test notification of a documented form."""
    other = AsyncEndpoint(endpoint.workspace)
    config = other.configure()
    other.sagemaker.create_endpoint(EndpointName=other.name, EndpointConfigName=config)
    endpoint.workspace.later(f"endpoint {other.name}", other.delete)
    for kind in ("success", "error"):
        queue = other.queues[kind]
        envelopes = endpoint.workspace.wait(lambda queue=queue: endpoint.workspace.messages(queue), "a message")
        assert [json.loads(envelope["Message"]) for envelope in envelopes] == [
            {"eventVersion": "1.0", "eventSource": "aws:sagemaker", "eventName": "TestNotification"}
        ]


@documented(
    NOTIFICATION, differs="refused by CreateEndpoint: AWS documents no form of a message that includes the response"
)
def test_a_response_can_be_in_the_message(endpoint: AsyncEndpoint) -> None:
    """IncludeInferenceResponseIn: the topics where you want the inference response to be included."""
    other = AsyncEndpoint(endpoint.workspace)
    topics = {"SuccessTopic": other.topics["success"], "IncludeInferenceResponseIn": ["SUCCESS_NOTIFICATION_TOPIC"]}
    output = {"S3OutputPath": f"s3://{other.bucket}/out/", "NotificationConfig": topics}
    other.create(other.configure(OutputConfig=output))
    assert "OBEDIENT_START_SECONDS" in json.dumps(message_of(other, "success", {"mark": "OBEDIENT_START_SECONDS"}))


@documented(OUTPUT)
def test_a_response_is_uploaded_as_it_is(endpoint: AsyncEndpoint) -> None:
    """S3OutputPath is the Amazon S3 location to upload inference responses to."""
    answer = endpoint.invoke({"size": 1000})
    assert answer["OutputLocation"].startswith(f"s3://{endpoint.bucket}/out/")
    assert endpoint.await_object(answer["OutputLocation"]) == b"x" * 1000


@documented(GUIDE)
def test_a_response_of_7_megabytes_is_uploaded(endpoint: AsyncEndpoint) -> None:
    """Asynchronous Inference is ideal for large payload sizes (up to 1GB): more than the 6 MB of a synchronous call."""
    answer = endpoint.invoke({"size": 7_000_000})
    assert location(endpoint, answer["OutputLocation"])["ContentLength"] == 7_000_000


@documented(GUIDE)
def test_a_request_of_7_megabytes_is_read(endpoint: AsyncEndpoint) -> None:
    """Asynchronous Inference is ideal for requests with large payload sizes (up to 1GB)."""
    answer = endpoint.invoke_location("in/large", b'{"size": 5}'.ljust(7_000_000), ContentType="application/json")
    assert endpoint.await_object(answer["OutputLocation"]) == b"xxxxx"


@documented(OUTPUT)
def test_a_failure_is_uploaded(endpoint: AsyncEndpoint) -> None:
    """S3FailurePath is the Amazon S3 location to upload failure inference responses to."""
    answer = endpoint.invoke({"status": 400, "size": 10})
    assert answer["FailureLocation"].startswith(f"s3://{endpoint.bucket}/failures/")
    assert b"x" * 10 in endpoint.await_object(answer["FailureLocation"])
    assert endpoint.object(answer["OutputLocation"]) is None


@documented(OUTPUT, unknown="AWS does not say which content type the object gets; here it is the container's")
def test_an_output_has_the_containers_content_type(endpoint: AsyncEndpoint) -> None:
    """S3OutputPath is the Amazon S3 location to upload inference responses to: the object's content type."""
    answer = endpoint.invoke({"content_type": "audio/x-mine"})
    assert location(endpoint, answer["OutputLocation"])["ContentType"] == "audio/x-mine"


@documented(RESULTS)
def test_the_output_is_absent_until_it_is_complete(endpoint: AsyncEndpoint) -> None:
    """To check for outputs, read the output location until it no longer answers NoSuchKey."""
    answer = endpoint.invoke({"sleep": 1})
    assert endpoint.object(answer["OutputLocation"]) is None
    assert json.loads(endpoint.await_object(answer["OutputLocation"]))["body"]
