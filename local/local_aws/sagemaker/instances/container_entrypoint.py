"""The container's entry point: runs the unmodified Hugging Face serving toolkit with its paths moved.

A script for the container's own Python (see container_python.py), in its own session; never import it. Like docker, it
changes only where the toolkit, multi-model-server and the bundle put their files. The toolkit installs a bundle's
requirements.txt at every start, on AWS too: here Landlock, if the kernel has it, refuses all writes outside of the
container's folders. It kills the whole session when the embedded AWS that started it exits, which closes the pipe to
standard input.
"""
# pyright: reportAttributeAccessIssue=false, reportPrivateUsage=false
# (the serving toolkits ship no types, and their module attributes are replaced here)

import ctypes
import importlib
import os
import signal
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
_PR_SET_NO_NEW_PRIVS = 38
# The same numbers on every architecture (include/uapi/asm-generic/unistd.h).
_LANDLOCK_CREATE_RULESET, _LANDLOCK_ADD_RULE, _LANDLOCK_RESTRICT_SELF = 444, 445, 446
_LANDLOCK_CREATE_RULESET_VERSION, _LANDLOCK_RULE_PATH_BENEATH = 1, 1
# linux/landlock.h, LANDLOCK_ACCESS_FS_*: all rights that change a file system, and those of them that a file can have.
_WRITE_FILE, _TRUNCATE = 1 << 1, 1 << 14
_WRITES = _WRITE_FILE | sum(1 << bit for bit in range(4, 13))  # and remove or make anything
_REFER = 1 << 13  # rename or link between folders, since version 2; _TRUNCATE since version 3
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty", "shm")
_libc = ctypes.CDLL(None, use_errno=True)


def protect_files(writable: Iterable[Path]) -> None:
    """Let this process and its children write only to these files and folders, through Linux's Landlock.

    Call before there are threads, which it does not restrict. It does not cover permissions and times of files. Without
    Landlock (Linux before 5.13, or not enabled) it only prints that to the container's log.
    """
    version = _libc.syscall(_LANDLOCK_CREATE_RULESET, None, 0, _LANDLOCK_CREATE_RULESET_VERSION)
    if version < 1:
        print("this kernel has no Landlock: the bundle's own code may write outside of its folder", flush=True)
        return
    access = _WRITES | (_REFER if version >= 2 else 0) | (_TRUNCATE if version >= 3 else 0)
    handled = ctypes.create_string_buffer(struct.pack("=Q", access), 8)
    rules = _checked(_libc.syscall(_LANDLOCK_CREATE_RULESET, handled, 8, 0), "landlock_create_ruleset")
    for path in writable:
        allowed = access if path.is_dir() else access & (_WRITE_FILE | _TRUNCATE)
        beneath = os.open(path, os.O_PATH | os.O_CLOEXEC)
        rule = ctypes.create_string_buffer(struct.pack("=Qi", allowed, beneath), 12)
        _checked(_libc.syscall(_LANDLOCK_ADD_RULE, rules, _LANDLOCK_RULE_PATH_BENEATH, rule, 0), f"rule for {path}")
        os.close(beneath)
    _checked(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl(PR_SET_NO_NEW_PRIVS)")
    _checked(_libc.syscall(_LANDLOCK_RESTRICT_SELF, rules, 0), "landlock_restrict_self")
    os.close(rules)


def _checked(result: int, what: str) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{what} failed")
    return result


def writable_paths() -> list[Path]:
    """Return what the container may write to: its /tmp and log, and the devices that programs expect.

    Also this machine's /tmp, for a bundle that writes there whatever TMPDIR says, unless something lies there that it
    must not change, such as a checkout or other instances' folders: a rule covers all that is below.

    Not its /opt/ml/model: AWS's guides do not say, but on endpoints it is on a read-only file system
    (https://github.com/autogluon/autogluon/pull/3064).
    """
    own, machines = Path(tempfile.gettempdir()).resolve(), Path("/tmp").resolve()
    used = [own, *(Path(path).resolve() for path in (__file__, os.environ["SAGEMAKER_BASE_DIR"], *sys.path))]
    if any(path.is_relative_to(machines) for path in used):
        print("/tmp cannot be written to here, but TMPDIR can: this machine's /tmp has files of others", flush=True)
        machines = own
    found = [own, machines, Path(os.environ.get("MUSICGEN_LOG_FILE", "/dev/null"))]
    found += [Path("/dev") / name for name in _DEVICES]
    return [path for path in found if path.exists()]


def end_with_parent() -> None:
    """Kill this process group when standard input closes: the other end of the pipe is the embedded AWS."""

    def watch() -> None:
        while os.read(0, 1):
            continue
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, daemon=True, name="end-with-parent").start()


def adopt_orphans() -> None:
    """Become the parent of multi-model-server's Java process, whose launcher exits, like pid 1 in a container."""
    _checked(_libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl(PR_SET_CHILD_SUBREAPER)")


def find_model_server(startup_timeout: float) -> object:
    """Return the multi-model-server process of this instance, as a psutil.Process.

    Replaces the toolkit's search through all processes of the machine, which fails if two instances run on it.
    multi-model-server writes its process id below TMPDIR, and each instance has its own.
    """
    import psutil

    pid_file = Path(tempfile.gettempdir()) / ".model_server.pid"
    deadline = time.monotonic() + startup_timeout
    while time.monotonic() < deadline:
        text = pid_file.read_text() if pid_file.exists() else ""
        if text:
            return psutil.Process(int(text))
        time.sleep(0.05)
    raise TimeoutError(f"multi-model-server did not write {pid_file.name} within {startup_timeout:g} s")


def skip_transformers() -> None:
    """Give the toolkit's launcher what it uses of two of its modules, without importing transformers in this process.

    The launcher needs the name of the one and, to load a model from the Hub, a function of the other. Importing them
    takes longer than all the rest of a container's start (about 4 CPU seconds). The workers import the real modules.
    """
    toolkit = "sagemaker_huggingface_inference_toolkit"
    handler_service, hub = (ModuleType(f"{toolkit}.{name}") for name in ("handler_service", "transformers_utils"))
    hub.HF_API_TOKEN = hub.HF_MODEL_REVISION = hub._load_model_from_hub = None
    for module in (handler_service, hub):
        sys.modules[module.__name__] = module
        setattr(importlib.import_module(toolkit), module.__name__.rpartition(".")[2], module)


def serve() -> None:
    """Start the toolkit as the image's entry point does; return when multi-model-server exits."""
    if "HF_MODEL_ID" in os.environ:
        import transformers.file_utils

        # Toolkit 2.6.0 imports this name, which transformers 5 removed together with TensorFlow.
        if not hasattr(transformers.file_utils, "is_tf_available"):
            transformers.file_utils.is_tf_available = lambda: False
    else:
        skip_transformers()
    import sagemaker_huggingface_inference_toolkit.mms_model_server as toolkit
    import sagemaker_inference.model_server as base

    config_file = str(Path(tempfile.gettempdir()) / "sagemaker-mms.properties")  # instead of /etc
    base.MMS_CONFIG_FILE = config_file
    toolkit.MMS_CONFIG_FILE = config_file
    toolkit._retry_retrieve_mms_server_process = find_model_server
    toolkit.start_model_server()


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"  # nothing next to the modules that all containers share
    protect_files(writable_paths())
    end_with_parent()
    adopt_orphans()
    serve()
