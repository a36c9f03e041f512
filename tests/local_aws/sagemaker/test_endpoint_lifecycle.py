"""An endpoint from CreateEndpoint to DeleteEndpoint, through boto3, with fake containers."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from conformance.behaviour import documented
from local_aws.emulator import clients

API = "https://docs.aws.amazon.com/sagemaker/latest/APIReference/"
GUIDE = "https://docs.aws.amazon.com/sagemaker/latest/dg/"
CREATE = API + "API_CreateEndpoint.html"
DELETE = API + "API_DeleteEndpoint.html"
DESCRIBE = API + "API_DescribeEndpoint.html"
CONTAINER = GUIDE + "your-algorithms-inference-code.html"


@documented(CREATE)
def test_endpoint_is_creating_until_its_container_answers_the_ping(stack: Any, world: Any) -> None:
    """CreateEndpoint sets the status to Creating, then to InService: it can then process incoming requests."""
    world.ping_status = 503
    stack.create_endpoint(stack.configure())
    stack.eventually(lambda: world.containers)
    assert stack.describe()["EndpointStatus"] == "Creating"
    with pytest.raises(ClientError, match="not found"):
        stack.invoke({})
    world.containers[0].ping_status = 200
    described = stack.await_status("InService")
    (variant,) = described["ProductionVariants"]
    stack.eventually(lambda: stack.describe()["ProductionVariants"][0]["CurrentInstanceCount"] == 1)
    assert variant["DesiredInstanceCount"] == 1


def test_container_sees_the_models_environment_and_its_own_addresses(stack: Any, world: Any) -> None:
    stack.create_model("other", {"MMS_INFERENCE_ADDRESS": "http://127.0.0.1:8081", "MINE": "yes"})
    stack.create_endpoint(stack.configure(model="other"))
    stack.await_status("InService")
    environment = world.containers[0].environment
    assert environment["MINE"] == "yes"
    assert environment["MUSICGEN_BIND_HOST"] == "127.0.0.1"
    ports = [environment["MMS_INFERENCE_ADDRESS"], environment["MMS_MANAGEMENT_ADDRESS"]]
    assert all(address.startswith("http://127.0.0.1:") for address in ports)
    assert len({*ports, f"http://127.0.0.1:{environment['SAGEMAKER_BIND_TO_PORT']}"}) == 3
    assert environment["AWS_ENDPOINT_URL"] == clients.runtime().endpoint_url
    assert "AWS_ACCESS_KEY_ID" not in environment
    assert environment["AWS_CONTAINER_CREDENTIALS_FULL_URI"].startswith("http://127.0.0.1:")


def test_model_data_is_unpacked_for_the_container_and_removed_with_it(stack: Any, world: Any) -> None:
    stack.put_model_data({"config.json": b"{}", "code/inference.py": b"print()"})
    stack.create_endpoint(stack.configure())
    stack.await_status("InService")
    base = clients.runtime().state / "endpoints" / stack.name
    (model,) = base.glob("*/model")
    assert str(model.parent) == world.containers[0].environment["SAGEMAKER_BASE_DIR"]
    assert (model / "code" / "inference.py").read_bytes() == b"print()"
    stack.sagemaker.delete_endpoint(EndpointName=stack.name)
    stack.await_gone()
    assert [path.suffix for path in base.iterdir()] == [".log"]


def data_source(stack: Any, prefix: str = "model/", **changed: str) -> dict[str, Any]:
    """A container's fields for the files under a prefix."""
    source = {"S3Uri": f"s3://{stack.bucket}/{prefix}", "S3DataType": "S3Prefix", "CompressionType": "None", **changed}
    return {"ModelDataSource": {"S3DataSource": source}}


@documented(API + "API_S3ModelDataSource.html")
def test_files_under_a_prefix_are_the_containers_model(stack: Any, world: Any) -> None:
    """S3Prefix: SageMaker uses all objects that match the key name prefix as the model data."""
    for name in ("config.json", "code/inference.py"):
        stack.s3.put_object(Bucket=stack.bucket, Key=f"model/{name}", Body=name.encode())
    stack.s3.put_object(Bucket=stack.bucket, Key="model-of-another/config.json", Body=b"x")
    stack.create_model("files", **data_source(stack))
    stack.create_endpoint(stack.configure(model="files"))
    stack.await_status("InService")
    (model,) = (clients.runtime().state / "endpoints" / stack.name).glob("*/model")
    found = {str(path.relative_to(model)): path.read_bytes() for path in model.rglob("*") if path.is_file()}
    assert found == {"config.json": b"config.json", "code/inference.py": b"code/inference.py"}


