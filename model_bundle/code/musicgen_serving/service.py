"""What multi-model-server starts: the one class of this module, named by MMS_DEFAULT_SERVICE_HANDLER.

It must stay the only class that is defined here, and no function here may be called `handle`: multi-model-server's
loader (mms/model_loader.py) takes such a function in place of the class. Torch is imported in `initialize`, so that
the supervisor, which forks its workers, never loads it.
"""

import os
import tempfile
from pathlib import Path

from musicgen_serving.invocation import Invocations
from musicgen_serving.json_log import JsonLog
from musicgen_serving.server import ContainerServer
from musicgen_serving.settings import Settings
from musicgen_serving.starts import count_start
from musicgen_serving.worker_context import WorkerContext


class MusicgenService:
    """multi-model-server's worker: loads the model, then serves the container's port itself."""

    def initialize(self, context: WorkerContext) -> None:
        """Load and serve; a failure ends the process, because multi-model-server would keep a worker that is dead."""
        log = JsonLog.to(None)
        try:
            settings = Settings.from_environment(os.environ)
            log = JsonLog.to(settings.log_file)
            starts = count_start(Path(tempfile.gettempdir()), os.getppid())
            log.write("start", pid=os.getpid(), starts=starts, log=log.destination)
            self._serve(context.system_properties["model_dir"], settings, log)
        except Exception as error:
            log.exception("start_failed", error)
            os._exit(1)

    def handle(self, data: list[object], context: WorkerContext) -> list[str]:
        """Answer what comes through multi-model-server's own port: that it is the wrong one."""
        context.set_all_response_status(404, "requests go to the container's port")
        return ["requests go to /invocations of the container's port"] * len(data)

    def _serve(self, model_dir: str, settings: Settings, log: JsonLog) -> None:
        invocations = Invocations(log, settings.max_concurrent_requests)
        server = ContainerServer(settings.bind_host, settings.port, invocations, settings.max_payload_bytes, log)
        server.start()

        import inference  # with torch: this takes seconds, in which /ping already says 503

        model = inference.model_fn(model_dir)
        invocations.serve(inference, model)
        log.write("ready", port=settings.port, model=model.checkpoint.model_id)
