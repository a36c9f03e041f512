"""Whether a file is music of the length that was asked for: a wav with sound in it."""

import array
import io
import sys
import wave

TOLERANCE_SECONDS = 0.1
QUIETEST_PEAK = 100  # of 32767: below that it is silence


class NotMusic(Exception):
    """What is wrong with the audio."""


def check(content: bytes, *, seconds: float, sampling_rate: int) -> float:
    """The length in seconds of 16-bit PCM in a wav file. NotMusic where it is none, too short, too long or silent."""
    try:
        with wave.open(io.BytesIO(content)) as file:
            rate, frames, width = file.getframerate(), file.getnframes(), file.getsampwidth()
            samples = file.readframes(frames)
    except (wave.Error, EOFError) as error:
        raise NotMusic(f"the audio must be a wav file of PCM samples: {error}") from error
    length = frames / rate
    if width != 2 or rate != sampling_rate:
        raise NotMusic(f"the audio must have 16 bits at {sampling_rate} Hz, got {8 * width} at {rate}")
    if abs(length - seconds) > TOLERANCE_SECONDS:
        raise NotMusic(f"the audio must last {seconds:g} s, got {length:.2f}")
    peak = _peak(samples)
    if peak < QUIETEST_PEAK:
        raise NotMusic(f"the audio must not be silent, got a peak of {peak} of 32767")
    return length


def _peak(samples: bytes) -> int:
    values = array.array("h", samples)
    if sys.byteorder == "big":
        values.byteswap()
    return max(map(abs, values), default=0)
