"""Whether a file is the audio that was asked for."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import soundfile

from local_aws.walkthrough.report import StepFailed

FRAME_SECONDS = 1 / 50  # EnCodec at 32 kHz makes 50 frames a second


@dataclass(frozen=True)
class Clip:
    """What a wav holds."""

    seconds: float
    sampling_rate: int
    channels: int
    peak: float


def read_clip(data: bytes, expected_seconds: float) -> Clip:
    """Decode a wav and check its length to one EnCodec frame.

    Raises:
        StepFailed: when it is not audio, is silent, holds a value that is no number, or has another length.
    """
    try:
        samples, rate = soundfile.read(io.BytesIO(data), always_2d=True, dtype="float32")
    except soundfile.LibsndfileError as error:
        raise StepFailed(f"the result is not audio: {error}") from error
    clip = Clip(len(samples) / rate, rate, samples.shape[1], float(np.abs(samples).max(initial=0)))
    if not np.isfinite(samples).all() or clip.peak == 0:
        raise StepFailed(f"the clip must hold sound, got a peak of {clip.peak}")
    if abs(clip.seconds - expected_seconds) > FRAME_SECONDS:
        raise StepFailed(f"the clip must last {expected_seconds:.2f} s, got {clip.seconds:.2f} s")
    return clip
