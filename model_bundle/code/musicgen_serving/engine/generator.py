"""Text to samples: tokenizer, text encoder, decode engine and codec, loaded once."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from musicgen_serving.engine.codec_worker import CodecWorker, Deliver
from musicgen_serving.engine.engine import Engine
from musicgen_serving.engine.errors import MelodyUnsupportedError, NonFiniteError, PromptTooLongError
from musicgen_serving.engine.loading import LoadTimer, WeightFormat, load_parts
from musicgen_serving.engine.model.chroma import Chroma
from musicgen_serving.engine.request import Request
from musicgen_serving.engine.sampling_params import MAX_TEXT_TOKENS, ClipSpec, SamplingParams
from musicgen_serving.engine.scheduler import Batch
from musicgen_serving.engine.self_check import CHECK_TEXTS, SelfCheck, SelfCheckError, require_sound
from musicgen_serving.engine.watchdog import HANG_SECONDS, Watchdog, end_worker
from musicgen_serving.json_log import JsonLog

Observe = Callable[[Request], None]
MAX_SLOTS = 32  # of two rows: the kernels' tiles have up to 64; `infra/config/capacity.py` repeats it
LENGTH_MULTIPLES = {"cuda": 256, "cpu": 32}
FIRST_CLIP_TOKENS = {"cuda": 53, "cpu": 8}  # a second of audio; on a CPU, as much as warms up


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """How many clips are generated at once, and how many more may wait."""

    slots: int = 8
    max_waiting: int = 256

    @classmethod
    def for_requests(cls, requests: int, max_clips: int, device: torch.device) -> "Capacity":
        """Return room for `requests` of up to `max_clips` clips: one clip of each in a slot, all others waiting.

        A GPU gets all slots, of which its KV pages limit the use: a step's reads grow with the clips in flight.
        """
        slots = MAX_SLOTS if device.type == "cuda" else min(max(requests, 8), MAX_SLOTS)
        return cls(slots=slots, max_waiting=requests * max_clips)


@dataclass(frozen=True)
class GenerationResult:
    """A request's clips, [channels, samples] each, its wait for a slot, and the most clips stepped together with it.

    `clips` is empty if they were delivered one by one. `codes` are what they were decoded from, [K, frames] each.
    """

    clips: list[NDArray[np.float32]]
    queued_seconds: float
    max_in_flight: int
    codes: list[NDArray[np.int64]] = field(default_factory=list["NDArray[np.int64]"])


class Generator:
    """The model on its device. `generate` may be called from any thread; concurrent calls share steps.

    The engine's thread steps and the codec worker's decodes; no other uses the device. A watchdog ends the process if
    either makes no progress for `hang_seconds`.
    """

    def __init__(
        self, folder: Path, *, weight_format: WeightFormat, capacity: Capacity, log: JsonLog,
        device: torch.device | None = None, hang_seconds: float = HANG_SECONDS,
    ) -> None:  # fmt: skip
        """Load on `device`, CUDA if it is None and available; verify it, start the engine and generate a short clip.

        Raises ValueError if the checkpoint cannot be served, SelfCheckError (a ValueError) or NonFiniteError if what
        it generates is of no use.
        """
        self.device = device or torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
        timer = LoadTimer()
        parts = load_parts(folder, self.device, weight_format, capacity.slots, timer, log)
        self.text_encoder = parts.text_encoder
        self.sampling_rate, self.channels = parts.codec.sampling_rate, parts.codec.channels
        config = parts.runner.config
        self.runner, self.batch = parts.runner, Batch(parts.runner, LENGTH_MULTIPLES[self.device.type])
        step_stream = create_step_stream(self.device)
        chroma = Chroma(config, self.sampling_rate) if config.melody else None
        self.codec_worker = CodecWorker(parts.codec, chroma, self.device, step_stream)
        self.engine = Engine(
            self.batch, self.text_encoder.encode, max_waiting=capacity.max_waiting, log=log, stream=step_stream,
            on_death=end_worker,
        )  # fmt: skip
        self._watchdog = Watchdog(
            (self.engine.heartbeat, self.codec_worker.heartbeat), hang_seconds,
            describe=self.engine.state, log=log, on_death=end_worker,
        )  # fmt: skip
        self.engine.start()
        self._watchdog.start()
        try:
            with timer.measure("warm_up"):
                self._generate_first_clip(parts.check)
        except BaseException:
            self.close()
            raise
        self.engine.reset_statistics()
        self.path = parts.check.path
        timer.fields |= self.path.fields | parts.check.figures
        timer.write(log, self.device)

    def _generate_first_clip(self, check: SelfCheck) -> None:
        """Generate a clip; if it is not finite or silent, again with the slower step, if there is one."""
        clip = ClipSpec(CHECK_TEXTS[1], 0, SamplingParams(max_new_tokens=FIRST_CLIP_TOKENS[self.device.type]))
        try:
            require_sound(self.generate([clip]).clips[0])
        except (NonFiniteError, SelfCheckError) as error:
            if not check.has_slower_path:
                raise
            check.replace_step(repr(error))
            require_sound(self.generate([clip]).clips[0])

    @property
    def follows_melodies(self) -> bool:
        """Whether the loaded model is a melody model."""
        return self.codec_worker.chroma is not None

    @property
    def healthy(self) -> bool:
        """Whether a request can be expected to finish: the engine runs, and neither it nor the codec hangs."""
        return self.engine.running and self._watchdog.healthy

    def generate(
        self, clips: list[ClipSpec], abandoned: Callable[[], bool] | None = None, deliver: Deliver | None = None,
        observe: Observe | None = None,
    ) -> GenerationResult:  # fmt: skip
        """Generate clips; with `deliver`, call it with each part of each clip as soon as it is decoded.

        A clip is decoded in chunks of five seconds while the rest of it is generated. `deliver` runs in the caller's
        thread. If it raises, the clips that are not finished are dropped. `observe` gets
        the engine's request before it is queued; other threads may read how far it is, and fail it. Raises that error,
        PromptTooLongError, MelodyUnsupportedError, QueueFullError, EngineStoppedError, DeviceMemoryError,
        NonFiniteError, or RequestAbandonedError once `abandoned` returns true.
        """
        tokens = [
            [self.tokenize(index, part.text, section=True) for index, part in enumerate(clip.sections)]
            or [self.tokenize(index, clip.text)]
            for index, clip in enumerate(clips)
        ]
        negative = [self.tokenize(None, clip.negative_prompt) for clip in clips]
        self._check_melodies(clips)
        request = Request(clips, tokens, negative, prompts=self.codec_worker.encode_prompts(clips))
        request.melodies = self.codec_worker.melodies(request)
        if observe:
            observe(request)
        self.engine.submit(request)
        decodings = [self.codec_worker.begin(request, index) for index in range(len(clips))]
        audio: list[list[NDArray[np.float32]]] = [[] for _ in clips]
        try:
            for part in request.parts(abandoned):
                decoded = self.codec_worker.decode(decodings[part.index], part)
                if not deliver:
                    audio[part.index].append(decoded.samples)
                elif decoded.samples.size:
                    deliver(decoded)
        except BaseException as error:
            request.fail(error)
            raise
        together = [] if deliver else [np.concatenate(parts, axis=1) for parts in audio]
        codes = [one.all_codes for one in decodings]
        return GenerationResult(together, request.queued_seconds, request.max_in_flight, codes)

    def close(self) -> None:
        """Stop all threads and fail every unfinished request."""
        self.engine.stop()
        self.codec_worker.close()
        self._watchdog.stop()

    def tokenize(self, index: int | None, text: str | None, *, section: bool = False) -> list[int]:
        """Return the tokens of text `index`, of a section's, or of a negative prompt; none if there is no text.

        Raises PromptTooLongError if there are too many.
        """
        tokens = [] if text is None else self.text_encoder.tokenize(text)
        if len(tokens) > MAX_TEXT_TOKENS:
            raise PromptTooLongError(index, len(tokens), MAX_TEXT_TOKENS, section=section)
        return tokens

    def _check_melodies(self, clips: list[ClipSpec]) -> None:
        """Raise MelodyUnsupportedError if a clip has a melody and the model is not a melody model."""
        if not self.follows_melodies and any(clip.melody is not None for clip in clips):
            raise MelodyUnsupportedError


def create_step_stream(device: torch.device) -> torch.cuda.Stream | None:
    """Return a stream for steps, of higher priority than the codec's so that steps never wait; None on a CPU."""
    if device.type == "cpu":
        return None
    torch.cuda.synchronize(device)  # loading used the default stream
    return torch.cuda.Stream(device, priority=-1)
