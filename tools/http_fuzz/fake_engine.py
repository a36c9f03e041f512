"""The container's server with the real hooks and an engine that returns silence at once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from botocore.exceptions import ClientError

import inference
from musicgen_serving.audio_download import AudioSource
from musicgen_serving.audio_input import AudioInput
from musicgen_serving.audio_upload import AudioStore, GrowingBody
from musicgen_serving.engine.codec_worker import AudioPart, Deliver
from musicgen_serving.engine.generator import GenerationResult, Observe
from musicgen_serving.engine.sampling_params import ClipSpec
from musicgen_serving.http.connection import Limits
from musicgen_serving.http.invocation import Invocations
from musicgen_serving.http.server import ContainerServer
from musicgen_serving.http.tracking import RequestTracker
from musicgen_serving.json_log import JsonLog
from musicgen_serving.model_loading import Checkpoint, Model


class SilentGenerator:
    """Generates `samples` of silence per clip, by default a frame of EnCodec; calls `wait` first, if it is given."""

    sampling_rate, channels = 32_000, 1

    def __init__(self, samples: int = 640, wait: Callable[[], object] | None = None) -> None:
        self._samples = samples
        self._wait = wait

    def generate(
        self, clips: list[ClipSpec], abandoned: Callable[[], bool] | None, deliver: Deliver, observe: Observe
    ) -> GenerationResult:  # fmt: skip
        """Deliver one silent clip per spec."""
        del abandoned, observe
        if self._wait:
            self._wait()
        for index in range(len(clips)):
            deliver(AudioPart(index, np.zeros((1, self._samples), np.float32), 0, self._samples))
        return GenerationResult([], 0.0, len(clips), [np.zeros((4, 1), np.int64) for _ in clips])


class NullS3:
    """Accepts objects and drops them; no request is cancelled."""

    def put_object(self, **_: Any) -> None:
        """Do nothing."""

    def upload_fileobj(self, Fileobj: GrowingBody, *_: Any, **__: Any) -> None:  # noqa: N803
        """Read the body to its end."""
        Fileobj.read()

    def get_object(self, **_: Any) -> None:
        """Fail as S3 does for an object that does not exist."""
        answer: Any = {"Error": {"Code": "AccessDenied"}, "ResponseMetadata": {"HTTPStatusCode": 403}}
        raise ClientError(answer, "GetObject")

    def head_object(self, **_: Any) -> None:
        """Answer as S3 does without permission to list the bucket."""
        answer: Any = {"ResponseMetadata": {"HTTPStatusCode": 403}}
        raise ClientError(answer, "HeadObject")


def serve_silence(
    log: JsonLog, limits: Limits, *, max_concurrent_requests: int = 4, generator: SilentGenerator | None = None
) -> ContainerServer:
    """Return a running server on a free port of 127.0.0.1 that is ready."""
    invocations = Invocations(log, max_concurrent_requests)
    server = ContainerServer("127.0.0.1", 0, invocations, log, limits=limits)
    server.start()
    engine: Any = generator or SilentGenerator()
    checkpoint = Checkpoint(Path(), "facebook/musicgen-small", "0" * 40)
    s3 = NullS3()
    audio_input = AudioInput(AudioSource(s3, ()), SilentGenerator.sampling_rate, SilentGenerator.channels)
    tracker = RequestTracker(s3, "out", log)
    invocations.serve(inference, Model(checkpoint, engine, AudioStore(s3, ("out",)), tracker, audio_input))
    return server
