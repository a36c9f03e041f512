"""moto's server in this process with the SageMaker patches, and fake containers that obey each request's body."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from moto import backends
from moto.server import ThreadedMotoServer

from local_aws import sagemaker
from local_aws.emulator import clients
from local_aws.emulator.clients import Runtime
from local_aws.emulator.operations import cloudwatch
from local_aws.sagemaker.endpoint_config import EndpointConfig, ModelData
from tests.local_aws.helpers.endpoint_stack import EndpointStack, wait_until
from tests.local_aws.helpers.fake_container import FakeWorld

_current: list[FakeWorld] = []


@pytest.fixture(scope="session")
def sagemaker_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of moto's server, over plain http, with the patches of SageMaker and CloudWatch installed once."""
    modules = tuple(backends.list_of_moto_modules())  # moto lists their folder for every request
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(backends, "list_of_moto_modules", lambda: modules)
        yield from _serve(tmp_path_factory.mktemp("state"))


def _serve(state: Path) -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    clients.set_runtime(Runtime(f"http://{host}:{port}", state, state / "unused.pem", state / "unused.pem"))
    cloudwatch.install()
    sagemaker.install(launch=lambda environment, log: _current[0].launch(environment, log))
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def world(sagemaker_server: str) -> Iterator[FakeWorld]:
    """The containers of this test."""
    _current[:] = [FakeWorld()]
    yield _current[0]
    for container in _current[0].containers:
        container.stop()


@pytest.fixture
def stack(world: FakeWorld, request: pytest.FixtureRequest) -> Iterator[EndpointStack]:
    """A stack with a unique name; its endpoint, if created, is deleted at the end."""
    stack = EndpointStack(f"e{abs(hash(request.node.nodeid)) % 10**10}")
    yield stack
    world.ping_status = 200
    for container in world.containers:  # an endpoint that is changing cannot be deleted
        container.ping_status = 200
    wait_until(lambda: _status(stack) in (None, "InService", "Failed"))
    if _status(stack):
        stack.sagemaker.delete_endpoint(EndpointName=stack.name)
        stack.await_gone()


def _status(stack: EndpointStack) -> str | None:
    found = stack.sagemaker.list_endpoints(NameContains=stack.name)["Endpoints"]
    return next((item["EndpointStatus"] for item in found if item["EndpointName"] == stack.name), None)


@pytest.fixture
def endpoint(stack: EndpointStack) -> EndpointStack:
    """A stack whose endpoint is in service on one instance with two concurrent requests."""
    stack.create_endpoint(stack.configure())
    stack.await_status("InService")
    return stack


@pytest.fixture(scope="session")
def eventually() -> Callable[..., Any]:
    """`wait_until`, for tests."""
    return wait_until


@pytest.fixture
def config() -> EndpointConfig:
    """An endpoint configuration, for tests that need no endpoint."""
    return EndpointConfig(
        endpoint_name="e",
        endpoint_config_name="c",
        variant_name="AllTraffic",
        account="123456789012",
        region="us-east-1",
        role_arn="arn:aws:iam::123456789012:role/r",
        model_data=ModelData("s3://b/m.tar.gz"),
        environment={},
        initial_instance_count=1,
        download_timeout=60,
        startup_timeout=60,
        concurrency=1,
        output_path="s3://b/out",
        failure_path=None,
        success_topic=None,
        error_topic=None,
    )
