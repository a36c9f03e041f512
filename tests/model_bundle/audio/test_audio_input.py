"""Audio that requests bring: what is decoded, mixed and resampled, and what is refused with one sentence."""

import io
import struct
import time
import tracemalloc
from typing import Any

import numpy as np
import pytest
import soundfile
from botocore.exceptions import ClientError, EndpointConnectionError, ResponseStreamingError

from musicgen_serving import audio_input
from musicgen_serving.audio_download import AudioSource, DownloadError
from musicgen_serving.audio_input import AudioInput, AudioReference
from musicgen_serving.http.errors import InvalidRequestError

KINDS = {"wav": ("WAV", "PCM_16"), "flac": ("FLAC", "PCM_16"), "ogg": ("OGG", "VORBIS"), "mp3": ("MP3", None)}
SOURCE = AudioSource.of_buckets(None, "uploads", ("out",))  # pyright: ignore[reportArgumentType]  # it is not called


def tone(seconds: float, rate: int, *frequencies: float) -> Any:
    """Return a sine of half the full scale in each channel, [n, channels]."""
    time_axis = np.arange(round(seconds * rate))[:, None] / rate
    return 0.5 * np.sin(2 * np.pi * time_axis * np.array(frequencies))


def encoded(samples: Any, rate: int, container: str = "WAV", subtype: str | None = None) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=container, subtype=subtype)
    return buffer.getvalue()


def load(data: bytes, rate: int = 32000, channels: int = 1, **excerpt: Any) -> Any:
    reference = AudioReference(field="continuation", max_seconds=25, data=data, **excerpt)
    return AudioInput(SOURCE, rate, channels).load(reference)


def refusal(data: bytes, **excerpt: Any) -> str:
    with pytest.raises(InvalidRequestError) as caught:
        load(data, **excerpt)
    return str(caught.value)


def loudest_frequency(samples: Any, rate: int) -> float:
    return float(np.abs(np.fft.rfft(samples * np.hanning(len(samples)))).argmax() * rate / len(samples))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rate", [16000, 32000, 44100, 48000])
def test_every_format_and_rate_becomes_the_same_tone_at_the_models_rate(kind: str, rate: int) -> None:
    samples = load(encoded(tone(2, rate, 440.0, 440.0), rate, *KINDS[kind]))
    assert samples.dtype == np.float32 and abs(samples.shape[1] - 64000) <= 2304  # MP3 may keep its encoder's delay
    middle = samples[0, 8000:56000]
    assert abs(loudest_frequency(middle, 32000) - 440) < 1
    assert middle.std() == pytest.approx(0.5 / 2**0.5, rel=0.04)


@pytest.mark.parametrize("rate", [8000, 11025, 44101, 96000, 192000])
def test_resampling_keeps_a_tone_and_drops_what_the_models_rate_cannot_hold(rate: int) -> None:
    kept = load(encoded(tone(1, rate, 1000.0), rate, "WAV", "FLOAT"))
    assert kept.shape == (1, 32000)
    expected = tone(1, 32000, 1000.0)[2000:-2000, 0]
    assert np.abs(kept[0, 2000:-2000] - expected).max() < 0.002
    if rate > 40000:
        aliased = load(encoded(tone(1, rate, 20000.0), rate, "WAV", "FLOAT"))
        assert np.abs(aliased[0, 2000:-2000]).max() < 0.005  # 40 dB below


def test_channels_are_averaged_copied_or_kept() -> None:
    stereo = np.stack([np.full(640, 0.5), np.full(640, -0.25)], axis=1)
    data = encoded(stereo, 32000, "WAV", "FLOAT")
    np.testing.assert_array_equal(load(data), np.full((1, 640), 0.125))
    np.testing.assert_array_equal(load(data, channels=2), stereo.T)
    mono = encoded(np.full(640, 0.5), 32000, "WAV", "FLOAT")
    np.testing.assert_array_equal(load(mono, channels=2), np.full((2, 640), 0.5))
    surround = encoded(np.arange(6) / 8 * np.ones((640, 1)), 32000, "WAV", "FLOAT")
    np.testing.assert_array_equal(load(surround, channels=2)[:, 0], [0, 0.125])


@pytest.mark.parametrize("kind", ["wav", "flac"])
def test_an_excerpt_has_exactly_the_samples_between_its_start_and_end(kind: str) -> None:
    ramp = np.arange(5 * 32000) % 20000 - 10000
    data = encoded(ramp.astype(np.int16), 32000, *KINDS[kind])
    samples = load(data, start=2.5, end=4.25)  # it begins in the second block that is read
    np.testing.assert_array_equal(samples[0], (ramp[80000:136000] / 32768).astype(np.float32))
    np.testing.assert_array_equal(load(data, start=2.5)[0], (ramp[80000:] / 32768).astype(np.float32))
    assert load(data, start=4.5, end=25).shape == (1, 16000)  # it ends with the audio


