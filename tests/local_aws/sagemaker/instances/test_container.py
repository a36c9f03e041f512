"""The serving stack as a child process: it serves, and none of its processes outlives its parent."""

import contextlib
import json
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from conformance.behaviour import documented
from local_aws.emulator import clients
from local_aws.emulator.clients import Runtime
from local_aws.sagemaker.endpoint_config import EndpointConfig
from local_aws.sagemaker.instances import container, container_entrypoint
from local_aws.sagemaker.instances.container import (
    ServingStack,
    container_environment,
    session_processes,
    temporary_folder,
)
from tests.local_aws.helpers.endpoint_stack import wait_until

CONTAINER = "https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html"
LOCAL = Path(__file__).parents[4] / "local"
SERVICE = """
import os
class Echo:
    def initialize(self, context):
        print("serving", os.environ["MINE"], flush=True)
    def handle(self, data, context):
        return ["echo"] * len(data)
"""
PARENT = """
import json, sys, time
from pathlib import Path
from local_aws.emulator import clients
from local_aws.sagemaker.instances.container import ServingStack

CONTAINER = "https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html"
given = json.loads(sys.argv[1])
state = Path(given["state"])
clients.set_runtime(clients.Runtime("http://127.0.0.1:1", state, state / "a.pem", state / "a.pem"))
print(ServingStack(given["environment"], state / "log").pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def environment(tmp_path: Path, config: EndpointConfig) -> dict[str, str]:
    """A container that serves an echo through multi-model-server itself, on the container's port."""
    code = tmp_path / "instance" / "model" / "code"
    code.mkdir(parents=True)
    (code / "echo_service.py").write_text(SERVICE)
    variables = {
        "MMS_DEFAULT_SERVICE_HANDLER": "echo_service:handle",
        "SAGEMAKER_MODEL_SERVER_WORKERS": "1",
        "MINE": "with the model's variables",
    }
    runtime = Runtime("http://127.0.0.1:1", tmp_path, tmp_path / "a.pem", tmp_path / "a.pem")
    return container_environment(
        replace(config, environment=variables),
        runtime,
        base=tmp_path / "instance",
        temporary=temporary_folder(tmp_path),
        log=tmp_path / "log",
        credentials={},
    )


@pytest.fixture
def parent(environment: dict[str, str], tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process that started a serving stack, and the stack's session."""
    given = json.dumps({"environment": environment, "state": str(tmp_path)})
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT, given], stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": str(LOCAL)}
    )
    assert process.stdout
    yield process, int(process.stdout.readline())
    process.kill()
    process.wait()
    process.stdout.close()


def serves(environment: dict[str, str]) -> bool:
    try:
        url = f"http://127.0.0.1:{environment['SAGEMAKER_BIND_TO_PORT']}/invocations"
        with urllib.request.urlopen(urllib.request.Request(url, data=b"{}", method="POST"), timeout=10) as response:
            return response.read() == b"echo"
    except OSError:
        return False


def listening_addresses(session: int) -> set[str]:
    """The addresses, without port, on which processes of the session listen."""
    found: set[str] = set()
    for pid in session_processes(session):
        with contextlib.suppress(psutil.NoSuchProcess):  # multi-model-server's metric collector comes and goes
            listening = [c for c in psutil.Process(pid).net_connections("inet") if c.status == psutil.CONN_LISTEN]
            found |= {connection.laddr.ip.removeprefix("::ffff:") for connection in listening}
    return found