@documented(API + "API_S3ModelDataSource.html")
@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        (["elsewhere/config.json"], "There is no object under the prefix."),
        (["model/../x"], "'../x' must have no part that is blank, '.', '..' or holds a null byte"),
        (["model/./x"], "'./x' must have no part that is blank"),
        (["model/ /x"], "' /x' must have no part that is blank"),
        (["model//x"], "'/x' must have no part that is blank"),
        (["model/config.json", "model/code/"], "'code/' must have no part that is blank"),  # a folder of the console
        ([f"model/{'ä' * 128}"], "must have no part longer than 255 bytes"),
        (["model/weights", "model/weights/1"], "'weights' must be a file or a folder, got both: 'weights/1'"),
    ],
)
def test_invalid_prefix_fails_the_endpoint(stack: Any, world: Any, keys: list[str], reason: str) -> None:
    """Do not use keys whose parts are blank, '.', '..', longer than 255 bytes, or both a file and a folder."""
    for key in keys:
        stack.s3.put_object(Bucket=stack.bucket, Key=key, Body=b"x")
    stack.create_model("files", **data_source(stack))
    stack.create_endpoint(stack.configure(model="files"))
    assert reason in stack.await_status("Failed")["FailureReason"]
    assert world.containers == []


@pytest.mark.parametrize(
    ("prefix", "changed", "message"),
    [
        ("model", {}, "S3DataSource.S3Uri must be an s3:// URL of a prefix that ends with a slash"),
        ("model/", {"CompressionType": "Gzip"}, "must be of S3DataType S3Prefix and CompressionType None"),
        ("model/", {"S3DataType": "S3Object"}, "must be of S3DataType S3Prefix and CompressionType None"),
    ],
)
def test_other_model_data_sources_are_refused(stack: Any, prefix: str, changed: dict[str, str], message: str) -> None:
    stack.create_model("files", **data_source(stack, prefix, **changed))
    with pytest.raises(ClientError, match=message):
        stack.create_endpoint(stack.configure(model="files"))


@documented(CONTAINER)
def test_container_that_never_answers_the_ping_fails_the_endpoint(stack: Any, world: Any) -> None:
    """If the container does not pass health checks, CreateEndpoint fails, leaving the endpoint in a failed state."""
    world.ping_status = 503
    stack.create_endpoint(stack.configure(ContainerStartupHealthCheckTimeoutInSeconds=60))
    (container,) = stack.eventually(lambda: world.containers)
    container.stop()  # as when its bundle cannot load: before its time-out
    assert stack.await_status("Failed")["FailureReason"] == (
        "The primary container for production variant AllTraffic did not pass the ping health check. "
        "Please check CloudWatch logs for this endpoint."
    )
    assert world.running == []