# ---- refusals


@pytest.mark.parametrize(
    "container", ["AIFF", "AU", "CAF", "W64", "RF64", "MAT4", "MAT5", "PAF", "SVX", "NIST", "VOC", "IRCAM"]
)
def test_refuses_what_libsndfile_reads_but_the_contract_does_not_name(container: str) -> None:
    data = encoded(tone(0.1, 32000, 440.0), 32000, container)
    assert soundfile.read(io.BytesIO(data))[1] == 32000
    sentence = refusal(data)
    assert sentence == f"continuation.audio must be a WAV, FLAC, Ogg or MP3 file, got another one of {len(data)} bytes"


@pytest.mark.parametrize("subtype", ["ULAW", "ALAW", "IMA_ADPCM", "MS_ADPCM", "GSM610", "G721_32"])
def test_refuses_a_wav_with_a_codec(subtype: str) -> None:
    data = encoded(tone(0.1, 16000, 440.0), 16000, "WAV", subtype)
    assert refusal(data).startswith("continuation.audio must be WAV with one of DOUBLE, FLOAT, PCM_16")


def test_refuses_a_file_that_starts_as_one_format_and_is_another() -> None:
    flac = encoded(tone(0.1, 32000, 440.0), 32000, "FLAC")
    sentence = "continuation.audio must be a valid MP3 file, libsndfile says: Format not recognised"
    assert refusal(b"ID3\x04\x00\x00\x00\x00\x00\x00" + flac) == sentence


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30, -9.0])
def test_refuses_floats_that_no_audio_has(value: float) -> None:
    samples = np.zeros((70000, 2), np.float32)
    samples[69999, 1] = value
    assert "samples within ±8 (full scale is 1), got" in refusal(encoded(samples, 32000, "WAV", "FLOAT"))


@pytest.mark.parametrize("kind", ["wav", "flac", "ogg"])
def test_refuses_audio_without_samples(kind: str) -> None:
    assert refusal(encoded(np.zeros((0, 1)), 32000, *KINDS[kind])).startswith("continuation.audio must ")


def test_refuses_an_excerpt_after_the_end() -> None:
    data = encoded(tone(1, 32000, 440.0), 32000)
    assert refusal(data, start=2.0) == "continuation.audio must have samples after 2 s, got none"


@pytest.mark.parametrize(
    ("rate", "channels", "sentence"),
    [(4000, 1, "from 8000 to 192000 samples a second, got 4000"), (384000, 1, "got 384000"), (32000, 9, "got 9")],
)
def test_refuses_rates_and_channels_out_of_range(rate: int, channels: int, sentence: str) -> None:
    assert sentence in refusal(encoded(np.zeros((99, channels)), rate))


def test_refuses_audio_longer_than_an_excerpt_may_be_without_an_end() -> None:
    data = encoded(np.zeros(26 * 8000), 8000)
    sentence = "continuation must be at most 25 s of its audio, got more; set start and end"
    assert refusal(data) == sentence
    assert refusal(data, start=0.5) == sentence
    assert load(data, start=1.0).shape == (1, 25 * 32000)


def test_a_decompression_bomb_costs_little_time_and_memory() -> None:
    """An hour of silence in stereo is 1.4 GB decoded."""
    data = silent_flac()
    assert len(data) < 1e6
    load(encoded(np.zeros(99), 44100, "FLAC"))  # imports
    tracemalloc.start()
    started = time.process_time()
    assert "at most 25 s of its audio" in refusal(data)
    assert load(data, start=575, end=600).shape == (1, 25 * 32000)
    seconds, peak = time.process_time() - started, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seconds < 5 and peak < 32 * 2**20


def silent_flac() -> bytes:
    buffer, second = io.BytesIO(), np.zeros((48000, 2), np.int16)
    with soundfile.SoundFile(buffer, "w", 48000, 2, "PCM_16", format="FLAC") as file:
        for _ in range(3600):
            file.write(second)
    return buffer.getvalue()


def test_refuses_an_excerpt_that_takes_long_to_reach() -> None:
    data = encoded(np.zeros((10, 8)), 192000)
    sentence = "continuation must end within the first 44 s of 8 channels at 192000 Hz, got 60 s"
    assert refusal(data, start=50, end=60) == sentence


@pytest.mark.parametrize("claimed", [2**32 - 1, 2**31, 2**20])
def test_a_wav_header_that_claims_more_than_there_is_allocates_nothing(claimed: int) -> None:
    data = bytearray(encoded(tone(1, 32000, 440.0), 32000))
    data[4:8] = data[40:44] = struct.pack("<I", claimed)
    assert load(bytes(data)).shape == (1, 32000)
    tracemalloc.start()
    load(bytes(data))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * 2**20


