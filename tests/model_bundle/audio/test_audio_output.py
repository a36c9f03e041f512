"""Audio files: every format read back, tags, and what a container cannot write."""

import builtins
import io
import subprocess
import sys
import wave
from typing import Any

import numpy as np
import pytest
import soundfile

from musicgen_serving.audio_output import (
    FORMATS,
    MAX_COMMENT,
    MAX_TITLE,
    AudioError,
    AudioOutput,
    Tags,
    missing_formats,
    wav_bytes,
    writable_formats,
)

RATE = 32000
TIME = np.arange(RATE) / RATE
STEREO = np.stack([0.5 * np.sin(2 * np.pi * 440 * TIME), 0.3 * np.sin(2 * np.pi * 330 * TIME)]).astype(np.float32)
ERROR = {"wav": 1.6e-5, "wav_24": 2e-7, "wav_float": 0, "flac": 1.6e-5, "flac_24": 2e-7, "ogg": 0.05, "mp3": 0.05}


def read(file: bytes) -> tuple[Any, Any]:
    """Return the samples [channels, samples] and the open file's properties."""
    opened: Any = soundfile.SoundFile(io.BytesIO(file))
    return opened.read(dtype="float32", always_2d=True).T, opened


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("name", FORMATS)
def test_every_format_keeps_length_rate_and_sound(name: str, channels: int) -> None:
    clip = STEREO[:channels]
    samples, file = read(AudioOutput(format=name).encode(clip, RATE))
    assert (samples.shape, file.samplerate) == (clip.shape, RATE)
    assert (file.format, file.subtype) == (FORMATS[name].container, FORMATS[name].subtype)
    np.testing.assert_allclose(samples, clip, rtol=0, atol=ERROR[name] * (2 if name in ("wav", "flac") else 1))


def test_sixteen_bit_flac_holds_the_samples_of_the_default_wav() -> None:
    flac, _ = read(AudioOutput(format="flac").encode(STEREO, RATE))
    wav, _ = read(wav_bytes(STEREO, RATE))
    assert (flac == wav).all()


@pytest.mark.parametrize("name", FORMATS)
def test_only_floats_keep_what_exceeds_full_scale(name: str) -> None:
    samples, _ = read(AudioOutput(format=name).encode(STEREO * 4, RATE))
    assert np.abs(samples).max() == pytest.approx(2 if name == "wav_float" else 1, abs=0.2)


def test_the_default_is_the_wav_file_as_before_byte_for_byte() -> None:
    output = AudioOutput()
    assert output.render(STEREO, RATE) is STEREO
    pcm = (STEREO.clip(-1, 1) * 32767).round().astype("<i2")
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((2, 2, RATE, 0, "NONE", ""))
        file.writeframes(pcm.T.tobytes())
    assert output.encode(STEREO, RATE) == buffer.getvalue()


