"""InvokeEndpointAsync: what it accepts, what it answers, and what the container receives."""

import json
import time
from typing import Any

from botocore.config import Config

from conformance.behaviour import documented
from conformance.workspace import error_code
from tests.conformance.endpoints import AsyncEndpoint

INVOKE = "https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpointAsync.html"
GUIDE = "https://docs.aws.amazon.com/sagemaker/latest/dg/async-inference.html"
CREATE = "https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateEndpoint.html"


def answered(endpoint: AsyncEndpoint, answer: dict[str, Any]) -> dict[str, Any]:
    return json.loads(endpoint.await_object(answer["OutputLocation"]))


def refused(endpoint: AsyncEndpoint, **parameters: Any) -> str:
    """Send a request past the SDK's own checks; return the error's code."""
    unchecked = Config(parameter_validation=False, retries={"total_max_attempts": 1})
    runtime = endpoint.workspace.client("sagemaker-runtime", config=unchecked)
    parameters = {"EndpointName": endpoint.name, **parameters}
    if not {"Body", "InputLocation"} & parameters.keys():
        parameters["Body"] = b"{}"
    code, _ = error_code(lambda: runtime.invoke_endpoint_async(**parameters))
    return code


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
def test_the_answer_is_json(endpoint: AsyncEndpoint) -> None:
    """The data is returned in JSON format by the service: Content-type is application/json."""
    assert endpoint.invoke({})["ResponseMetadata"]["HTTPHeaders"]["content-type"] == "application/json"


@documented(INVOKE)
def test_the_answer_comes_before_the_result(endpoint: AsyncEndpoint) -> None:
    """Requests are enqueued: the response does not contain the result, but where to find it."""
    started = time.monotonic()
    answer = endpoint.invoke({"sleep": 3})
    assert time.monotonic() - started < 3
    assert endpoint.object(answer["OutputLocation"]) is None
    assert endpoint.await_object(answer["OutputLocation"])


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
def test_a_given_inference_id_is_answered(endpoint: AsyncEndpoint) -> None:
    """The InferenceId of the answer is the same as the InferenceId of the input."""
    assert endpoint.invoke({}, InferenceId="mine: 1/2")["InferenceId"] == "mine: 1/2"


@documented(INVOKE)
def test_an_inference_id_has_at_most_64_characters(endpoint: AsyncEndpoint) -> None:
    """InferenceId: maximum length of 64."""
    assert endpoint.invoke({}, InferenceId="x" * 64)["InferenceId"] == "x" * 64
    assert refused(endpoint, InferenceId="x" * 65) == "ValidationError"


@documented(INVOKE)
def test_an_input_location_is_a_url(endpoint: AsyncEndpoint) -> None:
    """InputLocation must match ^(https|s3)://([^/]+)/?(.*)$."""
    assert refused(endpoint, InputLocation="ftp://bucket/key") == "ValidationError"


@documented(INVOKE)
def test_an_input_location_has_at_most_1024_characters(endpoint: AsyncEndpoint) -> None:
    """InputLocation: maximum length of 1024."""
    assert refused(endpoint, InputLocation=f"s3://{endpoint.bucket}/".ljust(1025, "x")) == "ValidationError"


@documented(INVOKE)
def test_a_body_of_128000_bytes_is_accepted(endpoint: AsyncEndpoint) -> None:
    """The inline payload can be up to 128,000 bytes."""
    answer = endpoint.invoke({}, Body=b"{}".ljust(128_000))
    assert len(answered(endpoint, answer)["body"]) == 128_000


@documented(INVOKE)
def test_a_larger_body_is_refused(endpoint: AsyncEndpoint) -> None:
    """Body: maximum length of 128000."""
    assert refused(endpoint, Body=b"x" * 128_001) == "ValidationError"


@documented(INVOKE)
def test_body_and_input_location_are_exclusive(endpoint: AsyncEndpoint) -> None:
    """Body and InputLocation are mutually exclusive."""
    assert refused(endpoint, Body=b"{}", InputLocation=f"s3://{endpoint.bucket}/in/x") == "ValidationError"