@documented(API + "API_ProductionVariant.html")
def test_health_check_timeout_fails_the_endpoint(stack: Any, world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """ContainerStartupHealthCheckTimeoutInSeconds is the timeout for the container to pass the health check."""
    monkeypatch.setattr("local_aws.sagemaker.endpoint_config._DEFAULT_STARTUP_SECONDS", 1)
    world.ping_status = 500
    stack.create_endpoint(stack.configure())
    assert "did not pass the ping health check" in stack.await_status("Failed")["FailureReason"]
    assert len(world.containers) == 1
    assert world.running == []


@documented(CREATE)
def test_absent_model_data_fails_the_endpoint(stack: Any, world: Any) -> None:
    """SageMaker downloads model artifacts from the S3 path you provided: without them the endpoint fails."""
    stack.s3.delete_object(Bucket=stack.bucket, Key="model.tar.gz")
    stack.create_endpoint(stack.configure())
    reason = stack.await_status("Failed")["FailureReason"]
    assert reason.startswith(f'Failed to download model data from URL: "s3://{stack.bucket}/model.tar.gz".')
    assert world.containers == []


def test_model_data_with_a_link_fails_the_endpoint(stack: Any, world: Any) -> None:
    stack.put_model_data({"config.json": b"{}"}, links={"code": "/etc"})
    stack.create_endpoint(stack.configure())
    assert "members must be files or folders, got 'code'" in stack.await_status("Failed")["FailureReason"]
    assert world.containers == []


def test_model_data_outside_its_folder_fails_the_endpoint(stack: Any, world: Any) -> None:
    stack.put_model_data({"../outside.txt": b"x"})
    stack.create_endpoint(stack.configure())
    assert "Failed to extract model data archive" in stack.await_status("Failed")["FailureReason"]
    assert not list(clients.runtime().state.rglob("outside.txt"))


def test_truncated_model_data_fails_the_endpoint(stack: Any) -> None:
    whole = stack.object(f"s3://{stack.bucket}/model.tar.gz")
    stack.s3.put_object(Bucket=stack.bucket, Key="model.tar.gz", Body=whole[: len(whole) // 2])
    stack.create_endpoint(stack.configure())
    assert "Failed to extract model data archive" in stack.await_status("Failed")["FailureReason"]


@documented(API + "API_ProductionVariant.html")
def test_download_beyond_its_timeout_fails_the_endpoint(stack: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """ModelDataDownloadTimeoutInSeconds is the timeout to download and extract the model."""
    monkeypatch.setattr("local_aws.sagemaker.endpoint_config._DEFAULT_DOWNLOAD_SECONDS", 0)
    stack.create_endpoint(stack.configure())
    assert stack.await_status("Failed")["FailureReason"] == (
        "The model data download took longer than ModelDataDownloadTimeoutInSeconds (0)."
    )


@documented(GUIDE + "sagemaker-roles.html")
def test_role_that_does_not_trust_sagemaker_fails_the_endpoint(stack: Any, world: Any) -> None:
    """SageMaker must be a trusted entity of the execution role to assume it."""
    trust = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
        ],
    }
    clients.client("iam").update_assume_role_policy(RoleName=f"{stack.name}-role", PolicyDocument=json.dumps(trust))
    stack.create_endpoint(stack.configure())
    reason = stack.await_status("Failed")["FailureReason"]
    assert reason.startswith(f"Could not assume role {stack.role}. Please ensure that the role exists")
    assert world.containers == []


@documented(DESCRIBE)
def test_failed_endpoint_can_be_deleted(stack: Any) -> None:
    """DeleteEndpoint is the only operation that can be performed on a failed endpoint."""
    stack.s3.delete_object(Bucket=stack.bucket, Key="model.tar.gz")
    stack.create_endpoint(stack.configure())
    stack.await_status("Failed")
    stack.sagemaker.delete_endpoint(EndpointName=stack.name)
    stack.await_gone()


@documented(
    DESCRIBE, unknown="AWS's reference only says so of SystemUpdating; in public reports it holds for all of them"
)
def test_an_endpoint_that_is_changing_cannot_be_deleted(stack: Any, world: Any) -> None:
    """An endpoint that is being changed cannot be deleted until that has completed."""
    world.ping_status = 503
    stack.create_endpoint(stack.configure())
    stack.eventually(lambda: world.containers)
    with pytest.raises(ClientError, match="Cannot update in-progress endpoint"):
        stack.sagemaker.delete_endpoint(EndpointName=stack.name)
    assert stack.describe()["EndpointStatus"] == "Creating"


def test_existing_name_is_refused(endpoint: Any) -> None:
    with pytest.raises(ClientError, match="Cannot create already existing endpoint"):
        endpoint.create_endpoint(endpoint.configure("again"))


@documented(DELETE)
def test_deletion_stops_the_containers_and_fails_waiting_requests(endpoint: Any, world: Any) -> None:
    """DeleteEndpoint frees up all of the resources that were deployed when the endpoint was created."""
    answers = [endpoint.invoke({"sleep": 30}, InferenceId=f"r{number}") for number in range(4)]
    endpoint.eventually(lambda: len(world.received) == 2)
    endpoint.sagemaker.delete_endpoint(EndpointName=endpoint.name)
    endpoint.await_gone()
    assert world.running == []
    messages = endpoint.messages(4)
    assert {message["inferenceId"] for message in messages} == {"r0", "r1", "r2", "r3"}
    assert {message["invocationStatus"] for message in messages} == {"Failed"}
    assert all(endpoint.object(answer["FailureLocation"]) for answer in answers)
    with pytest.raises(ClientError, match="Could not find endpoint"):
        endpoint.describe()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"AsyncInferenceConfig": None}, "AsyncInferenceConfig must be set"),
        ({"ProductionVariants": 2}, "must have exactly one production variant, got 2"),
    ],
)
def test_configuration_that_cannot_run_here_is_refused(stack: Any, change: dict[str, Any], message: str) -> None:
    described = stack.sagemaker.describe_endpoint_config(EndpointConfigName=stack.configure())
    variants = described["ProductionVariants"]
    if "ProductionVariants" in change:
        variants = [{**variants[0], "VariantName": name} for name in ("A", "B")]
    parameters = {"EndpointConfigName": f"{stack.name}-odd", "ProductionVariants": variants}
    if "AsyncInferenceConfig" not in change:
        parameters["AsyncInferenceConfig"] = described["AsyncInferenceConfig"]
    stack.sagemaker.create_endpoint_config(**parameters)
    with pytest.raises(ClientError, match=message):
        stack.create_endpoint(f"{stack.name}-odd")


@documented(GUIDE + "logging-cloudwatch.html")
def test_container_output_reaches_the_endpoints_log_group(endpoint: Any, eventually: Callable[..., Any]) -> None:
    """Log group /aws/sagemaker/Endpoints/[EndpointName], stream [production-variant-name]/[instance-id]."""
    logs = clients.client("logs")
    group = f"/aws/sagemaker/Endpoints/{endpoint.name}"
    endpoint.sagemaker.delete_endpoint(EndpointName=endpoint.name)  # sends the rest
    endpoint.await_gone()
    (stream,) = logs.describe_log_streams(logGroupName=group)["logStreams"]
    assert stream["logStreamName"].startswith("AllTraffic/i-")
    events = logs.get_log_events(logGroupName=group, logStreamName=stream["logStreamName"])["events"]
    assert [event["message"] for event in events] == ["the container starts"]