def test_trims_before_it_fades_and_fades_before_it_measures_the_level() -> None:
    noise = 0.05 * np.random.default_rng(3).standard_normal((1, RATE // 2))
    clip = np.concatenate([np.tile(STEREO[:1], 3), noise], axis=1).astype(np.float32)
    output = AudioOutput(trim_tail=True, fade_in=0.5, fade_out=1, normalization="peak")
    rendered = output.render(clip, RATE)
    assert rendered.shape[1] < 3.05 * RATE
    assert rendered[0, 0] == rendered[0, -1] == 0
    assert np.abs(rendered).max() == pytest.approx(10 ** (-1 / 20), rel=1e-5)


def test_an_unknown_rate_is_an_error_with_a_sentence() -> None:
    with pytest.raises(AudioError, match="libsndfile could not write mp3 at 12345 Hz: "):
        AudioOutput(format="mp3").encode(STEREO, 12345)


WRITE_300_S = """
import sys, threading
import numpy as np
from musicgen_serving.audio_output import AudioOutput
samples = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 300 * 32000)).astype(np.float32)
written = []
thread = threading.Thread(target=lambda: written.append(len(AudioOutput(format="ogg").encode(samples, 32000))))
thread.start(); thread.join()
print(written)
"""


def test_a_long_ogg_file_does_not_overflow_a_threads_stack() -> None:
    """libvorbis keeps one write on the stack: without blocks this process dies of SIGSEGV."""
    done = subprocess.run(
        [sys.executable, "-c", WRITE_300_S], capture_output=True, text=True, timeout=120, check=False,
        env={"PYTHONPATH": ":".join(sys.path), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.strip("[]\n")) > 1_000_000


TAGS = Tags.of("calm\npiano, 雨 ☂", 7, "facebook/musicgen-small", "0123456789abcdef", "CC-BY-NC-4.0 (model weights)")


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_carries_title_seed_model_and_licence(name: str) -> None:
    file_bytes = AudioOutput(format=name, tags=True).encode(STEREO, RATE, TAGS)
    samples, file = read(file_bytes)
    assert samples.shape == STEREO.shape
    found = file.copy_metadata()
    if name == "mp3":
        assert b"TCOP" in file_bytes
    assert found["title"] == "calm piano, 雨 ☂"
    assert found["comment"] == (
        "seed 7; facebook/musicgen-small at 0123456789ab; weights: CC-BY-NC-4.0 (model weights)"
    )
    if name in ("flac", "flac_24", "ogg"):
        assert found["license"] == "CC-BY-NC-4.0 (model weights)"


def test_tags_are_bounded_and_have_no_control_characters() -> None:
    tags = Tags.of("a\x00\x1b[31m\u202eb\u2028c" + "é" * 2000, 1, "m" * 2000, "r", "l\r\n" * 2000)
    assert tags.title.startswith("a [31m b cé") and len(tags.title) == MAX_TITLE and tags.title[-1] == "…"
    assert len(tags.comment) == MAX_COMMENT and len(tags.license) == MAX_TITLE
    assert all(character.isprintable() for text in vars(tags).values() for character in text)
    for name in FORMATS:
        assert read(AudioOutput(format=name).encode(STEREO, RATE, tags))[0].shape == STEREO.shape


def test_a_clip_without_a_text_or_a_known_licence_has_no_such_tags() -> None:
    tags = Tags.of("", 3, "m", "r", "")
    assert (tags.title, tags.comment, tags.license) == ("", "seed 3; m at r; weights: licence unknown", "")
    found = read(AudioOutput(format="flac").encode(STEREO, RATE, tags))[1].copy_metadata()
    assert not found.get("title") and not found.get("license")


@pytest.fixture
def fresh_formats() -> Any:
    missing_formats.cache_clear()
    yield
    missing_formats.cache_clear()


def test_an_old_libsndfile_writes_all_but_mp3(fresh_formats: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def check(container: str, _subtype: str) -> bool:
        return container != "MP3"

    monkeypatch.setattr(soundfile, "check_format", check)
    monkeypatch.setattr(soundfile, "__libsndfile_version__", "1.0.31")
    assert writable_formats() == ["wav", "wav_24", "wav_float", "flac", "flac_24", "ogg"]
    reason = "the container's libsndfile 1.0.31 cannot write it; 1.1.0 or later, built with the codec, can"
    assert AudioOutput(format="mp3").unavailable == reason


def test_without_soundfile_only_plain_wav_is_written(fresh_formats: None, monkeypatch: pytest.MonkeyPatch) -> None:
    real: Any = builtins.__import__

    def fail(name: str, *rest: Any) -> Any:
        if name == "soundfile":
            raise OSError("sndfile library not found")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", fail)
    assert writable_formats() == ["wav"]
    reason = "the container has no working soundfile (sndfile library not found)"
    assert AudioOutput(tags=True).unavailable == AudioOutput(format="flac").unavailable == reason
    assert len(AudioOutput().encode(STEREO, RATE)) == 44 + 4 * RATE
