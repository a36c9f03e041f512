"""Serve a model one of whose calls never returns: `hung_server.py <staged model> <folder> <call> ...`.

A call is `step`, `encode` or `decode`, and each has a server in a process of its own, forked once all is imported: to
import it takes most of a server's time. In the folder `<call>.port` is written once the model is loaded and the call is
replaced, `<call>.log` is the server's log, and `<call>.status` the exit status of its process. A watchdog's limit is 4
seconds.
"""

import os
import sys
import threading
from pathlib import Path
from typing import Any, NoReturn

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


def main(staged: Path, folder: Path, calls: list[str]) -> None:
    """Serve each call in a child, and write down how each ends."""
    children: dict[int, str] = {}
    for call in calls:
        child = os.fork()
        if not child:
            serve(staged, folder, call)
        children[child] = call
    while children:
        child, status = os.wait()
        write(folder / f"{children.pop(child)}.status", os.waitstatus_to_exitcode(status))


def serve(staged: Path, folder: Path, call: str) -> NoReturn:
    """Serve until the watchdog ends the process."""
    torch.set_num_threads(1)
    log = JsonLog.to(folder / f"{call}.log")
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
    write(folder / f"{call}.port", server.port)
    while True:
        hang()


def write(path: Path, number: int) -> None:
    """Write a file as a whole: another process waits for it."""
    partial = path.with_suffix(f"{path.suffix}.partial")
    partial.write_text(str(number), encoding="ascii")
    partial.rename(path)


def replace_tenth_step(generator: Generator) -> None:
    """Let a clip's step at position 10 hang."""
    step = generator.batch.step

    def maybe_hang() -> None:
        if generator.batch.sequences[0].position == 10:
            hang()
        step()

    generator.batch.step = maybe_hang


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