@pytest.mark.parametrize("there", ["", "own", "code", "models", "packages"])
def test_a_container_may_write_to_tmp_unless_it_uses_files_there(there: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = {"own": "/var/own", "code": "/usr/lib", "models": "/opt/ml", "packages": "/usr/lib/packages"}
    folders |= {there: "/tmp/used"} if there else {}
    monkeypatch.setattr(tempfile, "tempdir", folders["own"])
    monkeypatch.setattr(container_entrypoint, "__file__", f"{folders['code']}/container_entrypoint.py")
    monkeypatch.setenv("SAGEMAKER_BASE_DIR", folders["models"])
    monkeypatch.setattr(sys, "path", [folders["packages"]])
    assert (Path("/tmp") in container_entrypoint.writable_paths()) == (there == "")


def test_variables_of_all_instances_give_way_to_the_models_and_empty_ones_are_left_out(
    tmp_path: Path, config: EndpointConfig
) -> None:
    given = {"HF_ENDPOINT": "http://127.0.0.1:2", "MINE": "of all"}
    runtime = Runtime("https://127.0.0.1:1", tmp_path, tmp_path / "a.pem", tmp_path / "a.pem", given)
    model = {"MINE": "the model's", "SAGEMAKER_PROGRAM": ""}
    found = container_environment(
        replace(config, environment=model),
        runtime,
        base=tmp_path / "i-1",
        temporary=tmp_path / "tmp",
        log=tmp_path / "log",
        credentials={},
    )
    assert (found["HF_ENDPOINT"], found["MINE"]) == ("http://127.0.0.1:2", "the model's")
    assert "SAGEMAKER_PROGRAM" not in found


@documented(CONTAINER)
def test_environment_is_the_models_with_what_a_process_needs_in_place_of_a_container(
    tmp_path: Path, config: EndpointConfig
) -> None:
    """SageMaker sets environment variables using the ContainerDefinition.Environment string-to-string map.

    A missing region, for example, must fail here as it does on AWS: SageMaker sets no AWS_DEFAULT_REGION.
    """
    runtime = Runtime("https://127.0.0.1:1", tmp_path, tmp_path / "authority.pem", tmp_path / "trust.pem")
    model = {
        "MINE": "yes",
        "MUSICGEN_DEVICE": "cuda",
        "MMS_INFERENCE_ADDRESS": "http://127.0.0.1:8081",
        "MMS_MANAGEMENT_ADDRESS": "http://127.0.0.1:8082",
    }

    def environment(model: dict[str, str]) -> dict[str, str]:
        return container_environment(
            replace(config, environment=model),
            runtime,
            base=tmp_path / "i-1",
            temporary=tmp_path / "tmp",
            log=tmp_path / "i-1.log",
            credentials={"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:2/x"},
        )

    found = environment(model)
    ports = [
        found.pop("SAGEMAKER_BIND_TO_PORT"),
        *(found.pop(f"MMS_{name}_ADDRESS").removeprefix("http://127.0.0.1:") for name in ("INFERENCE", "MANAGEMENT")),
    ]
    assert all(port.isdigit() for port in ports)
    assert len({*ports}) == 3
    image = {name: found.pop(name) for name in ("PATH", "JAVA_HOME", "LANG", "PYTHONUNBUFFERED")}
    assert all(image.values())
    assert found == {
        "MINE": "yes",
        "MUSICGEN_DEVICE": "cpu",
        "MUSICGEN_BIND_HOST": "127.0.0.1",
        "MUSICGEN_LOG_FILE": str(tmp_path / "i-1.log"),
        "SAGEMAKER_BASE_DIR": str(tmp_path / "i-1"),
        **dict.fromkeys(("HOME", "TMPDIR", "TEMP", "LOG_LOCATION", "METRICS_LOCATION"), str(tmp_path / "tmp")),
        "OMP_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "2",
        "JDK_JAVA_OPTIONS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
        "AWS_ENDPOINT_URL": "https://127.0.0.1:1",
        "AWS_CA_BUNDLE": str(tmp_path / "authority.pem"),
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:2/x",
    }
    assert "MUSICGEN_DEVICE" not in environment({})


def test_stack_serves_and_leaves_no_process_when_stopped(
    environment: dict[str, str], tmp_path: Path, eventually: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = Runtime("http://127.0.0.1:1", tmp_path, tmp_path / "a.pem", tmp_path / "a.pem")
    monkeypatch.setattr(clients, "_runtime", [runtime])
    stack = ServingStack(environment, tmp_path / "log")
    try:
        eventually(lambda: serves(environment), 60)
        assert "serving with the model's variables" in (tmp_path / "log").read_text()
        assert len(session_processes(stack.pid)) >= 4  # launcher, Java, worker's parent, worker
        assert listening_addresses(stack.pid) == {"127.0.0.1"}
        assert stack.alive()
    finally:
        stack.stop()
    assert session_processes(stack.pid) == []
    assert not stack.alive()


def test_stack_leaves_no_process_when_its_parent_is_killed(
    parent: tuple[subprocess.Popen[str], int], environment: dict[str, str], eventually: Callable[..., Any]
) -> None:
    process, session = parent
    eventually(lambda: serves(environment), 60)
    assert len(session_processes(session)) >= 4
    process.kill()
    process.wait()
    eventually(lambda: session_processes(session) == [])


@documented(CONTAINER)
def test_a_container_has_30_seconds_to_end(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If you reduce the number of instances backing the endpoint, the command to stop the Docker container sends the
    SIGTERM signal, then it sends the SIGKILL signal thirty seconds later."""
    script = tmp_path / "entrypoint.py"
    script.write_text(
        "import signal, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: print('asked to end', flush=True))\n"
        "print('started', flush=True)\n"
        "ends = time.monotonic() + 7\n"
        "while time.monotonic() < ends: time.sleep(0.1)\n"
        "print('ended by itself', flush=True)\n"
    )
    monkeypatch.setattr(container, "_ENTRYPOINT", script)
    runtime = Runtime("http://127.0.0.1:1", tmp_path, tmp_path / "a.pem", tmp_path / "a.pem")
    monkeypatch.setattr(clients, "_runtime", [runtime])
    log = tmp_path / "log"
    stack = ServingStack(environment, log)
    wait_until(lambda: log.exists() and "started" in log.read_text())
    stack.stop()
    assert log.read_text().split("\n")[:3] == ["started", "asked to end", "ended by itself"]
