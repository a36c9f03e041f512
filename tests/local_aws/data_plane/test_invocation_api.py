"""InvokeEndpointAsync from request to answer, against containers that do as they are told."""

import json
from typing import Any


def test_inline_request_ends_as_output_object_and_success_message(endpoint: Any, world: Any) -> None:
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
