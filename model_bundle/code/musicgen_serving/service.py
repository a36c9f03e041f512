"""The service class that multi-model-server starts, named by MMS_DEFAULT_SERVICE_HANDLER.

This module must define exactly one class and no function `handle`: multi-model-server's loader (mms/model_loader.py)
would take such a function in place of the class. Torch is imported in `initialize`, so the supervisor, which forks its
workers, never loads it.
"""

import gc
import os
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

from musicgen_serving.device import CudaUnavailableError
from musicgen_serving.http.invocation import Invocations
from musicgen_serving.http.server import ContainerServer
from musicgen_serving.json_log import JsonLog
from musicgen_serving.settings import Settings


class MusicgenService:
    """multi-model-server's worker: loads the model and serves the container's port itself."""

    def initialize(self, context: Any) -> None:  # mms.context.Context, which has no types
        """Start the server, then load the model; end the process on failure, or a dead worker would be kept."""
        log = JsonLog.to(None)
        try:
            settings = Settings.from_environment(os.environ)
            log = JsonLog.to(settings.log_file)
            starts = count_start(Path(tempfile.gettempdir()), os.getppid())
            log.write("start", pid=os.getpid(), starts=starts, log=log.destination)
            invocations = Invocations(log, settings.max_concurrent_requests)
            ContainerServer(settings.bind_host, settings.port, invocations, log).start()

            inference = import_hooks()  # this takes seconds, in which /ping already answers 503
            model = inference.model_fn(context.system_properties["model_dir"])
            invocations.serve(inference, model, lambda: model.generator.healthy)
            log.write("ready", port=settings.port, model=model.checkpoint.model_id)
        except CudaUnavailableError as error:  # one line without a traceback: it is read by a person in CloudWatch
            log.write("cuda_unavailable", error=str(error), remedy=error.remedy, **error.versions)
            os._exit(1)
        except BaseException as error:  # SystemExit as well: the server's thread would keep answering
            log.exception("start_failed", error)
            os._exit(1)

    def handle(self, data: list[object], context: Any) -> list[str]:
        """Answer requests to multi-model-server's own port with 404."""
        context.set_all_response_status(404, "requests go to the container's port")
        return ["requests go to /invocations of the container's port"] * len(data)


def import_hooks() -> Any:
    """Import `inference`, and torch with it, without garbage collection; return it.

    Nearly all of the 400,000 objects that this makes live as long as the process. To look for garbage among them takes
    a seventh of the import's time, and more with every full collection later: they are left out of those too.
    """
    gc.disable()
    try:
        return import_module("inference")
    finally:
        gc.freeze()
        gc.enable()


def count_start(folder: Path, supervisor_pid: int) -> int:
    """Return how often this supervisor has started a worker, this start included; counted in a file in `folder`."""
    path = folder / f"musicgen-starts-{supervisor_pid}"
    count = int(path.read_text(encoding="ascii")) + 1 if path.is_file() else 1
    path.write_text(str(count), encoding="ascii")
    return count
