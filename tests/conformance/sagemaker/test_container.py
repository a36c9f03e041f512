"""What SageMaker gives a container, and what it expects of it."""

import json
from typing import Any

from conformance.behaviour import documented
from tests.conformance.endpoints import AsyncEndpoint

DG = "https://docs.aws.amazon.com/sagemaker/latest/dg/"
CODE = DG + "your-algorithms-inference-code.html"
MONITOR = DG + "async-inference-monitor.html"
LOGS = DG + "logging-cloudwatch.html"
SERVERS = DG + "async-inference-create-endpoint.html"


def seen(endpoint: AsyncEndpoint, wanted: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return what the container says of a request and of itself."""
    return json.loads(endpoint.await_object(endpoint.invoke(wanted or {})["OutputLocation"]))


@documented(CODE)
def test_the_models_environment_is_the_containers(endpoint: AsyncEndpoint) -> None:
    """SageMaker sets environment variables using the ContainerDefinition.Environment string-to-string map."""
    assert seen(endpoint, {"variables": ["OBEDIENT_MARK"]})["variables"] == {"OBEDIENT_MARK": "from the model"}


@documented(
    CODE,
    unknown="the SDK's version 2 sets SAGEMAKER_PROGRAM to an empty value, and the toolkit still finds its default",
)
def test_an_empty_value_sets_no_variable(endpoint: AsyncEndpoint) -> None:
    """SageMaker sets environment variables using the ContainerDefinition.Environment map: an empty value sets none."""
    assert "OBEDIENT_EMPTY" not in seen(endpoint)["environment"]


@documented(CODE, unknown="AWS lists the model's environment only, and does not say that it adds no region")
def test_no_region_is_set(endpoint: AsyncEndpoint) -> None:
    """SageMaker sets environment variables using the ContainerDefinition.Environment map: there is no region in it."""
    assert not {"AWS_DEFAULT_REGION", "AWS_REGION"} & set(seen(endpoint)["environment"])


@documented(DG + "sagemaker-roles.html")
def test_the_container_has_no_long_term_keys(endpoint: AsyncEndpoint) -> None:
    """SageMaker performs operations on your behalf with the execution role: the container gets no access keys."""
    assert not {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} & set(seen(endpoint)["environment"])


@documented(CODE)
def test_model_data_is_unpacked_before_the_container_starts(endpoint: AsyncEndpoint) -> None:
    """SageMaker decompresses the tar.gz file of ModelDataUrl before your container starts."""
    assert seen(endpoint)["code"].endswith("/model/code/obedient_service.py")


@documented(CODE, differs="containers are processes here: they find the model below SAGEMAKER_BASE_DIR")
def test_model_data_is_in_opt_ml_model(endpoint: AsyncEndpoint) -> None:
    """SageMaker copies the artifacts to the /opt/ml/model directory for use by your inference code."""
    assert seen(endpoint)["code"] == "/opt/ml/model/code/obedient_service.py"


@documented(CODE, unknown="AWS does not say whether it is read-only; users report that it is, and here it is")
def test_the_models_folder_is_read_only(endpoint: AsyncEndpoint) -> None:
    """SageMaker copies the artifacts to the /opt/ml/model directory for use by your inference code: to be read."""
    refused = seen(endpoint, {"write": "model"})["written"]
    assert refused in ("OSError", "PermissionError")  # EROFS, EACCES
    assert seen(endpoint, {"write": "tmp"})["written"] == "written"


@documented(CODE, differs="instances share this machine's network: each container gets a port of its own")
def test_requests_arrive_on_port_8080(endpoint: AsyncEndpoint) -> None:
    """The container must have a web server listening on port 8080."""
    assert seen(endpoint)["headers"]["Host"].endswith(":8080")


@documented(MONITOR)
def test_a_4xx_answer_fails_the_request(endpoint: AsyncEndpoint) -> None:
    """Invocation4XXErrors: the number of requests where the model returned a 4xx HTTP response code."""
    answer = endpoint.invoke({"status": 429})
    assert endpoint.await_object(answer["FailureLocation"])
    assert endpoint.object(answer["OutputLocation"]) is None


@documented(MONITOR)
def test_a_5xx_answer_fails_the_request(endpoint: AsyncEndpoint) -> None:
    """Invocation5XXErrors: the number of requests where the model returned a 5xx HTTP response code."""
    answer = endpoint.invoke({"status": 500})
    assert endpoint.await_object(answer["FailureLocation"])
    assert endpoint.object(answer["OutputLocation"]) is None


@documented(CODE, unknown="AWS documents 4xx and 5xx responses only; here a redirect is not followed, and fails")
def test_a_redirect_fails_the_request(endpoint: AsyncEndpoint) -> None:
    """SageMaker passes the request to the container and returns the result: a redirect is no result."""
    assert endpoint.await_object(endpoint.invoke({"status": 302})["FailureLocation"])


@documented(CODE, unknown="AWS documents no success but 200; here every 2xx is one")
def test_201_is_a_success(endpoint: AsyncEndpoint) -> None:
    """SageMaker passes the request to the container and returns the result."""
    assert endpoint.await_object(endpoint.invoke({"status": 201})["OutputLocation"])


@documented(LOGS)
def test_the_containers_output_is_logged(endpoint: AsyncEndpoint) -> None:
    """What a model container sends to stdout or stderr is sent to /aws/sagemaker/Endpoints/[EndpointName]."""
    seen(endpoint, {"print": "a line of mine"})
    logs = endpoint.workspace.client("logs")
    group = f"/aws/sagemaker/Endpoints/{endpoint.name}"

    def logged() -> bool:
        events = logs.filter_log_events(logGroupName=group, filterPattern='"a line of mine"')["events"]
        return any("a line of mine" in event["message"] for event in events)

    endpoint.workspace.wait(logged, "the line is in the log", 30)


@documented(LOGS)
def test_a_log_stream_is_named_by_variant_and_instance(endpoint: AsyncEndpoint) -> None:
    """The log stream's name is [production-variant-name]/[instance-id]."""
    seen(endpoint)
    logs = endpoint.workspace.client("logs")
    group = f"/aws/sagemaker/Endpoints/{endpoint.name}"

    def streams() -> list[str]:
        found = logs.describe_log_streams(logGroupName=group)["logStreams"]
        return [stream["logStreamName"] for stream in found]

    names = endpoint.workspace.wait(streams, "a log stream", 30)
    assert all(name.startswith("AllTraffic/i-") for name in names)


@documented(MONITOR)
def test_the_platform_logs_failed_requests_by_their_id(endpoint: AsyncEndpoint) -> None:
    """A platform log, [variant]/[instance]/data-log, contains the request's inference ID."""
    answer = endpoint.invoke({"status": 500})
    logs = endpoint.workspace.client("logs")
    group = f"/aws/sagemaker/Endpoints/{endpoint.name}"

    def logged() -> list[str]:
        events = logs.filter_log_events(logGroupName=group, filterPattern=f'"{answer["InferenceId"]}"')["events"]
        return [event["logStreamName"] for event in events if event["logStreamName"].endswith("/data-log")]

    (stream,) = set(endpoint.workspace.wait(logged, "the request is in the platform's log", 30))
    assert stream.startswith("AllTraffic/i-")
