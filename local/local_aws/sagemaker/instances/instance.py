"""One instance of a production variant: the model's files, a container that serves them, and its health."""

import logging
import secrets
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from local_aws.emulator.clients import Runtime
from local_aws.sagemaker.endpoint_config import EndpointConfig
from local_aws.sagemaker.instances.container import (
    Container,
    Launch,
    answers_ping,
    container_environment,
    temporary_folder,
)
from local_aws.sagemaker.instances.container_logs import ContainerLogs, PlatformLog
from local_aws.sagemaker.instances.execution_role import CredentialsServer, RoleSession
from local_aws.sagemaker.instances.model_data import ModelDataError, fetch_model
from local_aws.sagemaker.requests.dispatcher import Dispatcher, Note

_log = logging.getLogger(__name__)
_PING_PERIOD_SECONDS = 0.25
_JOIN_SECONDS = 15.0


@dataclass(frozen=True)
class Host:
    """What all instances on this machine share: the server's address and files, and how a container is started."""

    runtime: Runtime
    credentials: CredentialsServer
    launch: Launch


class _Stopped(Exception):
    """The instance was stopped while it was starting."""


class _PingFailed(Exception):
    """The container did not pass its health check in time."""


class Instance:
    """Starts in a thread, serves until it fails or `stop` is called, and is never restarted.

    `state` is "starting", "in service" or "failed" (with `failure`, SageMaker's reason); `served` is set once it was in
    service. `attach` starts the dispatcher to a container's base URL, which notes failed requests.
    """

    def __init__(
        self, config: EndpointConfig, role: RoleSession, host: Host, attach: Callable[[str, Note], Dispatcher]
    ) -> None:
        self.state = "starting"
        self.failure = ""
        self.served = False
        self._id = "i-" + secrets.token_hex(9)[:17]
        self._config = config
        self._role = role
        self._host = host
        self._attach = attach
        self._folder = host.runtime.state / "endpoints" / config.endpoint_name / self._id
        self._temporary: Path | None = None
        self._stream = f"{config.variant_name}/{self._id}"
        self._platform = PlatformLog(self._folder.with_suffix(".data-log"), role, config.endpoint_name, self._stream)
        self._credentials: dict[str, str] = {}
        self._container: Container | None = None
        self._logs: ContainerLogs | None = None
        self._dispatcher: Dispatcher | None = None
        self._last_healthy = 0.0
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name=self._id)
        self._thread.start()

    @property
    def busy(self) -> int:
        """Requests in progress on the instance."""
        return self._dispatcher.busy if self._dispatcher else 0

    def check(self, unhealthy_after: float) -> None:
        """Fail an instance in service whose container ended or has not answered its ping for too long.

        `unhealthy_after` is in seconds and must allow for a crashed worker to load the model again.
        """
        if self.state != "in service" or self._container is None:
            return
        alive = self._container.alive()
        if alive and answers_ping(self._container.base_url):
            self._last_healthy = time.monotonic()
        elif not alive or time.monotonic() - self._last_healthy > unhealthy_after:
            self._fail("the container ended or stopped answering its ping")

    def drain(self, timeout: float) -> None:
        """Wait up to `timeout` seconds for the requests in progress, taking no others, then stop."""
        if self._dispatcher:
            self._dispatcher.stop_taking()
            self._dispatcher.join(timeout)
        self.stop()

    def stop(self) -> None:
        """Stop the container and remove its files except the log; requests in progress return to the queue.

        May be called at any time, from any thread, repeatedly.
        """
        self._stopping.set()
        with self._lock:
            dispatcher = self._dispatcher
        if dispatcher:
            dispatcher.stop_taking()
        self._release()
        if dispatcher:
            dispatcher.join(_JOIN_SECONDS)
        self._platform.stop()
        if threading.current_thread() is not self._thread:
            self._thread.join(_JOIN_SECONDS)

    def _run(self) -> None:
        try:
            container = self._start()
        except _Stopped:
            self._release()
        except (ModelDataError, _PingFailed) as error:
            self._fail(str(error))
        except Exception as error:  # a thread that died silently would leave the endpoint in Creating for ever
            _log.exception("instance %s", self._id)
            self._fail(f"InternalServerError: {type(error).__name__}: {error}")
        else:
            with self._lock:
                if not self._stopping.is_set():
                    self._last_healthy = time.monotonic()
                    self._dispatcher = self._attach(container.base_url, self._platform.add)
                    self.served = True
                    self.state = "in service"

    def _start(self) -> Container:
        """Fetch the model, start the container and wait for its first good ping."""
        config, runtime = self._config, self._host.runtime
        model, log = self._folder / "model", self._folder.with_suffix(".log")
        model.mkdir(parents=True)
        fetch_model(
            config.model_data, model, self._role, timeout=config.download_timeout, check_stopped=self._check_stopped
        )
        self._credentials = self._host.credentials.register(self._role)
        self._temporary = temporary_folder(runtime.state)
        environment = container_environment(
            config, runtime, base=self._folder, temporary=self._temporary, log=log, credentials=self._credentials
        )
        log.touch()
        with self._lock:
            self._check_stopped()
            self._container = container = self._host.launch(environment, log)
        self._logs = ContainerLogs(log, self._role, config.endpoint_name, self._stream)
        deadline = time.monotonic() + config.startup_timeout
        while time.monotonic() < deadline and container.alive():
            self._check_stopped()
            if answers_ping(container.base_url):
                return container
            self._stopping.wait(_PING_PERIOD_SECONDS)
        self._check_stopped()
        raise _PingFailed(
            f"The primary container for production variant {config.variant_name} did not pass the ping "
            "health check. Please check CloudWatch logs for this endpoint."
        )

    def _check_stopped(self) -> None:
        if self._stopping.is_set():
            raise _Stopped

    def _release(self) -> None:
        with self._lock:
            if self._container:
                self._container.stop()
        if self._logs:
            self._logs.stop()
        if self._credentials:
            self._host.credentials.revoke(self._credentials)
        for folder in (self._folder, self._temporary):
            if folder:
                shutil.rmtree(folder, ignore_errors=True)

    def _fail(self, reason: str) -> None:
        _log.warning("instance %s: %s", self._id, reason)
        self.failure = reason
        self.state = "failed"
