"""Serve a model one of whose calls never returns: `hung_server.py <staged model> step|encode|decode <log>`.

Prints its port once the model is loaded and the call is replaced. Its watchdog's limit is 4 seconds.
"""

import sys
import threading
from pathlib import Path
from typing import Any

import torch

import inference
from musicgen_serving.audio_download import AudioSource
from musicgen_serving.audio_input import AudioInput
from musicgen_serving.audio_upload import AudioStore
from musicgen_serving.engine.generator import Capacity, Generator
from musicgen_serving.engine.loading import WeightFormat
from musicgen_serving.http.invocation import Invocations
from musicgen_serving.http.server import ContainerServer
from musicgen_serving.http.tracking import RequestTracker
from musicgen_serving.json_log import JsonLog
from musicgen_serving.model_loading import Model, read_checkpoint


def hang(*_: Any, **__: Any) -> Any:
    """Never return."""
    threading.Event().wait()


def main(staged: Path, call: str, log_file: Path) -> None:
    torch.set_num_threads(1)
    log = JsonLog.to(log_file)
    invocations = Invocations(log, max_concurrent_requests=2)
    server = ContainerServer("127.0.0.1", 0, invocations, log)
    server.start()
    capacity = Capacity(slots=2)
    generator = Generator(staged, weight_format=WeightFormat(), capacity=capacity, log=log, hang_seconds=4)
    if call == "step":
        replace_tenth_step(generator)
    elif call == "encode":
        generator.engine._encode = hang  # pyright: ignore[reportPrivateUsage]
    else:
        generator.codec_worker.codec.decode_part = hang
    s3: Any = None  # nothing is ever finished
    audio_input = AudioInput(AudioSource(s3, ()), generator.sampling_rate, generator.channels)
    tracker = RequestTracker(s3, "out", log)
    model = Model(read_checkpoint(staged), generator, AudioStore(s3, ("out",)), tracker, audio_input)
    invocations.serve(inference, model, lambda: generator.healthy)
    print(server.port, flush=True)
    threading.Event().wait()


def replace_tenth_step(generator: Generator) -> None:
    """Let a clip's step at position 10 hang."""
    step = generator.batch.step

    def maybe_hang() -> None:
        if generator.batch.sequences[0].position == 10:
            hang()
        step()

    generator.batch.step = maybe_hang


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
