"""What a request asks of its audio files: format, level, fades and tags (docs/api.md, "Audio files").

soundfile and numpy are imported when a clip is encoded: multi-model-server's supervisor forks after importing this.
"""

import functools
import io
import re
import struct
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FULL_SCALE = 32767
_FULL_SCALE_24 = 2**23 - 1
NORMALIZATIONS = ("none", "clip", "peak", "rms", "loudness")
MAX_FADE_SECONDS = 30
MAX_TITLE, MAX_COMMENT = 200, 500  # characters
# libvorbis keeps a whole write on the stack: 300 s of stereo in one overflow a thread's 8 MB.
_BLOCK = 65536  # samples per channel


class AudioError(Exception):
    """A clip could not be turned into a file."""


@dataclass(frozen=True)
class AudioFormat:
    """A file format, as libsndfile names it, and the oldest libsndfile that writes it."""

    suffix: str
    content_type: str
    container: str
    subtype: str
    since: str


FORMATS = {
    "wav": AudioFormat("wav", "audio/wav", "WAV", "PCM_16", "1.0.0"),
    "wav_24": AudioFormat("wav", "audio/wav", "WAV", "PCM_24", "1.0.0"),
    "wav_float": AudioFormat("wav", "audio/wav", "WAV", "FLOAT", "1.0.0"),
    "flac": AudioFormat("flac", "audio/flac", "FLAC", "PCM_16", "1.0.18"),
    "flac_24": AudioFormat("flac", "audio/flac", "FLAC", "PCM_24", "1.0.18"),
    "ogg": AudioFormat("ogg", "audio/ogg", "OGG", "VORBIS", "1.0.18"),
    "mp3": AudioFormat("mp3", "audio/mpeg", "MP3", "MPEG_LAYER_III", "1.1.0"),
}


@dataclass(frozen=True)
class Tags:
    """What a file says about itself: texts of bounded length, without control characters."""

    title: str
    comment: str
    license: str

    @classmethod
    def of(cls, prompt: str, seed: int, model: str, revision: str, weights_license: str) -> "Tags":
        """Return the tags of one clip; one without a text has no title."""
        comment = f"seed {seed}; {model} at {revision[:12]}; weights: {weights_license or 'licence unknown'}"
        return cls(_line(prompt, MAX_TITLE), _line(comment, MAX_COMMENT), _line(weights_license, MAX_TITLE))


@dataclass(frozen=True, kw_only=True)
class AudioOutput:
    """How a request's clips are processed and encoded; the default is 16-bit WAV at the model's own level."""

    format: str = "wav"
    normalization: str = "none"
    fade_in: float = 0.0  # seconds
    fade_out: float = 0.0
    trim_tail: bool = False
    tags: bool = False

    @property
    def file(self) -> AudioFormat:
        """The format of the files."""
        return FORMATS[self.format]

    @property
    def unavailable(self) -> str | None:
        """Why this container cannot write the files, or None if it can. Plain 16-bit WAV needs no library."""
        return None if self.format == "wav" and not self.tags else missing_formats().get(self.format)

    @property
    def streams(self) -> bool:
        """Whether the first bytes of a clip's file are known before its last samples are: if nothing needs them all."""
        return self.format == "wav" and not (self.tags or self.trim_tail) and self.normalization in ("none", "clip")

    def render(
        self, samples: "NDArray[np.float32]", rate: int, start: int = 0, total: int | None = None
    ) -> "NDArray[np.float32]":
        """Return the clip [channels, samples], all finite, trimmed, faded, then brought to its level.

        If `streams`, it may also be a part of a clip of `total` samples, from its sample `start` on.
        """
        if self == AudioOutput(format=self.format, tags=self.tags):
            return samples
        from musicgen_serving import audio_processing as processing

        if self.trim_tail:
            samples = processing.trim_tail(samples, rate)
        samples = processing.fade(samples, round(self.fade_in * rate), round(self.fade_out * rate), start, total)
        return processing.normalize(samples, rate, self.normalization)

    def encode(self, samples: "NDArray[np.float32]", rate: int, tags: Tags | None = None) -> bytes:
        """Return `samples` [channels, samples] as a file with `tags`; all but wav_float clip values outside ±1.

        Raises AudioError if libsndfile refuses, for example a rate that the format does not have.
        """
        if self.format == "wav" and tags is None:
            return wav_bytes(samples, rate)
        import soundfile

        buffer, kind = io.BytesIO(), self.file
        data: Any = _sample_values(samples, kind.subtype).T
        try:
            with soundfile.SoundFile(
                buffer, "w", rate, samples.shape[0], subtype=kind.subtype, format=kind.container
            ) as file:
                for name, text in vars(tags).items() if tags and kind.container != "MP3" else ():
                    if text and (name != "license" or kind.container != "WAV"):  # WAV has no such field
                        setattr(file, name, text)
                for start in range(0, len(data), _BLOCK):
                    file.write(data[start : start + _BLOCK])
        except (soundfile.SoundFileError, RuntimeError) as error:
            raise AudioError(f"libsndfile could not write {self.format} at {rate} Hz: {error}") from error
        return (_id3(tags) if tags and kind.container == "MP3" else b"") + buffer.getvalue()


