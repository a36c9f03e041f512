"""moto's server in this process with the data plane in it, and containers that do what a request tells them."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (moto ships no types)

import contextlib
import io
import json
import tarfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from moto.server import ThreadedMotoServer

from local_aws import clients, data_plane
from local_aws.clients import Runtime

ROLE_TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}


class FakeContainer:
    """A container in a thread. A request's JSON body says what to do: `sleep` (seconds), `status`, `text`, `busy`
    (answer 503 to the first n deliveries), `drop` (break off the first n deliveries), `chunked`."""

    def __init__(self, world: "FakeWorld", environment: Mapping[str, str]) -> None:
        self.environment = dict(environment)
        self.world = world
        self.ping_status = 200
        self.in_flight = 0
        self.most_in_flight = 0
        self.lock = threading.Lock()
        self._alive = True
        self._server = ThreadingHTTPServer(
            ("127.0.0.1", int(environment["SAGEMAKER_BIND_TO_PORT"])),
            type("Handler", (_ContainerHandler,), {"container": self}),
        )
        self._server.daemon_threads = True
        self.connections: list[Any] = []
        self.base_url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def alive(self) -> bool:
        return self._alive

    def stop(self) -> None:
        """Breaks off whatever is in progress, as a killed process does."""
        if not self._alive:
            return
        self._alive = False
        self._server.shutdown()
        self._server.server_close()
        for connection in list(self.connections):
            with contextlib.suppress(OSError):
                connection.shutdown(2)


class _ContainerHandler(BaseHTTPRequestHandler):
    container: FakeContainer

    def setup(self) -> None:
        super().setup()
        self.container.connections.append(self.connection)

    def do_GET(self) -> None:
        self._reply(self.container.ping_status, b"")

    def do_POST(self) -> None:
        container, world = self.container, self.container.world
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with container.lock:
            container.in_flight += 1
            container.most_in_flight = max(container.most_in_flight, container.in_flight)
        with contextlib.suppress(OSError):
            self._obey(body, world.note(container, dict(self.headers), body))
        with container.lock:
            container.in_flight -= 1

    def _obey(self, body: bytes, delivery: int) -> None:
        wanted: dict[str, Any] = json.loads(body)
        time.sleep(wanted.get("sleep", 0))
        if delivery <= wanted.get("drop", 0):
            self.connection.shutdown(2)
        elif delivery <= wanted.get("busy", 0):
            self._reply(503, b"full", retry_after="0")
        elif wanted.get("chunked"):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"no length")
        else:
            text = wanted.get("text", "done")
            self._reply(wanted.get("status", 200), json.dumps({"text": text}).encode())

    def _reply(self, status: int, body: bytes, retry_after: str | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if retry_after:
            self.send_header("Retry-After", retry_after)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


class FakeWorld:
    """All fake containers of one test and what they received; `ping_status` is what new containers answer."""

    def __init__(self) -> None:
        self.containers: list[FakeContainer] = []
        self.received: list[tuple[dict[str, str], bytes]] = []
        self.ping_status = 200
        self._lock = threading.Lock()

    def launch(self, environment: Mapping[str, str], log: Path) -> FakeContainer:
        log.write_text("the container starts\n")
        container = FakeContainer(self, environment)
        container.ping_status = self.ping_status
        self.containers.append(container)
        return container

    def note(self, container: FakeContainer, headers: dict[str, str], body: bytes) -> int:
        """Keeps a request; how often one with this inference id was received by now."""
        identifier = headers["X-Amzn-SageMaker-Inference-Id"]
        with self._lock:
            self.received.append((headers, body))
            return sum(other["X-Amzn-SageMaker-Inference-Id"] == identifier for other, _ in self.received)

    @property
    def running(self) -> list[FakeContainer]:
        return [container for container in self.containers if container.alive()]


_current: list[FakeWorld] = []


@pytest.fixture(scope="session")
def moto_with_data_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of moto's server, over plain http, with the data plane installed once."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    state = tmp_path_factory.mktemp("state")
    clients.set_runtime(Runtime(f"http://{host}:{port}", state, state / "unused.pem", state / "unused.pem"))
    data_plane.install(launch=lambda environment, log: _current[0].launch(environment, log))
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def world(moto_with_data_plane: str) -> Iterator[FakeWorld]:
    """The containers of this test."""
    _current[:] = [FakeWorld()]
    yield _current[0]
    for container in _current[0].containers:
        container.stop()


def wait_until(condition: Callable[[], Any], seconds: float = 20.0) -> Any:
    """The condition's first true value; fails the test when none comes in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.02)
    pytest.fail(f"nothing became true within {seconds} s")


class Stack:
    """Buckets, topics, queues, role, model and configuration of one asynchronous endpoint, through the API."""

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

    def create_model(self, suffix: str, environment: Mapping[str, str] | None = None) -> str:
        name = f"{self.name}-{suffix}"
        container = {
            "Image": "image",
            "ModelDataUrl": f"s3://{self.bucket}/model.tar.gz",
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
            seen = self.describe()
            return seen if seen["EndpointStatus"] == status else None

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

    def messages(self, count: int) -> list[dict[str, Any]]:
        """The first `count` SNS messages, each with the name of its topic under "topic"."""
        found: list[dict[str, Any]] = []

        def enough() -> bool:
            answer = self.sqs.receive_message(QueueUrl=self.queue, MaxNumberOfMessages=10)
            for message in answer.get("Messages", []):
                envelope = json.loads(message["Body"])
                found.append(json.loads(envelope["Message"]) | {"topic": envelope["TopicArn"].rpartition("-")[2]})
                self.sqs.delete_message(QueueUrl=self.queue, ReceiptHandle=message["ReceiptHandle"])
            return len(found) >= count

        wait_until(enough)
        return found

    def _notifications(self) -> tuple[str, dict[str, str]]:
        sns = clients.client("sns")
        queue = self.sqs.create_queue(QueueName=f"{self.name}-queue")["QueueUrl"]
        arn = self.sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        topics: dict[str, str] = {}
        for field, suffix in (("SuccessTopic", "success"), ("ErrorTopic", "error")):
            topics[field] = sns.create_topic(Name=f"{self.name}-{suffix}")["TopicArn"]
            sns.subscribe(TopicArn=topics[field], Protocol="sqs", Endpoint=arn)
        return queue, topics


@pytest.fixture
def stack(world: FakeWorld, request: pytest.FixtureRequest) -> Iterator[Stack]:
    """A stack of this test's own; its endpoint, if it has one, is deleted at the end."""
    stack = Stack(f"e{abs(hash(request.node.nodeid)) % 10**10}")
    yield stack
    if stack.name in str(stack.sagemaker.list_endpoints()["Endpoints"]):
        stack.sagemaker.delete_endpoint(EndpointName=stack.name)
        stack.await_gone()


@pytest.fixture
def endpoint(stack: Stack) -> Stack:
    """A stack whose endpoint is in service on one instance that works on two requests at once."""
    stack.create_endpoint(stack.configure())
    stack.await_status("InService")
    return stack


@pytest.fixture(scope="session")
def eventually() -> Callable[..., Any]:
    """`wait_until`, for tests."""
    return wait_until
