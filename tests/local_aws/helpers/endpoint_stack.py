"""An asynchronous endpoint and everything it needs, created through the API of moto's server in this process."""

import io
import json
import tarfile
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from local_aws.emulator import clients
from local_aws.walkthrough.client import let_sns_send

ROLE_TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}


def wait_until(condition: Callable[[], Any], seconds: float = 20.0) -> Any:
    """Return the condition's first true value; fail the test if there is none in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.05)  # conditions ask the API, which takes milliseconds of CPU
    pytest.fail(f"the condition was not met within {seconds} s")


class EndpointStack:
    """Buckets, topics, queue, role, model and configuration of one asynchronous endpoint."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.s3, self.sqs = clients.client("s3"), clients.client("sqs")
        self.sagemaker, self.runtime = clients.client("sagemaker"), clients.client("sagemaker-runtime")
        self.bucket = f"{name}-bucket"
        self.s3.create_bucket(Bucket=self.bucket)
        self.role = clients.client("iam").create_role(
            RoleName=f"{name}-role", AssumeRolePolicyDocument=json.dumps(ROLE_TRUST)
        )["Role"]["Arn"]
        self.queue, self.topics = self._notifications()
        self.put_model_data({"config.json": b"{}"})
        self.create_model("model")

    def put_model_data(self, files: dict[str, bytes], links: Mapping[str, str] | None = None) -> None:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            for path, content in files.items():
                member = tarfile.TarInfo(path)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
            for path, target in (links or {}).items():
                member = tarfile.TarInfo(path)
                member.type, member.linkname = tarfile.SYMTYPE, target
                archive.addfile(member)
        self.s3.put_object(Bucket=self.bucket, Key="model.tar.gz", Body=buffer.getvalue())

    def create_model(self, suffix: str, environment: Mapping[str, str] | None = None, **data: Any) -> str:
        """Create a model whose data is the tarball, or what `data` (fields of the container) says; return its name."""
        name = f"{self.name}-{suffix}"
        container = {
            "Image": "image",
            **(data or {"ModelDataUrl": f"s3://{self.bucket}/model.tar.gz"}),
            "Environment": dict(environment or {}),
        }
        self.sagemaker.create_model(ModelName=name, ExecutionRoleArn=self.role, PrimaryContainer=container)
        return name

    def configure(
        self,
        suffix: str = "config",
        *,
        model: str = "model",
        concurrency: int = 2,
        output_path: str | None = None,
        **variant: Any,
    ) -> str:
        name = f"{self.name}-{suffix}"
        self.sagemaker.create_endpoint_config(
            EndpointConfigName=name,
            ProductionVariants=[
                {
                    "VariantName": "AllTraffic",
                    "ModelName": f"{self.name}-{model}",
                    "InstanceType": "ml.g4dn.xlarge",
                    "InitialInstanceCount": 1,
                    **variant,
                }
            ],
            AsyncInferenceConfig={
                "ClientConfig": {"MaxConcurrentInvocationsPerInstance": concurrency},
                "OutputConfig": {
                    "S3OutputPath": output_path or f"s3://{self.bucket}/out/",
                    "S3FailurePath": f"s3://{self.bucket}/failures/",
                    "NotificationConfig": self.topics,
                },
            },
        )
        return name

    def create_endpoint(self, config: str) -> None:
        self.sagemaker.create_endpoint(EndpointName=self.name, EndpointConfigName=config)

    def eventually(self, condition: Callable[[], Any]) -> Any:
        return wait_until(condition)

    def describe(self) -> dict[str, Any]:
        return self.sagemaker.describe_endpoint(EndpointName=self.name)

    def await_status(self, status: str) -> dict[str, Any]:
        def reached() -> dict[str, Any] | None:
            described = self.describe()
            return described if described["EndpointStatus"] == status else None

        return wait_until(reached)

    def await_gone(self) -> None:
        wait_until(lambda: self.name not in str(self.sagemaker.list_endpoints()["Endpoints"]))

    def invoke(self, body: Mapping[str, Any], **parameters: Any) -> dict[str, Any]:
        parameters = {"ContentType": "application/json", "Body": json.dumps(body), **parameters}
        return self.runtime.invoke_endpoint_async(EndpointName=self.name, **parameters)

    def object(self, location: str) -> bytes | None:
        bucket, _, key = location.removeprefix("s3://").partition("/")
        try:
            return self.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        except self.s3.exceptions.NoSuchKey:
            return None

    def await_object(self, location: str) -> bytes:
        return wait_until(lambda: self.object(location))

    def messages(self, count: int, *, test: bool = False) -> list[dict[str, Any]]:
        """Return the next `count` SNS messages or more, each with the name of its topic under "topic".

        These are SageMaker's test notifications with `test`, else all others; the rest are dropped.
        """
        found: list[dict[str, Any]] = []

        def enough() -> bool:
            answer = self.sqs.receive_message(QueueUrl=self.queue, MaxNumberOfMessages=10)
            for message in answer.get("Messages", []):
                envelope = json.loads(message["Body"])
                received: dict[str, Any] = json.loads(envelope["Message"])
                if (received.get("eventName") == "TestNotification") == test:
                    found.append(received | {"topic": envelope["TopicArn"].rpartition("-")[2]})
                self.sqs.delete_message(QueueUrl=self.queue, ReceiptHandle=message["ReceiptHandle"])
            return len(found) >= count

        wait_until(enough)
        return found

    def _notifications(self) -> tuple[str, dict[str, str]]:
        sns = clients.client("sns")
        queue = self.sqs.create_queue(QueueName=f"{self.name}-queue")["QueueUrl"]
        arn = let_sns_send(self.sqs, queue)
        topics: dict[str, str] = {}
        for field, suffix in (("SuccessTopic", "success"), ("ErrorTopic", "error")):
            topics[field] = sns.create_topic(Name=f"{self.name}-{suffix}")["TopicArn"]
            sns.subscribe(TopicArn=topics[field], Protocol="sqs", Endpoint=arn)
        return queue, topics