@functools.cache
def missing_formats() -> dict[str, str]:
    """Return why this container cannot write a format, by the format's name; empty if it can write all."""
    try:
        import soundfile
    except (ImportError, OSError) as error:  # OSError: soundfile without its shared library
        return dict.fromkeys(FORMATS, f"the container has no working soundfile ({error})")
    found = soundfile.__libsndfile_version__
    return {
        name: f"the container's libsndfile {found} cannot write it; {kind.since} or later, built with the codec, can"
        for name, kind in FORMATS.items()
        if not soundfile.check_format(kind.container, kind.subtype)
    }


def writable_formats() -> list[str]:
    """Return the formats that this container can write."""
    return [name for name in FORMATS if AudioOutput(format=name).unavailable is None]


def wav_bytes(samples: "NDArray[np.float32]", sampling_rate: int) -> bytes:
    """Return `samples` [channels, samples] as a 16-bit PCM WAV file; values outside ±1 are clipped."""
    return wav_header(samples.shape[0], samples.shape[1], sampling_rate) + wav_frames(samples)


def wav_header(channels: int, frames: int, sampling_rate: int) -> bytes:
    """Return the header of a 16-bit PCM WAV file of `frames` samples of each channel."""
    frame = 2 * channels  # bytes
    size = frames * frame
    of_format = (b"fmt ", 16, 1, channels, sampling_rate, sampling_rate * frame, frame, 16)
    return struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + size, b"WAVE", *of_format, b"data", size)


def wav_frames(samples: "NDArray[np.float32]") -> bytes:
    """Return `samples` [channels, samples] as the data of a 16-bit PCM WAV file."""
    return _sample_values(samples, "PCM_16").T.tobytes()


def _id3(tags: Tags) -> bytes:
    """Return an ID3v2.3 tag in UTF-16: libsndfile would label UTF-8 as Latin-1. https://id3.org/id3v2.3.0"""
    texts = {"TIT2": tags.title, "TCOP": tags.license, "COMM": tags.comment}
    frames = b""
    for name, text in texts.items():
        if text:
            head = b"\x01" + (b"eng\xff\xfe\x00\x00" if name == "COMM" else b"")  # language, and no description
            body = head + b"\xff\xfe" + text.encode("utf-16-le")
            frames += name.encode() + len(body).to_bytes(4, "big") + b"\x00\x00" + body
    size = bytes(len(frames) >> shift & 0x7F for shift in (21, 14, 7, 0))  # seven bits to a byte
    return b"ID3\x03\x00\x00" + size + frames


def _sample_values(samples: "NDArray[np.float32]", subtype: str) -> "NDArray[Any]":
    """Return samples in the type that is written; 24 bits are the upper ones of 32, as libsndfile takes them."""
    if subtype == "PCM_16":
        return (samples.clip(-1.0, 1.0) * FULL_SCALE).round().astype("<i2")
    if subtype == "PCM_24":
        return (samples.astype("f8").clip(-1.0, 1.0) * _FULL_SCALE_24).round().astype("i4") << 8
    return samples if subtype == "FLOAT" else samples.clip(-1.0, 1.0)


def _line(text: str, limit: int) -> str:
    """Return text on one line of at most `limit` characters, without control and format characters."""
    printable = "".join(" " if unicodedata.category(character) in _UNPRINTED else character for character in text)
    line = re.sub(r"\s+", " ", printable).strip()
    return line if len(line) <= limit else line[: limit - 1] + "…"


_UNPRINTED = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))
