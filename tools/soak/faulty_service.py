"""The bundle's service class in a worker that faults on request: a step that never returns, or a log that breaks.

multi-model-server starts it in place of `musicgen_serving.service`. A fault begins when the file of its name appears
beside the log. This module must define exactly one class (musicgen_serving/service.py says why).
"""

import os
import threading
from pathlib import Path
from typing import Any

from musicgen_serving import json_log
from musicgen_serving.service import MusicgenService

HANG = "hang"  # the next step removes the file and never returns
BREAK_LOG = "break-log"  # writes raise BrokenPipeError while the file exists


class FaultyService(MusicgenService):
    """MusicgenService with the two faults."""

    def initialize(self, context: Any) -> None:
        """Patch steps and the log, then start as usual."""
        folder = Path(os.environ["MUSICGEN_LOG_FILE"]).parent
        _hang_steps(folder / HANG)
        _break_lines(folder / BREAK_LOG)
        super().initialize(context)


def _hang_steps(flag: Path) -> None:
    from musicgen_serving.engine.scheduler import Batch  # torch: not in multi-model-server's supervisor

    step = Batch.step

    def maybe_hang(self: Batch) -> None:
        if flag.exists():
            flag.unlink()
            threading.Event().wait()
        step(self)

    Batch.step = maybe_hang


def _break_lines(flag: Path) -> None:
    to_json = json_log._line  # pyright: ignore[reportPrivateUsage]

    def maybe_break(fields: dict[str, object]) -> str:
        if flag.exists():
            raise BrokenPipeError
        return to_json(fields)

    json_log._line = maybe_break  # pyright: ignore[reportPrivateUsage]
