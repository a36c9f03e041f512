"""Audio that a request brings: read it from S3 or its bytes, decode an excerpt, mix and resample it.

A file is hostile until it is decoded. It must start as one of four formats does, libsndfile must take it for the same
one, and it is decoded a block at a time up to the excerpt's end; nothing is allocated by what its header claims.
soundfile, scipy and numpy are imported here, when a file is decoded: multi-model-server's supervisor forks after
importing this.
"""

import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from musicgen_serving.audio_download import AudioSource, DownloadRefusedError
from musicgen_serving.http.errors import InvalidRequestError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_FILE_BYTES = 25 * 2**20
MAX_SECONDS = 600  # of a file, up to the excerpt's end
MAX_DECODED = 64 * 2**20  # samples of all channels up to the excerpt's end: 699 s in stereo at 48 kHz, 2 s of a CPU
MIN_RATE, MAX_RATE = 8000, 192_000
MAX_CHANNELS = 8
MAX_LEVEL = 8.0  # of floats; full scale is 1
BLOCK = 65536  # samples of each channel

# What libsndfile calls a file of each format: its containers, and its encodings.
_PCM = frozenset(("PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32"))
_FORMATS = {
    "wav": (("WAV", "WAVEX"), _PCM | {"FLOAT", "DOUBLE"}),
    "flac": (("FLAC",), _PCM),
    "ogg": (("OGG",), frozenset(("VORBIS", "OPUS"))),
    "mp3": (("MP3",), frozenset(("MPEG_LAYER_III",))),
}


@dataclass(frozen=True, kw_only=True)
class AudioReference:
    """Where a request's audio is, `s3` or `data`, and which excerpt of it, in seconds, is meant; `end` None is its end.

    `field` is its name in the request. The excerpt may have up to `max_seconds`.
    """

    field: str
    max_seconds: float
    s3: str | None = None  # s3://bucket/key
    data: bytes = b""
    start: float = 0.0
    end: float | None = None


@dataclass(frozen=True)
class AudioInput:
    """Loads audio at the model's sampling rate, with the model's number of channels."""

    source: AudioSource
    rate: int
    channels: int

    def load(self, reference: AudioReference) -> "NDArray[np.float32]":
        """Return the excerpt's samples [channels, n] at `rate`, n ≥ 1.

        Raises InvalidRequestError with a sentence that names the field, DownloadError if S3 fails.
        """
        try:
            data = self.source.read(reference.s3, MAX_FILE_BYTES) if reference.s3 else reference.data
        except DownloadRefusedError as error:
            raise InvalidRequestError(f"{reference.field}.audio.s3 {error}") from error
        samples, rate = _decode(data, reference, self.channels)
        return _resample(samples, rate, self.rate)


def _decode(data: bytes, reference: AudioReference, channels: int) -> tuple["NDArray[np.float32]", int]:
    """Return the excerpt [channels, n] at the file's own rate, and that rate."""
    import numpy as np

    try:
        import soundfile
    except (ImportError, OSError) as error:  # OSError: soundfile without its shared library
        raise InvalidRequestError(
            f"{reference.field} cannot be used: the container has no working soundfile ({error})"
        ) from error
    field, kind = f"{reference.field}.audio", _format_of(data)
    if kind is None:
        raise InvalidRequestError(f"{field} must be a WAV, FLAC, Ogg or MP3 file, got another one of {len(data)} bytes")
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            first, stop = _check_header(file, kind, reference)
            blocks = list(_blocks(file, first, stop, channels, field))
            rate = int(file.samplerate)
    except (soundfile.SoundFileError, RuntimeError, ValueError, OverflowError) as error:
        reason = getattr(error, "error_string", str(error)).rstrip(".")
        raise InvalidRequestError(f"{field} must be a valid {kind.upper()} file, libsndfile says: {reason}") from error
    if not blocks:
        raise InvalidRequestError(f"{field} must have samples after {reference.start:g} s, got none")
    samples = np.concatenate(blocks, axis=1)
    if reference.end is None and samples.shape[1] > reference.max_seconds * rate:
        raise InvalidRequestError(
            f"{reference.field} must be at most {reference.max_seconds:g} s of its audio, got more; set start and end"
        )
    return samples, rate


