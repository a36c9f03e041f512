"""Text to samples: the engine with its tokenizer, text encoder, decoder and codec, loaded once."""

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from musicgen_serving.engine.batch import Batch
from musicgen_serving.engine.clip import Request
from musicgen_serving.engine.engine import Engine
from musicgen_serving.engine.errors import NonFiniteError, PromptTooLongError
from musicgen_serving.engine.loading import MAX_TEXT_TOKENS, StartUp, WeightFormat, assemble
from musicgen_serving.engine.sampling_params import ClipSpec, SamplingParams
from musicgen_serving.json_log import JsonLog

MAX_SLOTS = 32  # beyond it attention reads more than the weights, and a step grows with every clip
GRANULES = {"cuda": 256, "cpu": 32}  # to which attention's length is rounded up
WARM_UP = ClipSpec("warm up", 0, SamplingParams(max_new_tokens=8))


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """How much is made at once: clips in flight, and further ones that may wait."""

    slots: int = 8
    max_waiting: int = 256

    @classmethod
    def for_requests(cls, requests: int, max_clips: int) -> "Capacity":
        """Enough for `requests` of up to `max_clips` clips to have one clip each in a slot and all the others waiting.

        A GPU has as many slots as its memory holds: what it reads beside the weights grows with clips, not with slots.
        """
        slots = MAX_SLOTS if torch.cuda.is_available() else min(max(requests, 8), MAX_SLOTS)
        return cls(slots=slots, max_waiting=requests * max_clips)


@dataclass(frozen=True)
class GenerationResult:
    """A request's clips, [channels, samples] each; its wait for a slot, and the most clips made at once beside it."""

    clips: list[NDArray[np.float32]]
    queued_seconds: float
    max_in_flight: int


class Generator:
    """The model on its device; `generate` may be called from any thread, and what is called at once runs together."""

    def __init__(self, folder: Path, *, weight_format: WeightFormat, capacity: Capacity, log: JsonLog) -> None:
        """Load, start the engine and prove it with a short clip."""
        self.device = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
        start_up = StartUp()
        parts = assemble(folder, self.device, weight_format, capacity.slots, start_up, log)
        self.text_encoder, self._codec = parts.text_encoder, parts.codec
        self._codec_lock = threading.Lock()
        self.sampling_rate = self._codec.sampling_rate
        self.loop, self.batch = parts.loop, Batch(parts.loop, GRANULES[self.device.type])
        steps, self._codec_stream = streams(self.device)
        self.engine = Engine(
            self.batch, self.text_encoder.encode, max_waiting=capacity.max_waiting, log=log, on_death=_end_process,
            stream=steps,
        )  # fmt: skip
        self.engine.start()
        with start_up.timed("warm_up"):
            self.generate([WARM_UP])
        start_up.write(log, self.device)

    def generate(self, clips: list[ClipSpec], abandoned: Callable[[], bool] | None = None) -> GenerationResult:
        """Make clips.

        Raises PromptTooLongError, QueueFullError, EngineStoppedError, DeviceMemoryError, RequestAbandonedError once
        `abandoned` returns true, or NonFiniteError.
        """
        ticket = Request(clips, [self.tokens(index, clip.text) for index, clip in enumerate(clips)])
        self.engine.submit(ticket)
        codes = ticket.wait(abandoned)
        return GenerationResult([self._samples(one) for one in codes], ticket.queued_seconds, ticket.max_in_flight)

    def close(self) -> None:
        """End the engine."""
        self.engine.stop()

    def tokens(self, index: int, text: str) -> list[int]:
        """The tokens of text `index`; PromptTooLongError where they are too many."""
        tokens = self.text_encoder.tokenize(text)
        if len(tokens) > MAX_TEXT_TOKENS:
            raise PromptTooLongError(index, len(tokens), MAX_TEXT_TOKENS)
        return tokens

    def _samples(self, codes: torch.Tensor) -> NDArray[np.float32]:
        with self._codec_lock, torch.cuda.stream(self._codec_stream):  # its activations are large: one clip at a time
            audio: NDArray[np.float32] = self._codec.decode(codes).float().cpu().numpy()
        if not np.isfinite(audio).all():
            raise NonFiniteError("samples")
        return audio


def streams(device: torch.device) -> tuple[torch.cuda.Stream | None, torch.cuda.Stream | None]:
    """Where steps go, and where EnCodec does: of lower priority, so that steps do not wait for it. None on a CPU."""
    if device.type == "cpu":
        return None, None
    torch.cuda.synchronize(device)  # what was loaded on the default stream is there
    return torch.cuda.Stream(device, priority=-1), torch.cuda.Stream(device, priority=0)


def _end_process() -> None:
    """End at once: the supervisor starts a new worker, and a server without an engine could only fail."""
    os._exit(1)