@documented(INVOKE)
def test_body_or_input_location_is_required(endpoint: AsyncEndpoint) -> None:
    """Provide exactly one of Body and InputLocation."""
    assert refused(endpoint, Body=b"") == "ValidationError"


@documented(INVOKE)
def test_a_time_to_live_is_60_to_21600_seconds(endpoint: AsyncEndpoint) -> None:
    """RequestTTLSeconds: minimum value of 60, maximum value of 21600."""
    for seconds in (59, 21_601):
        assert refused(endpoint, RequestTTLSeconds=seconds) == "ValidationError"
    for seconds in (60, 21_600):
        assert endpoint.invoke({}, RequestTTLSeconds=seconds)["InferenceId"]


@documented(INVOKE)
def test_an_invocation_timeout_is_1_to_3600_seconds(endpoint: AsyncEndpoint) -> None:
    """InvocationTimeoutSeconds: minimum value of 1, maximum value of 3600."""
    for seconds in (0, 3601):
        assert refused(endpoint, InvocationTimeoutSeconds=seconds) == "ValidationError"
    assert endpoint.invoke({}, InvocationTimeoutSeconds=3600)["InferenceId"]


@documented(INVOKE)
def test_the_content_type_reaches_the_container(endpoint: AsyncEndpoint) -> None:
    """ContentType is the MIME type of the input data in the request body."""
    answer = endpoint.invoke({}, ContentType="text/x-mine")
    assert answered(endpoint, answer)["headers"]["Content-Type"] == "text/x-mine"


@documented(
    INVOKE,
    unknown="AWS does not say what it sends; the SDK sets no other type than the object's, and toolkits need one",
)
def test_without_a_content_type_the_objects_is_sent(endpoint: AsyncEndpoint) -> None:
    """ContentType is the MIME type of the input data: without it, that of the object at InputLocation."""
    key = endpoint.workspace.name("typed")
    endpoint.s3.put_object(Bucket=endpoint.bucket, Key=f"in/{key}", Body=b"{}", ContentType="text/x-object")
    location = f"s3://{endpoint.bucket}/in/{key}"
    answer = endpoint.runtime.invoke_endpoint_async(EndpointName=endpoint.name, InputLocation=location)
    assert answered(endpoint, answer)["headers"]["Content-Type"] == "text/x-object"


@documented(INVOKE)
def test_a_header_has_at_most_1024_characters(endpoint: AsyncEndpoint) -> None:
    """ContentType, Accept and CustomAttributes: maximum length of 1024."""
    for name in ("ContentType", "Accept", "CustomAttributes"):
        assert refused(endpoint, **{name: "x" * 1025}) == "ValidationError"


@documented(INVOKE)
def test_accept_reaches_the_container(endpoint: AsyncEndpoint) -> None:
    """Accept is the desired MIME type of the inference response from the model container."""
    answer = endpoint.invoke({}, Accept="audio/x-mine")
    assert answered(endpoint, answer)["headers"]["Accept"] == "audio/x-mine"


@documented(INVOKE)
def test_custom_attributes_are_forwarded_verbatim(endpoint: AsyncEndpoint) -> None:
    """CustomAttributes is an opaque value that is forwarded verbatim."""
    answer = endpoint.invoke({}, CustomAttributes='c000b4f9-df62; a="b, c"')
    headers = answered(endpoint, answer)["headers"]
    assert headers["X-Amzn-SageMaker-Custom-Attributes"] == 'c000b4f9-df62; a="b, c"'


@documented(INVOKE)
def test_other_headers_are_stripped(endpoint: AsyncEndpoint) -> None:
    """Amazon SageMaker strips all POST headers except those supported by the API."""
    runtime = endpoint.workspace.client("sagemaker-runtime", config=Config(retries={"total_max_attempts": 1}))

    def add(request: Any, **_: Any) -> None:
        request.headers["X-Mine"] = "1"

    runtime.meta.events.register("before-sign.sagemaker-runtime.InvokeEndpointAsync", add)
    answer = runtime.invoke_endpoint_async(EndpointName=endpoint.name, Body=b"{}")
    assert "X-Mine" not in answered(endpoint, answer)["headers"]


