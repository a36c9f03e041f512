"""Clips in every file format, as the container writes them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from musicgen_client.clip import read_clip
from musicgen_client.errors import CorruptAudio
from musicgen_client.requests.request import FORMATS
from musicgen_client.ui import views
from musicgen_serving.audio_output import FORMATS as WRITTEN
from musicgen_serving.audio_output import AudioOutput, Tags

RATE = 32000
SAMPLES = (0.5 * np.sin(np.arange(RATE) / 20)).astype(np.float32)[None]
RESPONSE: dict[str, Any] = {
    "generated_outputs_s3": ["s3://out/audio/a/clip"], "sampling_rate": RATE, "durations": [1.0], "seeds": [7],
    "inference_id": "a",
}  # fmt: skip


@pytest.mark.parametrize("tags", [None, Tags.of("piano", 7, "m", "r", "CC-BY-NC-4.0")], ids=["plain", "tagged"])
@pytest.mark.parametrize("name", FORMATS)
def test_a_clip_of_every_format_is_saved_under_its_suffix(name: str, tags: Tags | None, tmp_path: Path) -> None:
    file = AudioOutput(format=name).encode(SAMPLES, RATE, tags)
    clip = read_clip(file, RESPONSE, "piano", 0, name)
    saved = clip.save(tmp_path)
    assert saved.name == f"a_0_seed7.{WRITTEN[name].suffix}" and saved.read_bytes() == file
    assert (clip.duration, clip.content_type) == (1.0, WRITTEN[name].content_type)
    assert f"data:{clip.content_type};base64," in clip._repr_html_()  # pyright: ignore[reportPrivateUsage]
    page = views.clips((clip,), tmp_path)
    assert f"{saved.name}" in page and ("spectrogram" in page) == (name == "wav")
    if name == "wav":
        np.testing.assert_allclose(clip.samples, SAMPLES, atol=1e-4)
    else:
        assert clip.waveform_svg() == ""
        with pytest.raises(ValueError, match=f"needs the format wav, got {name}"):
            _ = clip.samples


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_not_the_format_is_corrupt(name: str) -> None:
    with pytest.raises(CorruptAudio, match="s3://out/audio/a/clip"):
        read_clip(b"junk" * 100, RESPONSE, "piano", 0, name)


def test_a_wav_of_another_width_is_corrupt() -> None:
    file = AudioOutput(format="wav").encode(SAMPLES, RATE)
    with pytest.raises(CorruptAudio, match="must have 24 bits at 32000 Hz, got 16 bits at 32000 Hz"):
        read_clip(file, RESPONSE, "piano", 0, "wav_24")
