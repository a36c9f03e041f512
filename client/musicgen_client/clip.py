"""A generated clip: its file, samples, seed and metadata, with a player and a waveform in notebooks."""

import array
import base64
import html
import io
import os
import sys
import tempfile
import wave
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from musicgen_client.errors import CorruptAudio

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_WIDTH, _HEIGHT = 600, 80  # of the waveform
# How the files of formats begin that Python's `wave` cannot read.
_BEGINNINGS = {
    "wav_float": (b"RIFF",), "flac": (b"fLaC",), "flac_24": (b"fLaC",), "ogg": (b"OggS",), "mp3": (b"ID3", b"\xff"),
}  # fmt: skip
_CONTENT_TYPES = {"wav": "audio/wav", "flac": "audio/flac", "ogg": "audio/ogg", "mp3": "audio/mpeg"}


@dataclass(frozen=True)
class Clip:
    """One clip of a request. `wav` is the file as the container wrote it: 16-bit WAV unless `format` says otherwise.

    Its `channels` are interleaved.
    """

    wav: bytes = field(repr=False)
    prompt: str
    seed: int
    rate: int  # samples per second
    duration: float  # seconds
    inference_id: str
    index: int
    url: str = ""  # s3://
    metadata: dict[str, Any] = field(default_factory=dict[str, Any], repr=False)  # the response
    format: str = "wav"  # as in the request
    channels: int = 1  # 2 in stereo

    @property
    def suffix(self) -> str:
        """The file's suffix: wav, flac, ogg or mp3."""
        return self.format.partition("_")[0]

    @property
    def content_type(self) -> str:
        """The file's media type."""
        return _CONTENT_TYPES[self.suffix]

    @property
    def samples(self) -> "NDArray[np.float32]":
        """The samples from -1 to 1, float32 [channels, samples]; needs NumPy. ValueError unless it is 16-bit WAV."""
        import numpy as np

        if self.format != "wav":
            raise ValueError(f"samples needs the format wav, got {self.format}; read clip.wav with soundfile")

        channels, values = _values(self.wav)
        return np.frombuffer(values, np.int16).reshape(-1, channels).T.astype(np.float32) / np.float32(32768)

    @property
    def file_name(self) -> str:
        """A file name that no other clip has."""
        return f"{self.inference_id}_{self.index}_seed{self.seed}.{self.suffix}"

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the file to a path, or under its own name into a folder; return the file's path.

        A reader sees the whole file or none: it is written under another name first.
        """
        target = Path(path)
        if target.is_dir():
            target = target / self.file_name
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=".musicgen-", suffix=".part")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(self.wav)
            Path(temporary).replace(target)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        return target

    def waveform_svg(self) -> str:
        """Return the waveform as an SVG image; nothing unless the file is 16-bit WAV."""
        if self.format != "wav":
            return ""
        channels, values = _values(self.wav)
        values = values[::channels]
        step = max(1, len(values) // _WIDTH)
        middle = _HEIGHT / 2
        lines: list[str] = []
        for x, start in enumerate(range(0, len(values), step)):
            part = values[start : start + step]
            high, low = (middle * (1 - value / 32768) for value in (max(part), min(part)))
            lines.append(f"M{x} {high:.1f}V{max(low, high + 0.5):.1f}")
        view = f'viewBox="0 0 {max(1, len(lines))} {_HEIGHT}" preserveAspectRatio="none"'
        size = f'width="{_WIDTH}" height="{_HEIGHT}"'
        path = f'<path stroke="currentColor" d="{"".join(lines)}"/>'
        return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {view}>{path}</svg>'

    def _repr_html_(self) -> str:
        audio = base64.b64encode(self.wav).decode()
        caption = (
            f"{html.escape(self.prompt)} ({self.duration:.2f} s, seed {self.seed}, {html.escape(self.inference_id)})"
        )
        player = f'<audio controls src="data:{self.content_type};base64,{audio}"></audio>'
        return f"<figure>{self.waveform_svg()}<br>{player}<figcaption>{caption}</figcaption></figure>"


def read_clip(wav: bytes, response: dict[str, Any], prompt: str, index: int, audio_format: str = "wav") -> Clip:
    """Return clip `index` of a response; CorruptAudio unless the file is what the response describes.

    Of a format that only libraries read, no more than the beginning is checked.
    """
    url = response["generated_outputs_s3"][index]
    rate, seconds = int(response["sampling_rate"]), float(response["durations"][index])
    channels = int(response.get("channels", 1))
    if beginnings := _BEGINNINGS.get(audio_format):
        if not wav.startswith(beginnings):
            raise CorruptAudio(f"{url} is not a file of the format {audio_format}")
    else:
        seconds, found = _wav_properties(wav, url, rate, seconds, 3 if audio_format == "wav_24" else 2)
        if found != (channels := int(response.get("channels", found))):  # older bundles do not say
            raise CorruptAudio(f"{url} must have {channels} channel{'s' * (channels > 1)}, got {found}")
    return Clip(
        wav=wav, prompt=prompt, seed=int(response["seeds"][index]), rate=rate, duration=seconds,
        inference_id=str(response.get("inference_id", "")), index=index, url=url, metadata=response,
        format=audio_format, channels=channels,
    )  # fmt: skip


def _wav_properties(wav: bytes, url: str, rate: int, expected: float, width: int) -> tuple[float, int]:
    """Return seconds and channels of a WAV file; CorruptAudio unless it has the rate, bytes per sample and length."""
    try:
        with wave.open(io.BytesIO(wav)) as file:
            found = file.getframerate(), file.getsampwidth()
            frames, channels = file.getnframes(), file.getnchannels()
            complete = len(file.readframes(frames)) == frames * channels * file.getsampwidth()
    except (wave.Error, EOFError) as error:
        raise CorruptAudio(f"{url} is not a WAV file: {error}") from error
    if found != (rate, width):
        raise CorruptAudio(f"{url} must have {8 * width} bits at {rate} Hz, got {8 * found[1]} bits at {found[0]} Hz")
    if not complete or abs(frames / rate - expected) > 0.02:
        raise CorruptAudio(f"{url} must last {expected:.2f} s, got {frames / rate:.2f} s, or an incomplete file")
    return frames / rate, channels


def _values(wav: bytes) -> tuple[int, "array.array[int]"]:
    with wave.open(io.BytesIO(wav)) as file:
        values = array.array("h", file.readframes(file.getnframes()))
        if sys.byteorder == "big":
            values.byteswap()
        return file.getnchannels(), values
