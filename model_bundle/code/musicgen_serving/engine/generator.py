"""Text to samples: tokenizer, text encoder, decode engine and codec, loaded once."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from musicgen_serving.engine.engine import Engine
from musicgen_serving.engine.errors import MelodyUnsupportedError, NonFiniteError, PromptTooLongError
from musicgen_serving.engine.loading import MAX_TEXT_TOKENS, LoadTimer, WeightFormat, load_parts
from musicgen_serving.engine.model.chroma import Chroma
from musicgen_serving.engine.sampling_params import ClipSpec, SamplingParams
from musicgen_serving.engine.scheduler import Batch, Request
from musicgen_serving.engine.self_check import CHECK_TEXTS, SelfCheck, SelfCheckError, require_sound
from musicgen_serving.engine.watchdog import HANG_SECONDS, Heartbeat, Watchdog, end_worker
from musicgen_serving.json_log import JsonLog

Deliver = Callable[[int, NDArray[np.float32]], None]
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

    The engine's thread steps and the codec's thread decodes, one clip at a time because activations are large; no
    other thread uses the device. A watchdog ends the process if either makes no progress for `hang_seconds`.
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
        self.text_encoder, self._codec = parts.text_encoder, parts.codec
        self.sampling_rate, self.channels = self._codec.sampling_rate, self._codec.channels
        config = parts.runner.config
        self._chroma = Chroma(config, self.sampling_rate) if config.melody else None
        self.runner, self.batch = parts.runner, Batch(parts.runner, LENGTH_MULTIPLES[self.device.type])
        self._step_stream, self._codec_stream = create_streams(self.device)
        self.engine = Engine(
            self.batch, self.text_encoder.encode, max_waiting=capacity.max_waiting, log=log, stream=self._step_stream,
            on_death=end_worker,
        )  # fmt: skip
        self._codec_heartbeat = Heartbeat("codec")
        self._codec.on_chunk = self._codec_heartbeat.beat
        threads = torch.get_num_threads()  # BLAS uses the machine's default in every new thread
        self._codec_thread = ThreadPoolExecutor(1, "codec", initializer=lambda: torch.set_num_threads(threads))
        self._watchdog = Watchdog(
            (self.engine.heartbeat, self._codec_heartbeat), hang_seconds,
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
        return self._chroma is not None

    @property
    def healthy(self) -> bool:
        """Whether a request can be expected to finish: the engine runs, and neither it nor the codec hangs."""
        return self.engine.running and self._watchdog.healthy

    def generate(
        self, clips: list[ClipSpec], abandoned: Callable[[], bool] | None = None, deliver: Deliver | None = None,
        observe: Observe | None = None,
    ) -> GenerationResult:  # fmt: skip
        """Generate clips; with `deliver`, call it with the index and samples of each as soon as it is decoded.

        `deliver` runs in the caller's thread. If it raises, the clips that are not finished are dropped. `observe` gets
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
        request = Request(clips, tokens, negative, prompts=self._encode_prompts(clips))
        request.melodies = self._melodies(request)
        if observe:
            observe(request)
        self.engine.submit(request)
        decoded: dict[int, NDArray[np.float32]] = {}
        all_codes: dict[int, NDArray[np.int64]] = {}
        try:
            for index, codes in request.finished(abandoned):
                prompt = None if clips[index].return_prompt else request.prompts[index]
                cut = 0 if prompt is None else prompt.shape[1]
                samples, all_codes[index] = self._codec_thread.submit(self._decode, codes, cut).result()
                (deliver or decoded.__setitem__)(index, samples)
        except BaseException as error:
            request.fail(error)
            raise
        in_order = [decoded[index] for index in range(len(decoded))]
        in_order_codes = [all_codes[index] for index in range(len(clips))]
        return GenerationResult(in_order, request.queued_seconds, request.max_in_flight, in_order_codes)

    def close(self) -> None:
        """Stop all threads and fail every unfinished request."""
        self.engine.stop()
        self._codec_thread.shutdown()
        self._watchdog.stop()

    def tokenize(self, index: int | None, text: str | None, *, section: bool = False) -> list[int]:
        """Return the tokens of text `index`, of a section's, or of a negative prompt; none if there is no text.

        Raises PromptTooLongError if there are too many.
        """
        tokens = [] if text is None else self.text_encoder.tokenize(text)
        if len(tokens) > MAX_TEXT_TOKENS:
            raise PromptTooLongError(index, len(tokens), MAX_TEXT_TOKENS, section=section)
        return tokens

    def _encode_prompts(self, clips: list[ClipSpec]) -> list[torch.Tensor | None]:
        """Return the codes [K, n] that each clip continues, if any; each array of samples is encoded once."""
        different = {id(clip.prompt): clip.prompt for clip in clips if clip.prompt is not None}
        codes = {key: self._codec_thread.submit(self._encode, one).result() for key, one in different.items()}
        return [codes.get(id(clip.prompt)) for clip in clips]

    def _encode(self, samples: NDArray[np.float32]) -> torch.Tensor:
        """Return the codes [K, n] of samples [channels, any]; runs in the codec's thread until the device is done."""
        with self._codec_heartbeat.working(), torch.cuda.stream(self._codec_stream):
            codes = self._codec.encode(torch.as_tensor(samples, device=self.device))
            if self._step_stream is not None and self._codec_stream is not None:
                self._codec_stream.synchronize()
                codes.record_stream(self._step_stream)  # which reads them on admission
        return codes

    def _check_melodies(self, clips: list[ClipSpec]) -> None:
        """Raise MelodyUnsupportedError if a clip has a melody and the model is not a melody model."""
        if self._chroma is None and any(clip.melody is not None for clip in clips):
            raise MelodyUnsupportedError

    def _melodies(self, request: Request) -> list[tuple[torch.Tensor, ...]]:
        """Return the chroma [T, bins] of each clip's melody for each window, on the host; equal ones are computed once.

        A melody goes on from window to window, and begins again at its end, as audiocraft does it.
        """
        features: dict[tuple[int, int], torch.Tensor] = {}

        def of_window(melody: NDArray[np.float32], start: int) -> torch.Tensor:
            key = id(melody), start * self._codec.hop % melody.shape[1]
            if key not in features:
                features[key] = self._codec_thread.submit(self._features, melody, key[1]).result()
            return features[key]

        return [
            () if clip.melody is None else tuple(of_window(clip.melody, window.start) for window in windows)
            for clip, windows in zip(request.clips, request.windows, strict=True)
        ]

    def _features(self, melody: NDArray[np.float32], start: int) -> torch.Tensor:
        """Return a melody's chroma; runs in the codec's thread, as one transform's threads at a time are enough."""
        assert self._chroma is not None
        with self._codec_heartbeat.working():
            return self._chroma.features(melody, start)

    def _decode(self, codes: torch.Tensor, cut: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return a clip's samples, and its codes on the host, both without its first `cut` frames.

        Runs in the codec's thread, and returns when the device has finished.
        """
        with self._codec_heartbeat.working(), torch.cuda.stream(self._codec_stream):
            audio: NDArray[np.float32] = self._codec.decode(codes)[:, cut * self._codec.hop :].float().cpu().numpy()
            on_host: NDArray[np.int64] = codes[:, cut:].cpu().numpy()
        if not np.isfinite(audio).all():
            raise NonFiniteError("samples")
        return audio, on_host


def create_streams(device: torch.device) -> tuple[torch.cuda.Stream | None, torch.cuda.Stream | None]:
    """Return a stream for steps, and one of lower priority for the codec so that steps never wait; None on a CPU."""
    if device.type == "cpu":
        return None, None
    torch.cuda.synchronize(device)  # loading used the default stream
    return torch.cuda.Stream(device, priority=-1), torch.cuda.Stream(device, priority=0)
