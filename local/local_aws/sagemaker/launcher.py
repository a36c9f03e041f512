"""The container's entry point, on this machine: the unmodified Hugging Face serving toolkit, with its paths moved.

Run as a script by the serving environment's own interpreter, in a session of its own, never imported. It is what
docker would be: it changes nothing that the toolkit, multi-model-server or the bundle do, but where they put things. It
ends the whole session when the embedded AWS that started it is gone, which closes standard input's pipe.
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
    """Ends this whole process group as soon as standard input closes: the pipe's other end is the embedded AWS."""

    def watch() -> None:
        while os.read(0, 1):
            continue
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, daemon=True, name="end-with-parent").start()


def adopt_orphans() -> None:
    """Makes this process the parent of multi-model-server's Java, whose own launcher exits: as pid 1 in a container."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER) failed")


def own_server_process(startup_timeout: float) -> object:
    """The multi-model-server process of this instance, as a psutil.Process.

    Takes the place of the toolkit's search through all processes of the machine, which refuses to run when a second
    instance serves beside this one. multi-model-server writes its process id below TMPDIR, which is this instance's.
    """
    import psutil

    pid_file = Path(tempfile.gettempdir()) / ".model_server.pid"
    deadline = time.monotonic() + startup_timeout
    while time.monotonic() < deadline:
        text = pid_file.read_text() if pid_file.exists() else ""
        if text:
            return psutil.Process(int(text))
        time.sleep(0.05)
    raise TimeoutError(f"multi-model-server must start within {startup_timeout:g} s, got no {pid_file.name}")


def serve() -> None:
    """Starts the toolkit as the image's entry point does, and returns when multi-model-server has ended."""
    import transformers.file_utils

    # Toolkit 2.6.0 imports this name, which transformers 5 dropped together with TensorFlow.
    if not hasattr(transformers.file_utils, "is_tf_available"):
        transformers.file_utils.is_tf_available = lambda: False
    import sagemaker_huggingface_inference_toolkit.mms_model_server as toolkit
    import sagemaker_inference.model_server as base
    from sagemaker_huggingface_inference_toolkit import handler_service

    config_file = str(Path(tempfile.gettempdir()) / "sagemaker-mms.properties")  # /etc belongs to the machine
    base.MMS_CONFIG_FILE = config_file
    toolkit.MMS_CONFIG_FILE = config_file
    toolkit._retry_retrieve_mms_server_process = own_server_process
    toolkit.start_model_server(handler_service=handler_service.__name__)


if __name__ == "__main__":
    end_with_parent()
    adopt_orphans()
    serve()
