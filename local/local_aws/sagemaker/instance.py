"""One instance of a production variant: the model's files, a container that serves them, and its health."""

import http.client
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from local_aws.emulator.clients import Runtime
from local_aws.sagemaker.container_logs import ContainerLogs
from local_aws.sagemaker.credentials_server import CredentialsServer
from local_aws.sagemaker.definition import VariantDefinition
from local_aws.sagemaker.environment import InstancePaths, container_environment, free_port, temporary_folder
from local_aws.sagemaker.errors import ProvisioningError, Stopped
from local_aws.sagemaker.model_data import fetch_model
from local_aws.sagemaker.role import RoleSession
from local_aws.sagemaker.serving_stack import Container

Launch = Callable[[Mapping[str, str], Path], Container]

_PING_PERIOD_SECONDS = 0.25
_PING_BODY_BYTES = 65_536
_PING_TIMEOUT_SECONDS = 2.0  # SageMaker's own


def answers_ping(base_url: str) -> bool:
    """Whether `GET /ping` answers 200 within SageMaker's two seconds."""
    address = urlsplit(base_url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=_PING_TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/ping")
        response = connection.getresponse()
        response.read(_PING_BODY_BYTES)  # a connection closed with unread data is a reset, which servers log
        return response.status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


class Instance:
    """Starts at `start()`, serves at `base_url` until `stop()`. One object is one instance; it is never restarted."""

    def __init__(
        self,
        definition: VariantDefinition,
        role: RoleSession,
        runtime: Runtime,
        credentials: CredentialsServer,
        launch: Launch,
    ) -> None:
        self.instance_id = "i-" + secrets.token_hex(9)[:17]
        self.base_url = ""
        self._definition = definition
        self._role = role
        self._runtime = runtime
        self._credentials = credentials
        self._launch = launch
        self._folder = runtime.state / "endpoints" / definition.endpoint_name / self.instance_id
        self.log_path = self._folder.with_suffix(".log")
        self._container: Container | None = None
        self._logs: ContainerLogs | None = None
        self._variables: dict[str, str] = {}
        self._temporary: Path | None = None
        self._stopping = threading.Event()
        self._container_lock = threading.Lock()

    def start(self) -> None:
        """Fetches the model, starts the container and waits for its first good ping.

        Raises ProvisioningError with SageMaker's reason, or Stopped when `stop()` came first. The caller stops it then.
        """
        model = self._folder / "model"
        model.mkdir(parents=True)
        fetch_model(
            self._definition.model_data,
            model,
            self._role,
            timeout=self._definition.download_timeout,
            check_stopped=self._check_stopped,
        )
        self._start_container()
        self._await_ping()

    def alive(self) -> bool:
        """Whether the container's processes still run."""
        return self._container is not None and self._container.alive()

    def healthy(self) -> bool:
        """Whether the container runs and answers its ping."""
        return self.alive() and answers_ping(self.base_url)

    def stop(self) -> None:
        """Ends the container and removes its files, but for its log. Safe at any time, from any thread, repeatedly."""
        self._stopping.set()
        with self._container_lock:
            if self._container:
                self._container.stop()
        if self._logs:
            self._logs.stop()
        if self._variables:
            self._credentials.revoke(self._variables)
        for folder in (self._folder, self._temporary):
            if folder:
                shutil.rmtree(folder, ignore_errors=True)

    def _start_container(self) -> None:
        self._variables = self._credentials.register(self._role)
        self._temporary = temporary_folder(self._runtime.state)
        environment = container_environment(
            self._definition,
            InstancePaths(base=self._folder, temporary=self._temporary),
            self._runtime,
            free_port(),
            self._variables,
        )
        environment["MUSICGEN_LOG_FILE"] = str(self.log_path)  # as /proc/1/fd/1 is in a container: beside its output
        self.log_path.touch()
        with self._container_lock:
            self._check_stopped()
            self._container = self._launch(environment, self.log_path)
        self.base_url = self._container.base_url
        self._logs = ContainerLogs(
            self.log_path,
            self._role,
            self._definition.endpoint_name,
            f"{self._definition.variant_name}/{self.instance_id}",
        )

    def _await_ping(self) -> None:
        deadline = time.monotonic() + self._definition.startup_timeout
        while time.monotonic() < deadline and self.alive():
            self._check_stopped()
            if answers_ping(self.base_url):
                return
            self._stopping.wait(_PING_PERIOD_SECONDS)
        self._check_stopped()
        raise ProvisioningError(
            f"The primary container for production variant {self._definition.variant_name} did not pass the ping "
            "health check. Please check CloudWatch logs for this endpoint."
        )

    def _check_stopped(self) -> None:
        if self._stopping.is_set():
            raise Stopped