@documented(INVOKE)
def test_the_extension_is_appended_to_the_output_path(endpoint: AsyncEndpoint) -> None:
    """S3OutputPathExtension is appended to the Amazon S3 output path where the response payload is stored."""
    answer = endpoint.invoke({}, S3OutputPathExtension="team/a")
    assert answer["OutputLocation"].startswith(f"s3://{endpoint.bucket}/out/team/a/")
    assert endpoint.await_object(answer["OutputLocation"])


@documented(INVOKE)
def test_an_extension_is_no_url(endpoint: AsyncEndpoint) -> None:
    """S3OutputPathExtension has at most 512 characters and must match ^(?!s3:|https:)[a-zA-Z0-9!_.*'()/-]+$."""
    for extension in ("s3://other/", "a?b", "x" * 513):
        assert refused(endpoint, S3OutputPathExtension=extension) == "ValidationError"


@documented(INVOKE)
def test_the_filename_names_the_output(endpoint: AsyncEndpoint) -> None:
    """Filename is the filename for the inference response payload stored in Amazon S3."""
    answer = endpoint.invoke({}, Filename="clip-1.json")
    assert answer["OutputLocation"] == f"s3://{endpoint.bucket}/out/clip-1.json"
    assert endpoint.await_object(answer["OutputLocation"])


@documented(INVOKE)
def test_a_filename_has_one_dot_and_32_characters(endpoint: AsyncEndpoint) -> None:
    """Filename: at most 32 characters that match ^(?!.*\\..*\\.)[a-zA-Z0-9][a-zA-Z0-9-_\\.]*$."""
    for name in ("a.b.c", "../up", ".hidden", "x" * 33):
        assert refused(endpoint, Filename=name) == "ValidationError"


@documented(
    INVOKE, unknown="AWS does not say how the name follows from the ID; here it is a new one, so that equal IDs differ"
)
def test_a_filename_is_generated(endpoint: AsyncEndpoint) -> None:
    """If Filename is not specified, Amazon SageMaker generates a filename based on the inference ID."""
    first, second = (endpoint.invoke({}, InferenceId="the-same")["OutputLocation"] for _ in range(2))
    assert first.endswith(".out") and first != second


@documented(INVOKE)
def test_the_answer_names_the_failure_location(endpoint: AsyncEndpoint) -> None:
    """FailureLocation is the Amazon S3 URI where the inference failure response payload is stored."""
    answer = endpoint.invoke({"status": 400})
    assert answer["FailureLocation"].startswith(f"s3://{endpoint.bucket}/failures/")
    assert endpoint.await_object(answer["FailureLocation"])


@documented(INVOKE)
def test_an_unknown_endpoint_is_a_validation_error(endpoint: AsyncEndpoint) -> None:
    """A call for an endpoint that does not exist is refused with ValidationError."""
    call = endpoint.runtime.invoke_endpoint_async
    code, _ = error_code(lambda: call(EndpointName=endpoint.workspace.name(), Body=b"{}", ContentType="text/plain"))
    assert code == "ValidationError"


@documented(INVOKE)
def test_an_endpoint_name_has_at_most_63_characters(endpoint: AsyncEndpoint) -> None:
    """EndpointName: at most 63 characters that match ^[a-zA-Z0-9](-*[a-zA-Z0-9])*."""
    for name in ("x" * 64, "-x", "a_b"):
        assert refused(endpoint, EndpointName=name) == "ValidationError"


@documented(CREATE)
def test_the_case_of_a_name_matters(endpoint: AsyncEndpoint) -> None:
    """The endpoint's name is case-insensitive in CreateEndpoint, but must be matched in InvokeEndpoint."""
    assert refused(endpoint, EndpointName=endpoint.name.upper()) == "ValidationError"


@documented(GUIDE)
def test_a_synchronous_call_is_refused(endpoint: AsyncEndpoint) -> None:
    """AsyncInferenceConfig implies that the endpoint can only receive asynchronous invocations."""
    call = endpoint.runtime.invoke_endpoint
    code, _ = error_code(lambda: call(EndpointName=endpoint.name, Body=b"{}"))
    assert code == "ValidationError"
