"""The container's entry point: runs the unmodified Hugging Face serving toolkit with its paths moved.

A script for the serving environment's interpreter, in its own session; never import it. Like docker, it changes only
where the toolkit, multi-model-server and the bundle put their files. It kills the whole session when the embedded AWS
that started it exits, which closes the pipe to standard input.
"""
# pyright: reportAttributeAccessIssue=false, reportPrivateUsage=false
# (the serving toolkits ship no types, and their module attributes are replaced here)

import ctypes
import os
import signal
import tempfile
import threading
import time
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def end_with_parent() -> None:
    """Kill this process group when standard input closes: the other end of the pipe is the embedded AWS."""

    def watch() -> None:
        while os.read(0, 1):
            continue
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, daemon=True, name="end-with-parent").start()


def adopt_orphans() -> None:
    """Become the parent of multi-model-server's Java process, whose launcher exits, like pid 1 in a container."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER) failed")


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


def serve() -> None:
    """Start the toolkit as the image's entry point does; return when multi-model-server exits."""
    import transformers.file_utils

    # Toolkit 2.6.0 imports this name, which transformers 5 removed together with TensorFlow.
    if not hasattr(transformers.file_utils, "is_tf_available"):
        transformers.file_utils.is_tf_available = lambda: False
    import sagemaker_huggingface_inference_toolkit.mms_model_server as toolkit
    import sagemaker_inference.model_server as base
    from sagemaker_huggingface_inference_toolkit import handler_service

    config_file = str(Path(tempfile.gettempdir()) / "sagemaker-mms.properties")  # instead of /etc
    base.MMS_CONFIG_FILE = config_file
    toolkit.MMS_CONFIG_FILE = config_file
    toolkit._retry_retrieve_mms_server_process = find_model_server
    toolkit.start_model_server(handler_service=handler_service.__name__)


if __name__ == "__main__":
    end_with_parent()
    adopt_orphans()
    serve()
