"""Text to samples: the engine with its tokenizer, text encoder, decoder and codec, loaded once."""

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import MusicgenConfig

from musicgen_serving.engine.batch import Batch
from musicgen_serving.engine.clip import Clip, Ticket
from musicgen_serving.engine.codec import Codec
from musicgen_serving.engine.decode_loop import DecodeLoop
from musicgen_serving.engine.decoder_config import DecoderConfig, decoder_config, read_config
from musicgen_serving.engine.decoder_weights import load_decoder
from musicgen_serving.engine.engine import Engine
from musicgen_serving.engine.memory import free_bytes, slots_that_fit
from musicgen_serving.engine.slots import allocate, bytes_per_slot
from musicgen_serving.engine.text_encoder import TextEncoder
from musicgen_serving.engine.weight_files import WeightFiles
from musicgen_serving.errors import InvalidRequestError, NotFiniteError
from musicgen_serving.json_log import JsonLog
from musicgen_serving.parameters import MAX_NEW_TOKENS, GenerationParams
from musicgen_serving.request import MAX_TEXTS

MAX_TEXT_TOKENS = 512
MAX_SLOTS = 32  # beyond it attention reads more than the weights, and a step grows with every clip
GRANULES = {"cuda": 256, "cpu": 32}  # to which attention's length is rounded up
WARM_UP = Clip("warm up", 0, GenerationParams(max_new_tokens=8))


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """How much is made at once: clips in flight, and further ones that may wait."""

    slots: int = 8
    waiting: int = 16 * MAX_TEXTS

    @classmethod
    def for_requests(cls, requests: int) -> "Capacity":
        """Enough for every request in flight to have a clip in a slot and all the others waiting."""
        return cls(slots=min(max(requests, 8), MAX_SLOTS), waiting=requests * MAX_TEXTS)


@dataclass(frozen=True)
class Made:
    """A request's clips, [channels, samples] each; its wait for a slot, and the most clips made at once beside it."""

    clips: list[NDArray[np.float32]]
    queued_seconds: float
    most_in_flight: int


class Generator:
    """The model on its device; `generate` may be called from any thread, and what is called at once runs together."""

    def __init__(self, folder: Path, *, decoder_dtype: str, capacity: Capacity, log: JsonLog) -> None:
        """Load, start the engine and prove it with a short clip."""
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        dtype = torch.float16 if decoder_dtype == "float16" and self.device.type == "cuda" else torch.float32
        started = time.monotonic()
        sizes = decoder_config(read_config(folder))
        config = MusicgenConfig.from_pretrained(folder, local_files_only=True)  # pyright: ignore[reportUnknownMemberType]
        with WeightFiles(folder) as files:
            self._text_encoder = TextEncoder(folder, config, files, self.device)
            self._codec = Codec(config, files, sizes.channels, self.device)
            weights = load_decoder(files, sizes, self.device, dtype, MAX_NEW_TOKENS)
            _log_load(log, files.bytes_read, time.monotonic() - started, self.device)
        self._codec_lock = threading.Lock()
        self.sampling_rate = self._codec.sampling_rate
        count = slots_that_fit(capacity.slots, _slot_bytes(sizes, dtype), free_bytes(self.device))
        slots = allocate(sizes, count, MAX_NEW_TOKENS, MAX_TEXT_TOKENS, self.device, dtype)
        self.batch = Batch(DecodeLoop(sizes, weights, slots), GRANULES[self.device.type])
        self.engine = Engine(
            self.batch, self._text_encoder.encode, most_waiting=capacity.waiting, log=log, on_death=_end_process
        )
        self.engine.start()
        self.generate([WARM_UP])

    def generate(self, clips: list[Clip], abandoned: Callable[[], bool] | None = None) -> Made:
        """Make clips.

        Raises InvalidRequestError for a text of too many tokens, NoRoomError, AbandonedError once `abandoned` says
        that nobody waits, NotFiniteError.
        """
        ticket = Ticket(clips, [self.tokens(index, clip.text) for index, clip in enumerate(clips)])
        self.engine.submit(ticket)
        codes = ticket.wait(abandoned)
        return Made([self._samples(one) for one in codes], ticket.queued_seconds, ticket.most_in_flight)

    def close(self) -> None:
        """End the engine."""
        self.engine.stop()

    def tokens(self, index: int, text: str) -> list[int]:
        """The tokens of text `index`; InvalidRequestError where they are too many."""
        tokens = self._text_encoder.tokenize(text)
        if len(tokens) > MAX_TEXT_TOKENS:
            raise InvalidRequestError(f"texts[{index}] must be at most {MAX_TEXT_TOKENS} tokens, got {len(tokens)}")
        return tokens

    def _samples(self, codes: torch.Tensor) -> NDArray[np.float32]:
        with self._codec_lock:  # its activations are large: one clip at a time
            audio: NDArray[np.float32] = self._codec.decode(codes).float().cpu().numpy()
        if not np.isfinite(audio).all():
            raise NotFiniteError("the codec's samples must be finite, got NaN or infinity")
        return audio


def _slot_bytes(sizes: DecoderConfig, dtype: torch.dtype) -> int:
    return bytes_per_slot(sizes, MAX_NEW_TOKENS, MAX_TEXT_TOKENS, dtype)


def _log_load(log: JsonLog, size: int, seconds: float, device: torch.device) -> None:
    rate = round(size / seconds / 1e9, 3)
    log.write("loaded", bytes=size, seconds=round(seconds, 3), gigabytes_per_second=rate, device=str(device))


def _end_process() -> None:
    """End at once: the supervisor starts a new worker, and a server without an engine could only fail."""
    os._exit(1)