def _format_of(data: bytes) -> str | None:
    """Return the format that a file starts as, None if it is none of the four."""
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        return "wav"
    for name, magic in (("flac", b"fLaC"), ("ogg", b"OggS"), ("mp3", b"ID3")):
        if data.startswith(magic):
            return name
    # MPEG's frame header: 11 bits of sync, and layer III
    return "mp3" if len(data) > 4 and data[0] == 0xFF and data[1] & 0xE6 == 0xE2 else None


def _check_header(file: Any, kind: str, reference: AudioReference) -> tuple[int, int]:
    """Return the excerpt's first sample and the one to stop before; InvalidRequestError if the file is not allowed.

    Without an end, one more sample is read than is allowed, which tells that there are more.
    """
    field = f"{reference.field}.audio"
    containers, encodings = _FORMATS[kind]
    if file.format not in containers or file.subtype not in encodings:
        allowed = ", ".join(sorted(encodings))
        got = f"{file.format} with {file.subtype}"
        raise InvalidRequestError(f"{field} must be {kind.upper()} with one of {allowed}, got {got}")
    rate, channels = int(file.samplerate), int(file.channels)
    if not MIN_RATE <= rate <= MAX_RATE:
        raise InvalidRequestError(f"{field} must have from {MIN_RATE} to {MAX_RATE} samples a second, got {rate}")
    if not 1 <= channels <= MAX_CHANNELS:
        raise InvalidRequestError(f"{field} must have from 1 to {MAX_CHANNELS} channels, got {channels}")
    first = round(reference.start * rate)
    if reference.end is None:
        stop = first + math.floor(reference.max_seconds * rate) + 1
    else:
        stop = max(round(reference.end * rate), first + 1)
    if stop * channels > MAX_DECODED:
        seconds = MAX_DECODED / channels / rate
        raise InvalidRequestError(
            f"{reference.field} must end within the first {seconds:.0f} s of {channels} channels at {rate} Hz, "
            f"got {stop / rate:.0f} s"
        )
    return first, stop


def _blocks(file: Any, first: int, stop: int, channels: int, field: str) -> Iterator["NDArray[np.float32]"]:
    """Yield the samples from `first` until `stop` or the file's end, a block [channels, n] at a time."""
    import numpy as np

    at = 0
    while at < stop:
        block = file.read(min(BLOCK, stop - at), dtype="float32", always_2d=True)
        count = len(block)
        if not count:
            return
        block, at = block[max(first - at, 0) :], at + count
        if not len(block):
            continue
        level = float(np.abs(block).max())
        if not level <= MAX_LEVEL:  # not NaN either
            raise InvalidRequestError(f"{field} must have samples within ±{MAX_LEVEL:g} (full scale is 1), got {level}")
        yield _mix(block.T, channels)


def _mix(samples: "NDArray[np.float32]", channels: int) -> "NDArray[np.float32]":
    """Return samples [any, n] as [channels, n], as audiocraft does: mean, copy, or the first channels.

    https://github.com/facebookresearch/audiocraft/blob/main/audiocraft/data/audio_utils.py (convert_audio_channels)
    """
    if channels == 1:
        return samples.mean(axis=0, keepdims=True)
    return samples.repeat(channels, axis=0) if len(samples) == 1 else samples[:channels].copy()


def _resample(samples: "NDArray[np.float32]", rate: int, wanted: int) -> "NDArray[np.float32]":
    """Return samples [channels, n] at another rate, by scipy's polyphase filter."""
    if rate == wanted:
        return samples
    import scipy.signal

    signal: Any = scipy.signal  # it has no types
    common = math.gcd(rate, wanted)
    return signal.resample_poly(samples, wanted // common, rate // common, axis=1).astype("float32")
