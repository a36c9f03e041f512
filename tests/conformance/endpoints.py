"""An asynchronous endpoint whose container does what each request says, created through the API of any target."""

import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from conformance.workspace import Workspace, allow
from infra.config.images import image_uri

_SERVICE = Path(__file__).with_name("obedient_bundle") / "obedient_service.py"
INSTANCE_TYPE = "ml.m5.large"  # the suite needs no GPU; about $0.12 an hour
# multi-model-server's own limits are 6.25 MiB and 120 s (developer guide, "Create an Asynchronous Inference Endpoint").
GENEROUS = {
    "MMS_MAX_REQUEST_SIZE": "2000000000",
    "MMS_MAX_RESPONSE_SIZE": "2000000000",
    "OBEDIENT_MARK": "from the model",
    "OBEDIENT_EMPTY": "",
}


class AsyncEndpoint:
    """Names of everything that one endpoint needs; `create` starts it on one instance.

    `topics` and `queues` are by kind, "success" and "error".
    """

    def __init__(self, workspace: Workspace, *, environment: Mapping[str, str] | None = None) -> None:
        self.workspace = workspace
        self.name = workspace.name("endpoint")
        self.sagemaker, self.runtime = workspace.client("sagemaker"), workspace.client("sagemaker-runtime")
        self.s3, self.bucket = workspace.client("s3"), workspace.bucket()
        self.topics: dict[str, str] = {}
        self.queues: dict[str, str] = {}
        for kind in ("success", "error"):
            self.topics[kind], self.queues[kind] = workspace.topic_with_queue()
        self.role = workspace.role("sagemaker", self.statements())
        self.s3.put_object(Bucket=self.bucket, Key="model/model.tar.gz", Body=obedient_tarball())
        self.model = self.create_model(environment or {})

    def statements(self) -> list[dict[str, Any]]:
        """Return what the execution role may do."""
        return [
            allow("s3:GetObject", resource=f"arn:aws:s3:::{self.bucket}/*"),
            allow("s3:PutObject", resource=[f"arn:aws:s3:::{self.bucket}/{kind}/*" for kind in ("out", "failures")]),
            allow("s3:ListBucket", resource=f"arn:aws:s3:::{self.bucket}"),
            allow("sns:Publish", resource=list(self.topics.values())),
            allow("logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents", resource="*"),
            allow("ecr:*", "cloudwatch:PutMetricData", resource="*"),
        ]

    def create_model(self, environment: Mapping[str, str]) -> str:
        """Create a model of the obedient bundle; return its name."""
        name = self.workspace.name("model")
        container = {
            "Image": image_uri(self.workspace.target.region, "cpu"),
            "ModelDataUrl": f"s3://{self.bucket}/model/model.tar.gz",
            "Environment": {
                "MMS_DEFAULT_SERVICE_HANDLER": "obedient_service:handle",
                "SAGEMAKER_MODEL_SERVER_WORKERS": "1",
                **environment,
            },
        }
        self.sagemaker.create_model(
            ModelName=name, ExecutionRoleArn=self.role, PrimaryContainer=container, Tags=self.workspace.tags
        )
        self.workspace.later(f"model {name}", lambda: self.sagemaker.delete_model(ModelName=name))
        return name

    def configure(self, *, variant: Mapping[str, Any] | None = None, **asynchronous: Any) -> str:
        """Create an endpoint configuration; return its name. `asynchronous` replaces fields of AsyncInferenceConfig."""
        name = self.workspace.name("config")
        output = {
            "S3OutputPath": f"s3://{self.bucket}/out/",
            "S3FailurePath": f"s3://{self.bucket}/failures/",
            "NotificationConfig": {"SuccessTopic": self.topics["success"], "ErrorTopic": self.topics["error"]},
        }
        production = {"VariantName": "AllTraffic", "ModelName": self.model, "InstanceType": INSTANCE_TYPE}
        self.sagemaker.create_endpoint_config(
            EndpointConfigName=name,
            ProductionVariants=[{**production, "InitialInstanceCount": 1, **(variant or {})}],
            AsyncInferenceConfig={
                "ClientConfig": {"MaxConcurrentInvocationsPerInstance": 2},
                "OutputConfig": output,
                **asynchronous,
            },
            Tags=self.workspace.tags,
        )
        remove = self.sagemaker.delete_endpoint_config
        self.workspace.later(f"endpoint configuration {name}", lambda: remove(EndpointConfigName=name))
        return name

    def create(self, config: str | None = None) -> None:
        """Create the endpoint and wait until it is in service."""
        config = config or self.configure()
        self.sagemaker.create_endpoint(EndpointName=self.name, EndpointConfigName=config, Tags=self.workspace.tags)
        self.workspace.later(f"endpoint {self.name}", self.delete)
        self.await_status("InService", seconds=90)

    def delete(self) -> None:
        """Delete the endpoint, once it does not change any more, and wait until it is gone."""
        settled = ("InService", "Failed")
        self.workspace.wait(lambda: self.describe()["EndpointStatus"] in settled, "the endpoint has settled", 60)
        self.sagemaker.delete_endpoint(EndpointName=self.name)
        listed = self.sagemaker.list_endpoints
        self.workspace.wait(lambda: not listed(NameContains=self.name)["Endpoints"], "the endpoint is gone", 60)

    def describe(self) -> dict[str, Any]:
        """Return the answer of DescribeEndpoint."""
        return self.sagemaker.describe_endpoint(EndpointName=self.name)

    def await_status(self, status: str, seconds: float = 60.0) -> dict[str, Any]:
        """Wait for a status; return the answer of DescribeEndpoint."""

        def reached() -> dict[str, Any] | None:
            described = self.describe()
            assert status == "Failed" or described["EndpointStatus"] != "Failed", described.get("FailureReason")
            return described if described["EndpointStatus"] == status else None

        return self.workspace.wait(reached, f"{self.name} is {status}", seconds)

    def invoke(self, wanted: Mapping[str, Any], **parameters: Any) -> dict[str, Any]:
        """Send a request with a body inside the call; return the answer of InvokeEndpointAsync."""
        parameters = {"ContentType": "application/json", "Body": json.dumps(wanted), **parameters}
        return self.runtime.invoke_endpoint_async(EndpointName=self.name, **parameters)

    def invoke_location(self, key: str, body: bytes, **parameters: Any) -> dict[str, Any]:
        """Upload a request's body to `key` and send its location."""
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=body)
        location = f"s3://{self.bucket}/{key}"
        return self.runtime.invoke_endpoint_async(EndpointName=self.name, InputLocation=location, **parameters)

    def object(self, location: str) -> bytes | None:
        """Return an object's content, None if there is none."""
        bucket, _, key = location.removeprefix("s3://").partition("/")
        try:
            return self.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        except self.s3.exceptions.NoSuchKey:
            return None

    def await_object(self, location: str) -> bytes:
        """Wait for an object, and return its content."""
        return self.workspace.wait(lambda: self.object(location), f"{location} exists", 30)

    def await_message(self, kind: str, inference_id: str) -> dict[str, Any]:
        """Wait for the message about one request on the success or the error topic; drop all others."""

        def arrived() -> dict[str, Any] | None:
            for envelope in self.workspace.messages(self.queues[kind]):
                message: dict[str, Any] = json.loads(envelope["Message"])
                if message.get("inferenceId") == inference_id:
                    return message
            return None

        return self.workspace.wait(arrived, f"a message on the {kind} topic about {inference_id}")


def obedient_tarball() -> bytes:
    """Return the model's tarball: the service class alone."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        archive.add(_SERVICE, arcname=f"code/{_SERVICE.name}")
    return buffer.getvalue()
