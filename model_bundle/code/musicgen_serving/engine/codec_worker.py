"""EnCodec's thread: it encodes what clips continue, computes what they follow, and decodes them part by part.

One thread, because activations are large; on a GPU its stream has a lower priority than that of the steps.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from musicgen_serving.engine.errors import NonFiniteError
from musicgen_serving.engine.model.chroma import Chroma
from musicgen_serving.engine.model.codec import ChunkedDecode, Codec
from musicgen_serving.engine.request import ClipPart, Request
from musicgen_serving.engine.sampling_params import ClipSpec
from musicgen_serving.engine.watchdog import Heartbeat


@dataclass(frozen=True, eq=False)
class AudioPart:
    """Samples [channels, n] of clip `index`, from its sample `start` on; `total` are those of the whole clip."""

    index: int
    samples: NDArray[np.float32]
    start: int
    total: int

    @property
    def last(self) -> bool:
        """Whether the clip ends with it."""
        return self.start + self.samples.shape[1] == self.total


Deliver = Callable[[AudioPart], None]


class ClipDecoding:
    """A clip whose codes become samples part by part; what its first `cut` frames sound like is left out."""

    def __init__(self, decode: ChunkedDecode, cut: int, frames: int, hop: int) -> None:
        self.decode = decode
        self.codes: list[NDArray[np.int64]] = []  # [K, n] each, on the host
        self._cut = cut
        self._skip = cut * hop
        self._done = 0
        self._total = (frames - cut) * hop

    def part(self, index: int, samples: NDArray[np.float32]) -> AudioPart:
        """Return the clip's next samples [channels, n], without those to be cut."""
        skipped = min(self._skip, samples.shape[1])
        self._skip -= skipped
        part = AudioPart(index, samples[:, skipped:], self._done, self._total)
        self._done += part.samples.shape[1]
        return part

    @property
    def all_codes(self) -> NDArray[np.int64]:
        """The codes [K, frames] of what is heard."""
        return np.concatenate(self.codes, axis=1)[:, self._cut :]


class CodecWorker:
    """EnCodec with its thread. Methods may be called from any thread, and return when the device has finished."""

    def __init__(
        self, codec: Codec, chroma: Chroma | None, device: torch.device, step_stream: torch.cuda.Stream | None
    ) -> None:
        self.codec, self.chroma = codec, chroma
        self.heartbeat = Heartbeat("codec")
        codec.on_chunk = self.heartbeat.renew  # or a long clip would be taken for a hang
        self._device = device
        self._step_stream = step_stream
        self._stream = None if step_stream is None else torch.cuda.Stream(device, priority=0)
        threads = torch.get_num_threads()  # BLAS uses the machine's default in every new thread
        self._thread = ThreadPoolExecutor(1, "codec", initializer=lambda: torch.set_num_threads(threads))

    def close(self) -> None:
        """Stop the thread once it has nothing left to do."""
        self._thread.shutdown()

    def encode_prompts(self, clips: list[ClipSpec]) -> list[torch.Tensor | None]:
        """Return the codes [K, n] that each clip continues, if any; each array of samples is encoded once."""
        different = {id(clip.prompt): clip.prompt for clip in clips if clip.prompt is not None}
        codes = {key: self._thread.submit(self._encode, one).result() for key, one in different.items()}
        return [codes.get(id(clip.prompt)) for clip in clips]

    def _encode(self, samples: NDArray[np.float32]) -> torch.Tensor:
        """Return the codes [K, n] of samples [channels, any]."""
        with self.heartbeat.working(), torch.cuda.stream(self._stream):
            codes = self.codec.encode(torch.as_tensor(samples, device=self._device))
            if self._step_stream is not None and self._stream is not None:
                self._stream.synchronize()
                codes.record_stream(self._step_stream)  # which reads them on admission
        return codes

    def melodies(self, request: Request) -> list[tuple[torch.Tensor, ...]]:
        """Return the chroma [T, bins] of each clip's melody for each window, on the host; equal ones are computed once.

        A melody goes on from window to window, and begins again at its end, as audiocraft does it.
        """
        features: dict[tuple[int, int], torch.Tensor] = {}

        def of_window(melody: NDArray[np.float32], start: int) -> torch.Tensor:
            key = id(melody), start * self.codec.hop % melody.shape[1]
            if key not in features:
                features[key] = self._thread.submit(self._features, melody, key[1]).result()
            return features[key]

        return [
            () if clip.melody is None else tuple(of_window(clip.melody, window.start) for window in windows)
            for clip, windows in zip(request.clips, request.windows, strict=True)
        ]

    def _features(self, melody: NDArray[np.float32], start: int) -> torch.Tensor:
        """Return a melody's chroma. In this thread too: one transform's threads at a time are enough."""
        assert self.chroma is not None
        with self.heartbeat.working():
            return self.chroma.features(melody, start)

    def begin(self, request: Request, index: int) -> ClipDecoding:
        """Return the decoding of a request's clip, to which its parts are given."""
        prompt = request.prompts[index]
        given = 0 if prompt is None else prompt.shape[1]
        frames = given + sum(window.new for window in request.windows[index])
        cut = 0 if request.clips[index].return_prompt else given
        return ClipDecoding(self.codec.begin(), cut, frames, self.codec.hop)

    def decode(self, decoding: ClipDecoding, part: ClipPart) -> AudioPart:
        """Return what can be decoded with a clip's next codes: nothing until a chunk is complete.

        Raises NonFiniteError if samples are not finite.
        """
        return decoding.part(part.index, self._thread.submit(self._decode, decoding, part).result())

    def _decode(self, decoding: ClipDecoding, part: ClipPart) -> NDArray[np.float32]:
        """Return the samples [channels, n] of the chunks that are complete, and keep the codes on the host."""
        with self.heartbeat.working(), torch.cuda.stream(self._stream):
            chunks = list(self.codec.decode_part(decoding.decode, part.codes, last=part.last))
            empty = torch.empty(self.codec.channels, 0)
            audio: NDArray[np.float32] = torch.cat(chunks or [empty], dim=-1).float().cpu().numpy()
            # After the decode: this waits until the device has read the codes, whose memory steps may use again.
            decoding.codes.append(part.codes.cpu().numpy())
        if not np.isfinite(audio).all():
            raise NonFiniteError("samples")
        return audio
