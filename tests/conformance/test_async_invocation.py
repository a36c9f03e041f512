"""InvokeEndpointAsync: what it accepts, what it answers, and what the container and the bucket receive."""

import json
from typing import Any

from conformance.behaviour import documented
from conformance.workspace import error_code
from tests.conformance.endpoints import AsyncEndpoint

INVOKE = "https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpointAsync.html"
GUIDE = "https://docs.aws.amazon.com/sagemaker/latest/dg/async-inference.html"


def answered(endpoint: AsyncEndpoint, answer: dict[str, Any]) -> dict[str, Any]:
    return json.loads(endpoint.await_object(answer["OutputLocation"]))


@documented(INVOKE)
def test_inline_body_is_accepted(endpoint: AsyncEndpoint) -> None:
    """A request's payload may be in the call itself, as Body."""
    answer = endpoint.invoke({"hello": 1})
    assert answered(endpoint, answer)["body"] == '{"hello": 1}'


@documented(INVOKE)
def test_the_answer_is_202(endpoint: AsyncEndpoint) -> None:
    """If the action is successful, the service sends back an HTTP 202 response."""
    assert endpoint.invoke({})["ResponseMetadata"]["HTTPStatusCode"] == 202


@documented(INVOKE)
def test_the_input_location_is_read(endpoint: AsyncEndpoint) -> None:
    """InputLocation is the Amazon S3 URI where the inference request payload is stored."""
    answer = endpoint.invoke_location("in/request.json", b'{"from": "s3"}', ContentType="application/json")
    assert answered(endpoint, answer)["body"] == '{"from": "s3"}'


@documented(INVOKE)
def test_an_inference_id_is_made_up(endpoint: AsyncEndpoint) -> None:
    """If the request has no InferenceId, Amazon SageMaker generates one, and the answer has it."""
    first, second = endpoint.invoke({}), endpoint.invoke({})
    assert first["InferenceId"] and first["InferenceId"] != second["InferenceId"]


@documented(INVOKE)
def test_an_unknown_endpoint_is_a_validation_error(endpoint: AsyncEndpoint) -> None:
    """A call for an endpoint that does not exist is refused with ValidationError."""
    call = endpoint.runtime.invoke_endpoint_async
    code, _ = error_code(lambda: call(EndpointName=endpoint.workspace.name(), Body=b"{}", ContentType="text/plain"))
    assert code == "ValidationError"


@documented(GUIDE)
def test_a_success_is_announced_once(endpoint: AsyncEndpoint) -> None:
    """A successful inference is announced on the success topic, with the place of its output."""
    answer = endpoint.invoke({})
    message = endpoint.await_message("success", answer["InferenceId"])
    assert message["responseParameters"]["outputLocation"] == answer["OutputLocation"]
