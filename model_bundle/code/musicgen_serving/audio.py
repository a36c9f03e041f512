"""Samples to a WAV file, with nothing beyond the standard library and numpy."""

import io
import wave

import numpy as np
from numpy.typing import NDArray

FULL_SCALE = 32767


def wav_bytes(samples: NDArray[np.float32], sampling_rate: int) -> bytes:
    """A 16-bit PCM WAV file of `samples` [channels, samples], full scale at ±1; what is beyond is clipped."""
    clipped = np.clip(samples, -1.0, 1.0)
    pcm = np.round(clipped * FULL_SCALE).astype("<i2")
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(samples.shape[0])
        file.setsampwidth(2)
        file.setframerate(sampling_rate)
        file.writeframes(pcm.T.tobytes())
    return buffer.getvalue()
