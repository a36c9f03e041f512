"""WAV encoding and uploads to S3."""

import io
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import soundfile
from botocore.exceptions import ClientError, EndpointConnectionError

from musicgen_serving.audio_output import wav_bytes
from musicgen_serving.audio_upload import UPLOADS_TOGETHER, AudioStore, UploadError, Uploads


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


class SlowS3:
    """An S3 client whose uploads wait until the test lets them proceed; counts those that run at once."""

    def __init__(self) -> None:
        self.proceed = threading.Event()
        self.failing: set[str] = set()
        self.counts = Counter[str]()
        self._lock = threading.Lock()

    def put_object(self, *, Bucket: str, Key: str, Body: bytes, ContentType: str) -> None:  # noqa: N803
        with self._lock:
            self.counts["begun"] += 1
            self.counts["running"] += 1
            self.counts["most"] = max(self.counts["most"], self.counts["running"])
        if Key in self.failing:
            raise EndpointConnectionError(endpoint_url="https://s3")
        assert self.proceed.wait(30)
        with self._lock:
            self.counts["running"] -= 1

    def upload_fileobj(self, *_: Any, **__: Any) -> None:
        raise AssertionError("no body grows")


def start(uploads: Uploads, index: int) -> None:
    uploads.start(index, "out", f"{index}.wav", b"", "audio/wav")


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_uploads_overlap_up_to_a_limit_and_return_urls_in_order() -> None:
    slow = SlowS3()
    uploads = Uploads(AudioStore(slow, ("out",)))
    order = [3, 0, 5, 1, 4, 2]

    def start_all() -> None:
        for index in order:
            start(uploads, index)

    starting = threading.Thread(target=start_all)
    starting.start()
    wait_until(lambda: slow.counts["begun"] == UPLOADS_TOGETHER)
    starting.join(0.2)
    assert starting.is_alive() and slow.counts["begun"] == UPLOADS_TOGETHER  # a fifth body would be held in memory
    slow.proceed.set()
    starting.join(30)
    assert uploads.finish() == [f"s3://out/{index}.wav" for index in range(6)]
    assert slow.counts["most"] == UPLOADS_TOGETHER


def test_a_failed_upload_stops_those_that_follow() -> None:
    slow = SlowS3()
    slow.failing = {"1.wav"}
    uploads = Uploads(AudioStore(slow, ("out",)))
    start(uploads, 0)
    start(uploads, 1)
    wait_until(lambda: slow.counts["begun"] == 2)
    with pytest.raises(UploadError, match=r"could not write s3://out/1\.wav"):
        for index in range(2, 4):
            wait_until(lambda: any(one.done() for one in uploads._running))  # pyright: ignore[reportPrivateUsage]
            start(uploads, index)
    uploads.cancel(UploadError())
    slow.proceed.set()
    assert slow.counts["begun"] == 2