def test_a_flac_header_that_claims_2_to_the_36_samples_allocates_nothing() -> None:
    data = bytearray(encoded(tone(1, 32000, 440.0), 32000, "FLAC"))
    data[21] |= 0x0F
    data[22:26] = b"\xff" * 4
    tracemalloc.start()
    try:
        shape = load(bytes(data)).shape
    except InvalidRequestError:
        shape = None
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert shape in (None, (1, 32000)) and peak < 4 * 2**20


def test_says_that_the_container_has_no_soundfile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "soundfile", None)
    assert refusal(b"RIFF").startswith("continuation cannot be used: the container has no working soundfile (")


# ---- objects in S3


def from_s3(client: Any, url: str) -> Any:
    source = AudioSource.of_buckets(client, "uploads", ("out", "other"))
    return AudioInput(source, 32000, 1).load(AudioReference(field="continuation", max_seconds=25, s3=url))


@pytest.mark.parametrize("url", ["s3://uploads/in/a b.wav", "s3://out/audio/id/x.wav", "s3://other/audio/x.wav"])
def test_reads_objects_of_requests_and_of_earlier_answers(s3: Any, url: str) -> None:
    bucket, _, key = url.removeprefix("s3://").partition("/")
    s3.objects[bucket, key] = (encoded(tone(1, 32000, 440.0), 32000), "audio/wav")
    assert from_s3(s3, url).shape == (1, 32000)


@pytest.mark.parametrize("url", ["s3://elsewhere/in/a", "s3://uploads/audio/a", "s3://out/out/a", "s3://out/cancel/a"])
def test_refuses_other_places_without_asking_s3(url: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        from_s3(None, url)
    allowed = "s3://uploads/in/, s3://out/audio/, s3://other/audio/"
    assert str(caught.value) == f"continuation.audio.s3 must be under one of {allowed}, got {url}"


class Refusing:
    """An S3 client that fails with a code and a status."""

    def __init__(self, code: str, status: int) -> None:
        self.answer: Any = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}

    def get_object(self, **_: Any) -> Any:
        raise ClientError(self.answer, "GetObject")


@pytest.mark.parametrize(
    ("code", "status"),
    [("AccessDenied", 403), ("NoSuchKey", 404), ("InvalidObjectState", 403), ("KMS.DisabledException", 400)],
)
def test_an_object_that_cannot_be_read_is_a_refusal_that_names_it(code: str, status: int) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        from_s3(Refusing(code, status), "s3://uploads/in/a")
    assert str(caught.value) == (
        "continuation.audio.s3 must be an object that exists and that the endpoint's role may read, "
        f"got {code} for s3://uploads/in/a"
    )


@pytest.mark.parametrize(
    ("code", "status"), [("SlowDown", 503), ("InternalError", 500), ("ExpiredToken", 400), ("InvalidAccessKeyId", 403)]
)
def test_an_outage_of_s3_is_a_fault_that_names_the_object(code: str, status: int) -> None:
    with pytest.raises(DownloadError, match=f"could not read s3://uploads/in/a: {code}"):
        from_s3(Refusing(code, status), "s3://uploads/in/a")


class Body(io.BytesIO):
    """A body that fails, or that is shorter than its length."""

    def __init__(self, data: bytes, failure: Exception | None = None) -> None:
        super().__init__(data)
        self.failure = failure
        self.reads = 0

    def read(self, size: int | None = -1) -> bytes:
        self.reads += 1
        if self.failure:
            raise self.failure
        return super().read(size)


class Answering:
    """An S3 client that returns a body of a given length."""

    def __init__(self, body: Body, length: int) -> None:
        self.body, self.length = body, length

    def get_object(self, **_: Any) -> Any:
        return {"ContentLength": self.length, "Body": self.body}


def test_refuses_a_large_object_before_it_reads_any_of_it() -> None:
    body = Body(b"RIFF")
    with pytest.raises(InvalidRequestError) as caught:
        from_s3(Answering(body, audio_input.MAX_FILE_BYTES + 1), "s3://uploads/in/a")
    limit = audio_input.MAX_FILE_BYTES
    assert str(caught.value) == (
        f"continuation.audio.s3 must be an object of at most {limit} bytes, got {limit + 1} at s3://uploads/in/a"
    )
    assert body.reads == 0 and body.closed


@pytest.mark.parametrize(
    "failure", [ResponseStreamingError(error="cut"), EndpointConnectionError(endpoint_url="x"), None]
)
def test_a_body_that_breaks_off_is_a_fault(failure: Exception | None) -> None:
    body = Body(b"RIFF", failure)
    with pytest.raises(DownloadError, match=r"could not read s3://uploads/in/a: "):
        from_s3(Answering(body, 1000), "s3://uploads/in/a")
    assert body.closed
