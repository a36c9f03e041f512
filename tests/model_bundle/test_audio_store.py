"""WAV encoding and uploads to S3."""

import io
from typing import Any

import numpy as np
import pytest
import soundfile
from botocore.exceptions import ClientError, EndpointConnectionError

from musicgen_serving.audio_upload import AudioStore, UploadError, wav_bytes


@pytest.mark.parametrize("channels", [1, 2])
def test_libsndfile_reads_the_wav_back(channels: int) -> None:
    samples = np.linspace(-1, 1, channels * 320, dtype=np.float32).reshape(channels, 320)
    read: Any = soundfile.read(io.BytesIO(wav_bytes(samples, 32000)), always_2d=True)
    assert read[1] == 32000
    np.testing.assert_allclose(read[0].T, samples, atol=1.6 / 32767)


def test_clips_samples_beyond_full_scale() -> None:
    loud = np.array([[-3.0, 3.0]], dtype=np.float32)
    assert wav_bytes(loud, 32000)[-4:] == np.array([-32767, 32767], dtype="<i2").tobytes()


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (ClientError({"Error": {"Code": "AccessDenied"}}, "PutObject"), "AccessDenied"),
        (EndpointConnectionError(endpoint_url="https://s3"), "EndpointConnectionError"),
    ],
)
def test_reports_why_an_upload_failed(s3: Any, failure: Exception, reason: str) -> None:
    s3.failure = failure
    with pytest.raises(UploadError, match=f"could not write s3://out/a.wav: {reason}"):
        AudioStore(s3, ("out",)).put("out", "a.wav", b"", "audio/wav")
