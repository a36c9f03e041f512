"""InvokeEndpointAsync from call to result, through boto3, with fake containers."""

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError


def code(error: ClientError) -> tuple[str, int]:
    """The error's code and its HTTP status."""
    response: Any = error.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


def test_inline_request_produces_output_object_and_success_message(endpoint: Any, world: Any) -> None:
    answer = endpoint.invoke(
        {"text": "hello"}, InferenceId="my-id", Accept="application/json", CustomAttributes="trace=1"
    )
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 202
    assert answer["InferenceId"] == "my-id"
    assert answer["OutputLocation"].startswith(f"s3://{endpoint.bucket}/out/")
    assert answer["OutputLocation"].endswith(".out")
    assert json.loads(endpoint.await_object(answer["OutputLocation"])) == {"text": "hello"}
    (message,) = endpoint.messages(1)
    assert message["topic"] == "success"
    assert message["invocationStatus"] == "Completed"
    assert message["inferenceId"] == "my-id"
    assert message["responseParameters"] == {
        "contentType": "application/json",
        "outputLocation": answer["OutputLocation"],
    }
    assert message["requestParameters"] == {
        "accept": "application/json",
        "contentType": "application/json",
        "endpointName": endpoint.name,
    }
    headers, body = world.received[0]
    assert json.loads(body) == {"text": "hello"}
    assert headers["X-Amzn-SageMaker-Inference-Id"] == "my-id"
    assert headers["X-Amzn-SageMaker-Custom-Attributes"] == "trace=1"
    assert headers["Accept"] == "application/json"
    assert endpoint.object(answer["FailureLocation"]) is None


def test_refused_request_produces_failure_object_and_error_message(endpoint: Any) -> None:
    answer = endpoint.invoke({"status": 422, "text": "texts must not be empty"})
    assert json.loads(endpoint.await_object(answer["FailureLocation"])) == {"text": "texts must not be empty"}
    assert answer["FailureLocation"].startswith(f"s3://{endpoint.bucket}/failures/")
    assert answer["FailureLocation"].endswith("-error.out")
    (message,) = endpoint.messages(1)
    assert message["topic"] == "error"
    assert message["invocationStatus"] == "Failed"
    assert message["failureReason"].startswith("ClientError: Received client error (422) from model.")
    assert message["responseParameters"] == {"failureLocation": answer["FailureLocation"]}
    assert endpoint.object(answer["OutputLocation"]) is None


def test_input_from_s3_reaches_the_container(endpoint: Any, world: Any) -> None:
    endpoint.s3.put_object(Bucket=endpoint.bucket, Key="in/a.json", Body=b'{"text": "from S3"}')
    location = f"s3://{endpoint.bucket}/in/a.json"
    answer = endpoint.runtime.invoke_endpoint_async(
        EndpointName=endpoint.name, InputLocation=location, ContentType="application/json"
    )
    assert json.loads(endpoint.await_object(answer["OutputLocation"])) == {"text": "from S3"}
    (message,) = endpoint.messages(1)
    assert message["requestParameters"]["inputLocation"] == location


def test_missing_input_fails_the_request(endpoint: Any) -> None:
    answer = endpoint.runtime.invoke_endpoint_async(
        EndpointName=endpoint.name, InputLocation=f"s3://{endpoint.bucket}/in/absent.json"
    )
    reason = endpoint.await_object(answer["FailureLocation"]).decode()
    assert reason.startswith("ClientError: Failed to download the input from")
    assert "NoSuchKey" in reason
    assert endpoint.messages(1)[0]["failureReason"] == reason


def test_filename_and_extension_set_the_output_location(endpoint: Any) -> None:
    answer = endpoint.invoke({}, S3OutputPathExtension="team/a", Filename="clip.json")
    assert answer["OutputLocation"] == f"s3://{endpoint.bucket}/out/team/a/clip.json"
    assert endpoint.await_object(answer["OutputLocation"])


def test_inference_id_is_generated_by_default(endpoint: Any, world: Any) -> None:
    answer = endpoint.invoke({})
    endpoint.await_object(answer["OutputLocation"])
    assert world.received[0][0]["X-Amzn-SageMaker-Inference-Id"] == answer["InferenceId"]


def test_content_type_defaults_to_bytes(endpoint: Any, world: Any) -> None:
    answer = endpoint.runtime.invoke_endpoint_async(EndpointName=endpoint.name, Body=b"{}")
    endpoint.await_object(answer["OutputLocation"])
    assert world.received[0][0]["Content-Type"] == "application/octet-stream"


def test_call_beyond_the_apis_limits_is_refused(endpoint: Any, world: Any) -> None:
    with pytest.raises(ClientError, match="Member must have value less than or equal to 21600") as refused:
        endpoint.invoke({}, RequestTTLSeconds=21_601)
    assert code(refused.value) == ("ValidationError", 400)
    assert world.received == []


def test_largest_inline_body_is_accepted(endpoint: Any) -> None:
    body = {"text": "x" * 127_900}
    answer = endpoint.invoke({}, Body=json.dumps(body).ljust(128_000).encode())
    assert json.loads(endpoint.await_object(answer["OutputLocation"])) == body


def test_unknown_endpoint_is_refused(stack: Any) -> None:
    with pytest.raises(ClientError, match=rf"Endpoint {stack.name} of account 123456789012 not found\.") as refused:
        stack.invoke({})
    assert code(refused.value) == ("ValidationError", 400)


def test_synchronous_call_of_an_asynchronous_endpoint_is_refused(endpoint: Any, world: Any) -> None:
    with pytest.raises(ClientError, match="use InvokeEndpointAsync") as refused:
        endpoint.runtime.invoke_endpoint(EndpointName=endpoint.name, Body=b"{}")
    assert code(refused.value) == ("ValidationError", 400)
    assert world.received == []


def test_output_that_cannot_be_written_fails_the_request(stack: Any) -> None:
    config = stack.configure(output_path="s3://no-such-bucket/out/")
    stack.create_endpoint(config)
    stack.await_status("InService")
    answer = stack.invoke({})
    reason = stack.await_object(answer["FailureLocation"]).decode()
    assert reason.startswith(f"ClientError: Failed to upload the response to {answer['OutputLocation']}")
    assert stack.messages(1)[0]["invocationStatus"] == "Failed"
